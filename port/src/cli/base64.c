/* EVP_DecodeBlock forgives blanks and takes a `=` anywhere, so the text is judged before. Thread: any (pure).
 */
#include "base64.h"

#include <openssl/evp.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(struct slice bytes, char *text) {
    text[0] = '\0';
    if (bytes.length > 0) {
        EVP_EncodeBlock((unsigned char *)text, bytes.bytes, (int)bytes.length);
    }
}

bool base64_decode(const char *text, size_t length, uint8_t *bytes, size_t *count) {
    size_t digits = strspn(text, alphabet);
    size_t padding = strspn(text + digits, "=");
    if (digits + padding != length || length % 4 != 0 || padding > 2 || length / 4 * 3 > BASE64_MOST_BYTES) {
        return false;
    }
    *count = length / 4 * 3 - padding;
    return length == 0 || EVP_DecodeBlock(bytes, (const unsigned char *)text, (int)length) >= 0;
}

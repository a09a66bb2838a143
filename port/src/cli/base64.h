/* base64: the standard alphabet with padding (RFC 4648 §4), for bytes inside JSON. libcrypto does the work.
 * Thread: any (pure). */
#ifndef BASE64_H
#define BASE64_H

#include <stdbool.h>

#include "bytes.h"

/* Longer than any frame, so lengths stay within libcrypto's int. */
#define BASE64_MOST_BYTES ((size_t)1 << 30)

/* How many characters `length` bytes make, and how much room decoding a text needs at most. */
static inline size_t base64_encoded_length(size_t length) {
    return (length + 2) / 3 * 4;
}
static inline size_t base64_decoded_room(size_t text_length) {
    return text_length / 4 * 3;
}

/* Encodes at most BASE64_MOST_BYTES into `text`, which has room for base64_encoded_length + 1; it is
 * terminated. */
void base64_encode(struct slice bytes, char *text);

/* Decodes the terminated text into `bytes`, which has room for base64_decoded_room. False: it is not base64.
 */
bool base64_decode(const char *text, size_t length, uint8_t *bytes, size_t *count);

#endif

/* hasher: one interface to the hash functions of libcrypto, xxHash and zlib.
 *
 * Thread: a hasher belongs to one job. The algorithms of libcrypto are looked up once per process, by
 * whichever job comes first. */
#ifndef HASHER_H
#define HASHER_H

#include <stdbool.h>
#include <stddef.h>

#include <openssl/evp.h>
#include <xxhash.h>

#define HASHER_MAX_SIZE 64

struct algorithm;

struct hasher {
    const struct algorithm *algorithm;
    union {
        EVP_MD_CTX *evp;
        XXH3_state_t *xxh3;
        unsigned long crc32;
    } state;
};

/* NULL: there is none of that name. */
const struct algorithm *algorithm_find(const char *name);

/* The names of all, as one text for people. */
#define ALGORITHM_NAMES "one of sha256, sha512, blake2b, xxh3, crc32"

/* Each is false when the library fails, which for these means: out of memory, or a libcrypto without the
 * algorithm. */
bool hasher_init(struct hasher *hasher, const struct algorithm *algorithm);
bool hasher_update(struct hasher *hasher, const void *data, size_t size);
bool hasher_digest(struct hasher *hasher, unsigned char digest[HASHER_MAX_SIZE], size_t *size);

/* Frees what hasher_init allocated; also after it failed. */
void hasher_finish(struct hasher *hasher);

#endif

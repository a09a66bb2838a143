/* An algorithm is a row of functions. Three of the rows are libcrypto's and differ only in what is fetched:
 * fetching takes locks and searches providers (far slower than hashing a small input), so it happens once per
 * process.
 *
 * All digests are written most significant byte first: XXH3 in its canonical form, as `xxhsum -H3` prints it;
 * CRC-32 as `crc32` prints it.
 *
 * Thread: any, at the same time for different hashers. */
#include "hasher.h"

#include <pthread.h>
#include <string.h>

#include <openssl/crypto.h>
#include <zlib.h>

struct algorithm {
    const char *name;
    bool (*init)(struct hasher *hasher);
    bool (*update)(struct hasher *hasher, const void *data, size_t size);
    bool (*digest)(struct hasher *hasher, unsigned char *digest, size_t *size);
    void (*finish)(struct hasher *hasher);
    unsigned fetched; /* libcrypto's: which of `fetched` */
};

/* --- libcrypto --- */

enum { SHA256, SHA512, BLAKE2B, FETCHED_COUNT };

static EVP_MD *fetched[FETCHED_COUNT]; /* NULL: this libcrypto has it not */

static void fetch(void) {
    /* What a digest is must not depend on a configuration file of the machine. */
    OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_NO_ATEXIT, NULL);
    fetched[SHA256] = EVP_MD_fetch(NULL, "SHA2-256", NULL);
    fetched[SHA512] = EVP_MD_fetch(NULL, "SHA2-512", NULL);
    fetched[BLAKE2B] = EVP_MD_fetch(NULL, "BLAKE2B-512", NULL);
}

static bool evp_init(struct hasher *hasher) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, fetch);
    const EVP_MD *type = fetched[hasher->algorithm->fetched];
    hasher->state.evp = type ? EVP_MD_CTX_new() : NULL;
    return hasher->state.evp && EVP_DigestInit_ex2(hasher->state.evp, type, NULL);
}

static bool evp_update(struct hasher *hasher, const void *data, size_t size) {
    return EVP_DigestUpdate(hasher->state.evp, data, size);
}

static bool evp_digest(struct hasher *hasher, unsigned char *digest, size_t *size) {
    unsigned length;
    if (!EVP_DigestFinal_ex(hasher->state.evp, digest, &length)) {
        return false;
    }
    *size = length;
    return true;
}

static void evp_finish(struct hasher *hasher) {
    EVP_MD_CTX_free(hasher->state.evp);
}

/* --- xxHash --- */

static bool xxh3_init(struct hasher *hasher) {
    hasher->state.xxh3 = XXH3_createState();
    return hasher->state.xxh3 && XXH3_64bits_reset(hasher->state.xxh3) == XXH_OK;
}

static bool xxh3_update(struct hasher *hasher, const void *data, size_t size) {
    return XXH3_64bits_update(hasher->state.xxh3, data, size) == XXH_OK;
}

static bool xxh3_digest(struct hasher *hasher, unsigned char *digest, size_t *size) {
    XXH64_canonical_t canonical;
    XXH64_canonicalFromHash(&canonical, XXH3_64bits_digest(hasher->state.xxh3));
    memcpy(digest, canonical.digest, sizeof canonical.digest);
    *size = sizeof canonical.digest;
    return true;
}

static void xxh3_finish(struct hasher *hasher) {
    XXH3_freeState(hasher->state.xxh3);
}

/* --- zlib --- */

static bool crc32_init(struct hasher *hasher) {
    hasher->state.crc32 = 0;
    return true;
}

static bool crc32_update(struct hasher *hasher, const void *data, size_t size) {
    if (size > 0) { /* a NULL would reset it */
        hasher->state.crc32 = crc32_z(hasher->state.crc32, data, size);
    }
    return true;
}

static bool crc32_digest(struct hasher *hasher, unsigned char *digest, size_t *size) {
    *size = 4;
    for (size_t i = 0; i < *size; i++) {
        digest[i] = (unsigned char)(hasher->state.crc32 >> (24 - 8 * i));
    }
    return true;
}

static void crc32_finish(struct hasher *hasher) {
    (void)hasher;
}

/* --- all of them --- */

#define EVP(name, which)                                                                                     \
    { name, evp_init, evp_update, evp_digest, evp_finish, which }

static const struct algorithm algorithms[] = {
    EVP("sha256", SHA256),
    EVP("sha512", SHA512),
    EVP("blake2b", BLAKE2B),
    {"xxh3", xxh3_init, xxh3_update, xxh3_digest, xxh3_finish, 0},
    {"crc32", crc32_init, crc32_update, crc32_digest, crc32_finish, 0},
};

const struct algorithm *algorithm_find(const char *name) {
    for (size_t i = 0; i < sizeof algorithms / sizeof algorithms[0]; i++) {
        if (strcmp(algorithms[i].name, name) == 0) {
            return &algorithms[i];
        }
    }
    return NULL;
}

bool hasher_init(struct hasher *hasher, const struct algorithm *algorithm) {
    hasher->algorithm = algorithm;
    return algorithm->init(hasher);
}

bool hasher_update(struct hasher *hasher, const void *data, size_t size) {
    return hasher->algorithm->update(hasher, data, size);
}

bool hasher_digest(struct hasher *hasher, unsigned char digest[HASHER_MAX_SIZE], size_t *size) {
    return hasher->algorithm->digest(hasher, digest, size);
}

void hasher_finish(struct hasher *hasher) {
    hasher->algorithm->finish(hasher);
}

/* digest: the hash of bytes or of a file. What is hashed is source.c's business, how it is hashed hasher.c's.
 * Thread: a pool thread. */
#include <string.h>

#include "hasher.h"
#include "ops.h"
#include "source.h"

static enum stv_status hash_all(struct stv_job *job, struct source *source, struct hasher *hasher) {
    struct stv_bytes chunk;
    do {
        enum stv_status status = source_next(source, &chunk);
        if (status != STV_OK) {
            return status;
        }
        if (!hasher_update(hasher, chunk.data, chunk.size)) {
            return stv_fail(job, "hash", "the hash function failed");
        }
    } while (chunk.size > 0);
    return STV_OK;
}

static enum stv_status reply_hex(struct stv_job *job, const unsigned char *digest, size_t size) {
    static const char digits[] = "0123456789abcdef";
    char text[2 * HASHER_MAX_SIZE + 1];
    for (size_t i = 0; i < size; i++) {
        text[2 * i] = digits[digest[i] >> 4];
        text[2 * i + 1] = digits[digest[i] & 15];
    }
    text[2 * size] = '\0';
    return stv_reply_text(job, text);
}

static enum stv_status reply_digest(struct stv_job *job, struct hasher *hasher, bool raw) {
    unsigned char digest[HASHER_MAX_SIZE];
    size_t size;
    if (!hasher_digest(hasher, digest, &size)) {
        return stv_fail(job, "hash", "the hash function failed");
    }
    return raw ? stv_reply_bytes(job, digest, size) : reply_hex(job, digest, size);
}

static enum stv_status digest(struct stv_job *job, const struct algorithm *algorithm, bool raw) {
    struct source source;
    struct hasher hasher;
    enum stv_status status = source_open(&source, job);
    if (status == STV_OK) {
        if (hasher_init(&hasher, algorithm)) {
            status = hash_all(job, &source, &hasher);
        } else {
            status = stv_fail(job, "hash",
                              "the hash function cannot be used: no memory, or not in this libcrypto");
        }
        if (status == STV_OK) {
            status = reply_digest(job, &hasher, raw);
        }
        hasher_finish(&hasher);
    }
    source_close(&source);
    return status;
}

static enum stv_status run_digest(struct stv_job *job) {
    const char *name = "sha256";
    const struct algorithm *algorithm = stv_opt_text(job, "algorithm", &name) ? algorithm_find(name) : NULL;
    if (!algorithm) {
        return stv_bad_arg(job, "algorithm", ALGORITHM_NAMES);
    }
    const char *encoding = "hex";
    bool is_text = stv_opt_text(job, "encoding", &encoding);
    bool raw = is_text && strcmp(encoding, "raw") == 0;
    if (!raw && (!is_text || strcmp(encoding, "hex") != 0)) {
        return stv_bad_arg(job, "encoding", "hex or raw");
    }
    return digest(job, algorithm, raw);
}

const struct stv_op digest_ops[] = {
    {.name = "digest",
     .run = run_digest,
     .doc =
         "The hash of `data` (a binary) or of the regular file at `path`. `algorithm`: sha256 (the "
         "default), sha512, blake2b (BLAKE2b-512, as b2sum), xxh3 (XXH3 of 64 bits, as xxhsum -H3) or crc32 "
         "(as zlib). `encoding`: hex (the default: lower-case text) or raw (bytes, most significant first). "
         "Progress: bytes.",
     .flags = STV_IDEMPOTENT},
};

/* zstd: compress and decompress, from bytes to bytes or from file to file.
 *
 * Both ops are one loop around a `transfer`: what comes out of a source goes through a stream of the
 * library's into a sink. Between any two steps of it lies a look at stv_should_stop.
 *
 * Decompressing takes nothing on trust: a few bytes can claim to be, and be, gigabytes. What comes out is
 * counted against a limit as it comes out; a frame that announces more is refused before that. The memory for
 * its window is bounded by the library (ZSTD_d_windowLogMax, 128 MiB).
 *
 * Thread: a pool thread. Contexts belong to the job. */
#include <zstd.h>
#include <zstd_errors.h>

#include "ops.h"
#include "sink.h"
#include "source.h"

#define DEFAULT_FILE_LIMIT (INT64_C(1) << 30)
#define MAX_LEVEL          19 /* those beyond need hundreds of megabytes on both sides */

/* --- what both share --- */

struct transfer {
    struct stv_job *job;
    struct source source;
    struct sink sink;
};

static enum stv_status open_sink(struct transfer *transfer) {
    struct stv_job *job = transfer->job;
    const char *to = NULL;
    if (!stv_opt_path(job, "to", &to)) {
        return stv_bad_arg(job, "to", "the path of the file to write");
    }
    if (!transfer->source.path) {
        return to ? stv_bad_arg(job, "to",
                                "nothing, because what `data` becomes is replied: `to` goes with `path`")
                  : sink_open_memory(&transfer->sink, job, stv_max_reply(job));
    }
    return to ? sink_open_file(&transfer->sink, job, to, transfer->source.mode)
              : stv_bad_arg(job, "to", "the path of the file to write, because there is `path`");
}

static enum stv_status transfer_open(struct transfer *transfer, struct stv_job *job) {
    *transfer = (struct transfer){.job = job, .source.fd = -1, .sink.fd = -1};
    enum stv_status status = source_open(&transfer->source, job);
    return status == STV_OK ? open_sink(transfer) : status;
}

/* Ends the op: replies if all went well so far, cleans up in any case. */
static enum stv_status transfer_close(struct transfer *transfer, enum stv_status status) {
    if (status == STV_OK) {
        status = sink_commit(&transfer->sink);
    }
    if (status == STV_OK && transfer->sink.path) {
        stv_put_map(transfer->job, 2);
        stv_put_text(transfer->job, "bytes_in");
        stv_put_uint(transfer->job, transfer->source.given);
        stv_put_text(transfer->job, "bytes_out");
        stv_put_uint(transfer->job, transfer->sink.size);
    }
    sink_close(&transfer->sink);
    source_close(&transfer->source);
    return status;
}

/* One look at stv_should_stop, and room for the library to write to. */
static enum stv_status next_room(struct transfer *transfer, ZSTD_outBuffer *out) {
    if (stv_should_stop(transfer->job)) {
        return STV_STOPPED;
    }
    unsigned char *room;
    size_t size;
    enum stv_status status = sink_room(&transfer->sink, &room, &size);
    if (status == STV_OK) {
        *out = (ZSTD_outBuffer){.dst = room, .size = size};
    }
    return status;
}

static enum stv_status fail_zstd(struct stv_job *job, size_t result) {
    switch (ZSTD_getErrorCode(result)) {
    case ZSTD_error_memory_allocation:
        return stv_no_memory(job);
    case ZSTD_error_srcSize_wrong: /* only compressing: the file is not as long as fstat said */
        return stv_fail(job, "changed",
                        "the file changed while it was read: try again when nobody writes to it");
    case ZSTD_error_frameParameter_windowTooLarge:
    case ZSTD_error_frameParameter_unsupported:
    case ZSTD_error_version_unsupported:
    case ZSTD_error_dictionary_wrong:
        return stv_fail(job, "unsupported", "needs what is not offered here: %s", ZSTD_getErrorName(result));
    default:
        return stv_fail(job, "corrupt", "not zstd data, or damaged: %s", ZSTD_getErrorName(result));
    }
}

/* --- compress --- */

/* Compresses one chunk, or ends the frame. */
static enum stv_status compress_chunk(struct transfer *transfer, ZSTD_CCtx *context, struct stv_bytes chunk) {
    ZSTD_inBuffer in = {.src = chunk.data, .size = chunk.size};
    ZSTD_EndDirective directive = chunk.size > 0 ? ZSTD_e_continue : ZSTD_e_end;
    size_t left;
    do {
        ZSTD_outBuffer out;
        enum stv_status status = next_room(transfer, &out);
        if (status != STV_OK) {
            return status;
        }
        left = ZSTD_compressStream2(context, &out, &in, directive);
        if (ZSTD_isError(left)) {
            return fail_zstd(transfer->job, left);
        }
        status = sink_add(&transfer->sink, out.pos);
        if (status != STV_OK) {
            return status;
        }
    } while (directive == ZSTD_e_end ? left > 0 : in.pos < in.size);
    return STV_OK;
}

static enum stv_status compress_all(struct transfer *transfer, ZSTD_CCtx *context) {
    struct stv_bytes chunk;
    do {
        enum stv_status status = source_next(&transfer->source, &chunk);
        if (status == STV_OK) {
            status = compress_chunk(transfer, context, chunk);
        }
        if (status != STV_OK) {
            return status;
        }
    } while (chunk.size > 0);
    return STV_OK;
}

/* The size, where it is known, goes into the frame: whoever decompresses it can refuse or allocate at once.
 */
static bool set_up(ZSTD_CCtx *context, int level, const struct source *source) {
    bool is_known = source->size > 0 || !source->path;
    return !ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level)) &&
           !ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1)) &&
           !ZSTD_isError(
               ZSTD_CCtx_setPledgedSrcSize(context, is_known ? source->size : ZSTD_CONTENTSIZE_UNKNOWN));
}

static enum stv_status compress(struct transfer *transfer, int level) {
    ZSTD_CCtx *context = ZSTD_createCCtx();
    enum stv_status status = context && set_up(context, level, &transfer->source)
                                 ? compress_all(transfer, context)
                                 : stv_no_memory(transfer->job);
    ZSTD_freeCCtx(context);
    return status;
}

static enum stv_status run_compress(struct stv_job *job) {
    int64_t level = ZSTD_CLEVEL_DEFAULT;
    if (!stv_opt_int(job, "level", &level) || level < 1 || level > MAX_LEVEL) {
        return stv_bad_arg(job, "level", "an integer from 1 to 19");
    }
    struct transfer transfer;
    enum stv_status status = transfer_open(&transfer, job);
    if (status == STV_OK) {
        status = compress(&transfer, (int)level);
    }
    return transfer_close(&transfer, status);
}

/* --- decompress --- */

/* Decompresses one chunk. *expected is 0 between two frames. */
static enum stv_status decompress_chunk(struct transfer *transfer, ZSTD_DCtx *context, struct stv_bytes chunk,
                                        size_t *expected) {
    ZSTD_inBuffer in = {.src = chunk.data, .size = chunk.size};
    bool is_full = false; /* the room was used up, so there may be more to come out of what went in */
    while (in.pos < in.size || (is_full && *expected > 0)) {
        ZSTD_outBuffer out;
        enum stv_status status = next_room(transfer, &out);
        if (status != STV_OK) {
            return status;
        }
        *expected = ZSTD_decompressStream(context, &out, &in);
        if (ZSTD_isError(*expected)) {
            return fail_zstd(transfer->job, *expected);
        }
        status = sink_add(&transfer->sink, out.pos);
        if (status != STV_OK) {
            return status;
        }
        is_full = out.pos == out.size;
    }
    return STV_OK;
}

/* What the first frame says of its size, if it does, is known before any work. */
static bool announces_too_much(struct stv_bytes first_chunk, uint64_t limit) {
    unsigned long long size = ZSTD_getFrameContentSize(first_chunk.data, first_chunk.size);
    return size != ZSTD_CONTENTSIZE_UNKNOWN && size != ZSTD_CONTENTSIZE_ERROR && size > limit;
}

static enum stv_status decompress_all(struct transfer *transfer, ZSTD_DCtx *context) {
    size_t expected = 1; /* of no input at all there is a frame missing */
    for (;;) {
        bool is_first = transfer->source.given == 0;
        struct stv_bytes chunk;
        enum stv_status status = source_next(&transfer->source, &chunk);
        if (status != STV_OK) {
            return status;
        }
        if (chunk.size == 0) {
            break;
        }
        if (is_first && announces_too_much(chunk, transfer->sink.limit)) {
            return stv_too_large(transfer->job, transfer->sink.limit);
        }
        status = decompress_chunk(transfer, context, chunk, &expected);
        if (status != STV_OK) {
            return status;
        }
    }
    return expected == 0 ? STV_OK
                         : stv_fail(transfer->job, "truncated", "ends inside a frame: some of it is missing");
}

static enum stv_status decompress(struct transfer *transfer) {
    ZSTD_DCtx *context = ZSTD_createDCtx();
    enum stv_status status = context ? decompress_all(transfer, context) : stv_no_memory(transfer->job);
    ZSTD_freeDCtx(context);
    return status;
}

static enum stv_status lower_limit(struct transfer *transfer) {
    int64_t limit = transfer->sink.path ? DEFAULT_FILE_LIMIT : INT64_MAX;
    if (!stv_opt_int(transfer->job, "limit", &limit) || limit < 0) {
        return stv_bad_arg(transfer->job, "limit", "how many bytes it may become, an integer of at least 0");
    }
    if ((uint64_t)limit < transfer->sink.limit) {
        transfer->sink.limit = (uint64_t)limit;
    }
    return STV_OK;
}

static enum stv_status run_decompress(struct stv_job *job) {
    struct transfer transfer;
    enum stv_status status = transfer_open(&transfer, job);
    if (status == STV_OK) {
        status = lower_limit(&transfer);
    }
    if (status == STV_OK) {
        status = decompress(&transfer);
    }
    return transfer_close(&transfer, status);
}

const struct stv_op zstd_ops[] = {
    {.name = "zstd.compress",
     .run = run_compress,
     .doc = "Compresses `data` (a binary) and replies the bytes, or the regular file at `path` to a file at "
            "`to`, which it "
            "replaces when all is done, and replies a map: bytes_in, bytes_out. `level`: 1 to 19, default 3. "
            "The "
            "frame has a checksum. Progress: bytes read.",
     .flags = STV_IDEMPOTENT},
    {.name = "zstd.decompress",
     .run = run_decompress,
     .doc = "Decompresses `data` (a binary) and replies the bytes, or the regular file at `path` to a file "
            "at `to`, which it "
            "replaces when all is done, and replies a map: bytes_in, bytes_out. Takes any number of frames. "
            "`limit`: how "
            "many bytes it may become, else too_large; default and at most for a reply: the largest reply "
            "there can "
            "be; default for a file: 1 GiB. Fails as `corrupt`, `truncated` or `unsupported` (its window "
            "needs more "
            "than 128 MiB, or a dictionary). Progress: bytes read.",
     .flags = STV_IDEMPOTENT},
};

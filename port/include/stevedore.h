/* stevedore.h: the whole of what an op may use.
 *
 * An op is a C function that a worker runs as a job on one of its threads. It reads its arguments from a
 * read-only term, may report progress, looks now and then whether it should stop, and ends by replying or
 * failing. It never sees a codec, the loop or a lock.
 *
 *     #include <stevedore.h>
 *
 *     static enum stv_status run_add(struct stv_job *job) {
 *         int64_t a, b;
 *         if (!stv_arg_int(job, "a", &a)) { return stv_bad_arg(job, "a", "an integer"); }
 *         if (!stv_arg_int(job, "b", &b)) { return stv_bad_arg(job, "b", "an integer"); }
 *         return stv_reply_int(job, a + b);
 *     }
 *     static const struct stv_op ops[] = {
 *         {"math.add", run_add, "The sum of `a` and `b`.", STV_IDEMPOTENT},
 *     };
 *     STV_PLUGIN("math", "1.0.0", ops);
 *
 * Compile it as a shared object (nothing to link with; the worker provides the functions) and start a worker
 * with `--plugin math.so`.
 *
 * Threads: `run` is called on any thread, for several jobs at once; ops share nothing unless they lock it.
 * Every function here that takes a job may be called only by the thread that runs that job, during `run`.
 * None of them blocks but stv_wait.
 *
 * Ownership: what a function gives you (terms, bytes, scratch memory) belongs to the job and is valid until
 * `run` returns. What you pass in is copied, except by stv_reply_take.
 */
#ifndef STEVEDORE_H
#define STEVEDORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define STV_API                 __attribute__((visibility("default")))
#define STV_PRINTF(text, first) __attribute__((__format__(__printf__, text, first)))
#else
#define STV_API
#define STV_PRINTF(text, first)
#endif

/* The version of this header's binary interface. A worker loads only plugins built against its own. */
#define STV_ABI_VERSION 1u

/* One running job. */
struct stv_job;

/* A value: an argument, an element, a key. Read-only. */
struct stv_term;

/* Bytes of somebody else's. `data` may be NULL when `size` is 0. */
struct stv_bytes {
    const unsigned char *data;
    size_t size;
};

/* How a job ended; anything else counts as STV_FAILED. Return one, or better: return what stv_reply_… or
 * stv_fail and its kin return. */
enum stv_status {
    STV_OK = 0,  /* what was replied or put is the result; nothing at all means nil */
    STV_FAILED,  /* the error that stv_fail and its kin described */
    STV_STOPPED, /* stv_should_stop said so: becomes `cancelled` or `timed_out` */
};

/* What is true of an op. */
enum stv_flag {
    STV_IDEMPOTENT = 1u << 0, /* may be run again if a worker dies under it */
    STV_SHORT =
        1u << 1, /* takes a few microseconds on small arguments: may run on the loop thread. If it turns
                    out to take long there, the worker says so once and moves it to the threads. */
};

struct stv_op {
    const char *name; /* a-z 0-9 _ and dots, starts with a letter, at most 255 bytes; unique in a worker */
    enum stv_status (*run)(struct stv_job *job);
    const char *doc; /* what it does and takes, in a sentence or a few: UTF-8, or NULL */
    unsigned flags;  /* of enum stv_flag, and no other */
};

/* A plugin, as the one symbol `stevedore_plugin` that a shared object exports. Use STV_PLUGIN. */
struct stv_plugin {
    uint32_t abi_version;
    uint32_t op_size;    /* sizeof(struct stv_op), a second guard against a mismatch */
    const char *name;    /* UTF-8 */
    const char *version; /* UTF-8 */
    const struct stv_op *ops;
    size_t op_count;
    /* Called once, before any job, on the main thread. NULL: nothing to do. Returns NULL, or why the plugin
     * cannot be used (a static text), which makes the worker's start fail with that text. What it prints
     * becomes lines of the log, up to 4 MiB. */
    const char *(*init)(void);
    /* Called once at an orderly end, on the main thread, when no job runs. Not called if the worker is killed
     * or a job would not stop. What it prints goes to the worker's own stderr: the log has ended. If all
     * plugins together take longer than 5 s, the process ends all the same. */
    void (*finish)(void);
};

#ifdef __cplusplus
#define STV_PLUGIN_LINKAGE extern "C"
#else
#define STV_PLUGIN_LINKAGE extern
#endif

/* Declares the plugin of this shared object; OPS is an array. */
#define STV_PLUGIN(NAME, VERSION, OPS) STV_PLUGIN_WITH(NAME, VERSION, OPS, NULL, NULL)
#define STV_PLUGIN_WITH(NAME, VERSION, OPS, INIT, FINISH)                                                    \
    STV_PLUGIN_LINKAGE STV_API const struct stv_plugin stevedore_plugin;                                     \
    const struct stv_plugin stevedore_plugin = {STV_ABI_VERSION,                                             \
                                                (uint32_t)sizeof(struct stv_op),                             \
                                                NAME,                                                        \
                                                VERSION,                                                     \
                                                OPS,                                                         \
                                                sizeof(OPS) / sizeof((OPS)[0]),                              \
                                                INIT,                                                        \
                                                FINISH}

/* --- Arguments by name
 * ---------------------------------------------------------------------------------------
 *
 * For ops whose arguments are a map with names as keys (atoms or binaries, the caller's choice).
 *
 * stv_arg_X: true if there is an argument of that name and type, stored in *value. False otherwise, *value
 * untouched: return stv_bad_arg. stv_opt_X: the same for an argument that may be left out: also true if it is
 * absent (or nil), *value untouched, so initialise it with the default. False only if it is there with a
 * wrong type. */

STV_API bool stv_arg_int(struct stv_job *job, const char *name, int64_t *value);
STV_API bool stv_opt_int(struct stv_job *job, const char *name, int64_t *value);

/* A float, or an integer converted to one. */
STV_API bool stv_arg_double(struct stv_job *job, const char *name, double *value);
STV_API bool stv_opt_double(struct stv_job *job, const char *name, double *value);

STV_API bool stv_arg_bool(struct stv_job *job, const char *name, bool *value);
STV_API bool stv_opt_bool(struct stv_job *job, const char *name, bool *value);

/* A binary; the bytes are the caller's own, not copied, not terminated. */
STV_API bool stv_arg_bytes(struct stv_job *job, const char *name, struct stv_bytes *value);
STV_API bool stv_opt_bytes(struct stv_job *job, const char *name, struct stv_bytes *value);

/* A binary or an atom, as a terminated C string without NUL inside: valid UTF-8 (text), or any bytes (path).
 */
STV_API bool stv_arg_text(struct stv_job *job, const char *name, const char **value);
STV_API bool stv_opt_text(struct stv_job *job, const char *name, const char **value);
STV_API bool stv_arg_path(struct stv_job *job, const char *name, const char **value);
STV_API bool stv_opt_path(struct stv_job *job, const char *name, const char **value);

/* The argument as it is, or NULL if there is none. */
STV_API const struct stv_term *stv_arg(struct stv_job *job, const char *name);

/* All of the arguments: any term. Never NULL. */
STV_API const struct stv_term *stv_args(struct stv_job *job);

/* --- Terms
 * ----------------------------------------------------------------------------------------------------- */

enum stv_type {
    STV_INTEGER,   /* fits int64_t: stv_term_int */
    STV_BIG,       /* does not: stv_term_big */
    STV_FLOAT,     /* stv_term_double */
    STV_ATOM,      /* stv_term_bytes: its name, UTF-8; nil, true and false are atoms: stv_term_is */
    STV_BINARY,    /* stv_term_bytes */
    STV_BITSTRING, /* stv_term_bytes, stv_term_bits */
    STV_LIST,      /* stv_count, stv_item; an improper one also has stv_tail */
    STV_TUPLE,     /* stv_count, stv_item */
    STV_MAP,       /* stv_count, stv_key, stv_value, stv_get */
};

STV_API enum stv_type stv_type(const struct stv_term *term);

/* These accept any term, NULL too: the answer for one of another type is false, 0, NULL. */
STV_API bool stv_term_int(const struct stv_term *term, int64_t *value);
STV_API bool stv_term_double(const struct stv_term *term, double *value);
STV_API bool stv_term_bool(const struct stv_term *term, bool *value);
STV_API bool stv_term_bytes(const struct stv_term *term,
                            struct stv_bytes *value); /* binary, bitstring, atom */
STV_API bool stv_term_big(const struct stv_term *term, bool *negative, struct stv_bytes *little_endian);
STV_API unsigned
stv_term_bits(const struct stv_term *term); /* used bits of a bitstring's last byte, high ones first */
STV_API bool stv_term_is(const struct stv_term *term,
                         const char *name);            /* the atom or binary of exactly that text */
STV_API size_t stv_count(const struct stv_term *term); /* elements of a list or tuple, pairs of a map */
STV_API const struct stv_term *stv_item(const struct stv_term *term, size_t index);
STV_API const struct stv_term *stv_tail(const struct stv_term *term); /* NULL for a proper list */
STV_API const struct stv_term *stv_key(const struct stv_term *map, size_t index);
STV_API const struct stv_term *stv_value(const struct stv_term *map, size_t index);
STV_API const struct stv_term *stv_get(const struct stv_term *map,
                                       const char *name); /* by atom or binary key */

/* --- Ending
 * ---------------------------------------------------------------------------------------------------- */

/* Reply with one value and end: `return stv_reply_int(job, 42);`. A second reply replaces nothing: the job
 * fails as `bad_reply`. */
STV_API enum stv_status stv_reply_nil(struct stv_job *job);
STV_API enum stv_status stv_reply_bool(struct stv_job *job, bool value);
STV_API enum stv_status stv_reply_int(struct stv_job *job, int64_t value);
STV_API enum stv_status stv_reply_double(struct stv_job *job, double value);   /* finite */
STV_API enum stv_status stv_reply_text(struct stv_job *job, const char *text); /* UTF-8 */
STV_API enum stv_status stv_reply_bytes(struct stv_job *job, const void *data, size_t size);
STV_API enum stv_status stv_reply_term(struct stv_job *job,
                                       const struct stv_term *term); /* a term of this job's */

/* As stv_reply_bytes, but takes `data` (from malloc) instead of copying it; it is freed once sent, or at once
 * on failure. For large results. NULL with a size is what malloc says when there is no memory: ends as
 * `no_memory`. */
STV_API enum stv_status stv_reply_take(struct stv_job *job, void *data, size_t size);

/* Compose a reply: put one value, or a list or map and then exactly its elements (for a map: key, value, key,
 * value …), then return STV_OK. A reply that is incomplete or has too much fails the job with the code
 * `bad_reply`. */
STV_API void stv_put_nil(struct stv_job *job);
STV_API void stv_put_bool(struct stv_job *job, bool value);
STV_API void stv_put_int(struct stv_job *job, int64_t value);
STV_API void stv_put_uint(struct stv_job *job, uint64_t value);
STV_API void stv_put_double(struct stv_job *job, double value);
STV_API void stv_put_text(struct stv_job *job, const char *text);
STV_API void stv_put_bytes(struct stv_job *job, const void *data, size_t size);
STV_API void stv_put_term(struct stv_job *job, const struct stv_term *term);
STV_API void stv_put_list(struct stv_job *job, size_t count);
STV_API void stv_put_map(struct stv_job *job, size_t pairs);

/* Refuse an argument: `return stv_bad_arg(job, "level", "an integer from 1 to 19");`. The message is made
 * from both and what was given. */
STV_API enum stv_status stv_bad_arg(struct stv_job *job, const char *name, const char *expected);

/* Report an error: a short code for programs, a message for people that says what to do. Whatever was put of
 * a reply is dropped. */
STV_API enum stv_status stv_fail(struct stv_job *job, const char *code, const char *format, ...)
    STV_PRINTF(3, 4);

/* The same for a failed system call: the code is errno's name in lower case (`enoent`), the message `WHAT: No
 * such file or directory`. */
STV_API enum stv_status stv_fail_errno(struct stv_job *job, int error, const char *what);

/* Facts to add to the error that follows, as `details`: at most 16. Call before stv_fail. `key` must be a
 * literal. */
STV_API void stv_detail_text(struct stv_job *job, const char *key, const char *text);
STV_API void stv_detail_int(struct stv_job *job, const char *key, int64_t value);

/* Ends as `no_memory`, or as `too_large` with the limit in bytes. */
STV_API enum stv_status stv_no_memory(struct stv_job *job);
STV_API enum stv_status stv_too_large(struct stv_job *job, uint64_t limit);

/* --- While it runs
 * --------------------------------------------------------------------------------------------- */

/* True when the job was cancelled or ran out of time: clean up and `return STV_STOPPED;`. Costs about 25 ns;
 * call it at least every 10 ms. Once true it stays true. */
STV_API bool stv_should_stop(struct stv_job *job);

/* Waits for so many milliseconds, or until the job should stop, and returns stv_should_stop. INT64_MAX:
 * waits until then. */
STV_API bool stv_wait(struct stv_job *job, int64_t milliseconds);

/* Notes how far it got; `total` 0 if unknown. Cheap (two stores): the worker sends it only if the caller
 * asked, and at the caller's pace. */
STV_API void stv_progress(struct stv_job *job, uint64_t done, uint64_t total);

enum stv_level { STV_DEBUG, STV_INFO, STV_WARNING, STV_ERROR };

/* Sends a line to the host's log, with the job's id. At most 8 KiB of it. A level that is none counts as
 * STV_ERROR. */
STV_API void stv_log(struct stv_job *job, enum stv_level level, const char *format, ...) STV_PRINTF(3, 4);

/* Scratch memory that dies with the job, aligned for anything, not zeroed; NULL if there is none: return
 * stv_no_memory. */
STV_API void *stv_alloc(struct stv_job *job, size_t size);

/* The largest reply that can be sent, in bytes: an op that can know its result to be larger should end with
 * stv_too_large early. */
STV_API size_t stv_max_reply(struct stv_job *job);

#ifdef __cplusplus
}
#endif

#endif

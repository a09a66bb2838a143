/* confine: what limits this process, beside what every worker is (startup.h): each measure is asked for by an
 * option, put on before any plugin's code runs, and says whether it is in effect (PROTOCOL §6, `hello`).
 * Thread: main, before there are others. */
#ifndef CONFINE_H
#define CONFINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* In the order in which they are put on. */
enum measure {
    MEASURE_NO_NEW_PRIVS, /* no set-user-id program helps out; landlock and seccomp need it */
    MEASURE_OOM_SCORE,    /* /proc/self/oom_score_adj: the kernel kills a worker before its host */
    MEASURE_NICE,
    MEASURE_MEMORY,        /* bytes, by a cgroup */
    MEASURE_CPU,           /* seconds; then SIGXCPU */
    MEASURE_FILES,         /* open descriptors */
    MEASURE_ADDRESS_SPACE, /* bytes */
    MEASURE_FILE_SIZE,     /* bytes; then EFBIG */
    MEASURE_LANDLOCK,      /* 1: only the paths */
    MEASURE_SECCOMP,       /* enum seccomp_level */
    MEASURE_COUNT,
};

#define CONFINE_MOST_PATHS 64u

struct confine_options {
    uint64_t wanted[MEASURE_COUNT]; /* a number that depends on the measure; 0: not wanted */
    struct {
        const char *path; /* borrowed from argv */
        bool may_write;
    } paths[CONFINE_MOST_PATHS];
    size_t path_count;
    bool is_required[MEASURE_COUNT]; /* no start without it */
};

#define CONFINE_OPTIONS_DEFAULT                                                                              \
    {                                                                                                        \
        .wanted = { [MEASURE_NO_NEW_PRIVS] = 1, [MEASURE_OOM_SCORE] = 500 }                                  \
    }

/* "on", "off" (not wanted), or why a measure that is wanted is not in effect. */
struct confinement {
    const char *status[MEASURE_COUNT];
};

const char *confine_name(enum measure measure);

/* Whether a measure is wanted and not in effect. */
bool confine_has_failed(const struct confinement *confinement, enum measure measure);

/* Puts all on. Beside the paths of the options, the files of plugins and the system's libraries may still be
 * read. Fatal if a measure is required and not in effect, or if a path of the options cannot be used. */
void confine(struct confinement *confinement, const struct confine_options *options,
             const char *const *plugins, size_t plugin_count);

/* To be called when plugins are loaded and have had their init: from now on only the paths of the options may
 * be opened. */
void confine_loaded(struct confinement *confinement, const struct confine_options *options);

#endif

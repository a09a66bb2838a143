/* DESIGN. One table, a row for each measure. All are put on before plugins are loaded: a library's code runs
 * as soon as it is loaded, long before the plugin's init, and a thread that it started would keep what it
 * had.
 *
 * Order: what is written to /proc and cgroups comes before the limits and Landlock, which might forbid it;
 * seccomp is last. Before all of it: pipes are enlarged, the number of processors is read, the black box is
 * open. After it: the loop (libuv asks for io_uring, which must be refused then and not later), plugins, and
 * threads, which inherit everything.
 *
 * Landlock is put on twice, for rules can only become tighter: first with what the loading and the init of
 * plugins and the reading of symbols need, and without that when they are done.
 *
 * Thread: main. */
#include "confine.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/prctl.h>
#endif

#include "cgroup.h"
#include "fatal.h"
#include "landlock.h"
#include "reason.h"
#include "seccomp.h"

static const char on[] = "on";
static const char off[] = "off";

/* --- Measures: NULL, or why it is not in effect --- */

static char *renounce_privileges(uint64_t unused) {
    (void)unused;
#ifdef __linux__
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 ? NULL : reason("prctl: %s", strerror(errno));
#else
    return reason("this system cannot renounce privileges: it takes Linux");
#endif
}

/* What is higher already stays. */
static char *raise_oom_score(uint64_t score) {
    int current = 0;
    FILE *file = fopen("/proc/self/oom_score_adj", "r+e");
    bool is_fine = file != NULL && fscanf(file, "%d", &current) == 1;
    if (is_fine && current < (int)score) {
        rewind(file);
        is_fine = fprintf(file, "%d", (int)score) > 0 && fflush(file) == 0;
    }
    char *why = is_fine ? NULL : reason("cannot set /proc/self/oom_score_adj: %s", strerror(errno));
    if (file != NULL) {
        (void)fclose(file);
    }
    return why;
}

/* Whoever is nicer already stays so. */
static char *be_nice(uint64_t nice) {
    errno = 0;
    int current = getpriority(PRIO_PROCESS, 0);
    bool is_fine = errno == 0 && (current >= (int)nice || setpriority(PRIO_PROCESS, 0, (int)nice) == 0);
    return is_fine ? NULL : reason("cannot change the priority: %s", strerror(errno));
}

/* Not above the hard limit that is there: then that is the limit. */
static char *limit(int resource, rlim_t soft, rlim_t hard) {
    struct rlimit current;
    if (getrlimit(resource, &current) != 0) {
        return reason("getrlimit: %s", strerror(errno));
    }
    hard = hard < current.rlim_max ? hard : current.rlim_max;
    struct rlimit wanted = {.rlim_cur = soft < hard ? soft : hard, .rlim_max = hard};
    return setrlimit(resource, &wanted) == 0 ? NULL : reason("setrlimit: %s", strerror(errno));
}

/* SIGXCPU tells the cause; who ignores it is killed a second later. */
static char *limit_cpu(uint64_t seconds) {
    return limit(RLIMIT_CPU, seconds, seconds + 1);
}

static char *limit_files(uint64_t count) {
    return limit(RLIMIT_NOFILE, count, count);
}

static char *limit_address_space(uint64_t bytes) {
    return limit(RLIMIT_AS, bytes, bytes);
}

/* A job that writes too much shall fail, and not kill the worker by SIGXFSZ. */
static char *limit_file_size(uint64_t bytes) {
    if (signal(SIGXFSZ, SIG_IGN) == SIG_ERR) {
        return reason("cannot ignore SIGXFSZ: %s", strerror(errno));
    }
    return limit(RLIMIT_FSIZE, bytes, bytes);
}

static char *install_seccomp(uint64_t level) {
    return seccomp_install((enum seccomp_level)level);
}

static const struct {
    const char *name;
    const char *option; /* that asks for it */
    char *(*put_on)(uint64_t wanted);
} measures[] = {
    [MEASURE_NO_NEW_PRIVS] = {"no_new_privs", "nothing", renounce_privileges},
    [MEASURE_OOM_SCORE] = {"oom_score", "--oom-score-adj N", raise_oom_score},
    [MEASURE_NICE] = {"nice", "--nice N", be_nice},
    [MEASURE_MEMORY] = {"memory", "--limit-memory BYTES", cgroup_limit_memory},
    [MEASURE_CPU] = {"cpu", "--limit-cpu SECONDS", limit_cpu},
    [MEASURE_FILES] = {"files", "--limit-files N", limit_files},
    [MEASURE_ADDRESS_SPACE] = {"address_space", "--limit-address-space BYTES", limit_address_space},
    [MEASURE_FILE_SIZE] = {"file_size", "--limit-file-size BYTES", limit_file_size},
    [MEASURE_LANDLOCK] = {"landlock", "--landlock-read PATH, --landlock-write PATH or --landlock-none", NULL},
    [MEASURE_SECCOMP] = {"seccomp", "--seccomp LEVEL", install_seccomp},
};

const char *confine_name(enum measure measure) {
    return measures[measure].name;
}

bool confine_has_failed(const struct confinement *confinement, enum measure measure) {
    return confinement->status[measure] != on && confinement->status[measure] != off;
}

/* --- Landlock --- */

/* What a plugin's loading reads. A directory that is not there is no loss. */
static void allow_plugin(int rules, const char *file) {
    const char *slash = strrchr(file, '/');
    char *directory = slash == NULL ? reason(".") : reason("%.*s", (int)(slash - file), file);
    (void)landlock_allow(rules, directory, false); /* for libraries that it brings along */
    (void)landlock_allow(rules, file, false);      /* it may be a link to elsewhere */
    free(directory);
}

static void allow_search_path(int rules, const char *list) {
    char *directories = reason("%s", list == NULL ? "" : list);
    char *rest = directories;
    for (char *directory; (directory = strsep(&rest, ":;")) != NULL;) {
        (void)landlock_allow(rules, *directory == '\0' ? "." : directory, false);
    }
    free(directories);
}

static void allow_loader(int rules, const char *const *plugins, size_t plugin_count) {
    static const char *const libraries[] = {"/lib",       "/lib64",         "/lib32",          "/usr/lib",
                                            "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache"};
    for (size_t i = 0; i < sizeof libraries / sizeof libraries[0]; i++) {
        (void)landlock_allow(rules, libraries[i], false);
    }
    if (getenv("LD_LIBRARY_PATH") != NULL) {
        allow_search_path(rules, getenv("LD_LIBRARY_PATH"));
    }
    for (size_t i = 0; i < plugin_count; i++) {
        allow_plugin(rules, plugins[i]);
    }
}

static void allow_wanted(int rules, const struct confine_options *options) {
    for (size_t i = 0; i < options->path_count; i++) {
        const char *path = options->paths[i].path;
        bool may_write = options->paths[i].may_write;
        int error = landlock_allow(rules, path, may_write);
        if (error != 0) {
            fatal(EXIT_WRONG_USAGE, "--landlock-%s %s: %s", may_write ? "write" : "read", path,
                  strerror(error));
        }
    }
}

/* --- All --- */

static void note(struct confinement *confinement, const struct confine_options *options, enum measure measure,
                 const char *why) {
    confinement->status[measure] = why == NULL ? on : why;
    if (options->is_required[measure] && why != NULL) {
        fatal(EXIT_NO_RESOURCES, "--require %s, but it cannot be had: %s; change that, or do not require it",
              measures[measure].name, why);
    }
}

/* With what the loader needs, if there are plugins to load. */
static void enter_landlock(struct confinement *confinement, const struct confine_options *options,
                           const char *const *plugins, size_t plugin_count) {
    char *why = NULL;
    int rules = landlock_open(&why);
    if (rules >= 0) {
        allow_wanted(rules, options);
        allow_loader(rules, plugins, plugin_count);
        why = landlock_enforce(rules);
    }
    note(confinement, options, MEASURE_LANDLOCK, why);
}

static void put_on(struct confinement *confinement, const struct confine_options *options,
                   enum measure measure) {
    note(confinement, options, measure, measures[measure].put_on(options->wanted[measure]));
}

void confine(struct confinement *confinement, const struct confine_options *options,
             const char *const *plugins, size_t plugin_count) {
    for (enum measure measure = 0; measure < MEASURE_COUNT; measure++) {
        if (options->wanted[measure] == 0) {
            confinement->status[measure] = off;
            if (options->is_required[measure]) {
                fatal(EXIT_NO_RESOURCES, "--require %s, but nothing asks for it: give %s",
                      measures[measure].name, measures[measure].option);
            }
        } else if (measure == MEASURE_LANDLOCK) {
            enter_landlock(confinement, options, plugins, plugin_count);
        } else {
            put_on(confinement, options, measure);
        }
    }
}

void confine_loaded(struct confinement *confinement, const struct confine_options *options) {
    char *why = NULL;
    if (confinement->status[MEASURE_LANDLOCK] != on) {
        return;
    }
    int rules = landlock_open(&why);
    if (rules >= 0) {
        allow_wanted(rules, options);
        why = landlock_enforce(rules);
    }
    note(confinement, options, MEASURE_LANDLOCK, why);
}

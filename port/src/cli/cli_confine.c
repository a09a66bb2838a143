/* Thread: main, the only one. */
#include "cli_confine.h"

#include <string.h>

#include "seccomp.h"

#define MOST_BYTES (UINT64_C(1) << 50)

static const struct {
    const char *option; /* NULL: the measure takes no number */
    bool is_size;
    uint64_t least;
    uint64_t most;
} numbers[MEASURE_COUNT] = {
    [MEASURE_OOM_SCORE] = {"--oom-score-adj", false, 0, 1000},
    [MEASURE_NICE] = {"--nice", false, 0, 19},
    [MEASURE_MEMORY] = {"--limit-memory", true, 1 << 20, MOST_BYTES},
    [MEASURE_CPU] = {"--limit-cpu", false, 1, INT32_MAX},
    [MEASURE_FILES] = {"--limit-files", false, 32, 1 << 20},
    [MEASURE_ADDRESS_SPACE] = {"--limit-address-space", true, 1 << 20, MOST_BYTES},
    [MEASURE_FILE_SIZE] = {"--limit-file-size", true, 1, MOST_BYTES},
};

static bool take_number(enum measure measure, const char *value, struct confine_options *options) {
    bool (*parse)(const char *option, const char *text, uint64_t least, uint64_t most, uint64_t *number) =
        numbers[measure].is_size ? cli_parse_size : cli_parse_number;
    return parse(numbers[measure].option, value, numbers[measure].least, numbers[measure].most,
                 &options->wanted[measure]);
}

static bool take_level(const char *value, struct confine_options *options) {
    bool is_strict = strcmp(value, "strict") == 0;
    if (!is_strict && strcmp(value, "basic") != 0) {
        cli_wrong_usage("--seccomp takes basic or strict, not \"%s\"", value);
        return false;
    }
    options->wanted[MEASURE_SECCOMP] = is_strict ? SECCOMP_STRICT : SECCOMP_BASIC;
    return true;
}

static bool add_path(const char *path, bool may_write, struct confine_options *options) {
    if (options->wanted[MEASURE_LANDLOCK] != 0 && options->path_count == 0) {
        cli_wrong_usage("--landlock-none allows no path, but there is \"%s\"", path);
        return false;
    }
    if (options->path_count == CONFINE_MOST_PATHS) {
        cli_wrong_usage("--landlock-read and --landlock-write can be given at most %u times",
                        CONFINE_MOST_PATHS);
        return false;
    }
    options->wanted[MEASURE_LANDLOCK] = 1;
    options->paths[options->path_count].path = path;
    options->paths[options->path_count++].may_write = may_write;
    return true;
}

static bool allow_no_path(struct confine_options *options) {
    if (options->path_count > 0) {
        cli_wrong_usage("--landlock-none allows no path, but there is \"%s\"", options->paths[0].path);
        return false;
    }
    options->wanted[MEASURE_LANDLOCK] = 1;
    return true;
}

static bool find_measure(const char *name, size_t length, enum measure *measure) {
    for (*measure = 0; *measure < MEASURE_COUNT; (*measure)++) {
        const char *known = confine_name(*measure);
        if (strlen(known) == length && memcmp(known, name, length) == 0) {
            return true;
        }
    }
    return false;
}

static bool require(const char *names, struct confine_options *options) {
    for (const char *name = names;; name++) {
        size_t length = strcspn(name, ",");
        enum measure measure;
        if (!find_measure(name, length, &measure)) {
            cli_wrong_usage("--require takes names such as seccomp,landlock, not \"%.*s\"", (int)length,
                            name);
            return false;
        }
        options->is_required[measure] = true;
        name += length;
        if (*name == '\0') {
            return true;
        }
    }
}

bool cli_confine_take(int option, const char *value, struct confine_options *options) {
    switch (option) {
    case CLI_OPTION_CONFINE + MEASURE_SECCOMP:
        return take_level(value, options);
    case CLI_CONFINE_READ:
    case CLI_CONFINE_WRITE:
        return add_path(value, option == CLI_CONFINE_WRITE, options);
    case CLI_CONFINE_NO_PATH:
        return allow_no_path(options);
    case CLI_CONFINE_REQUIRE:
        return require(value, options);
    default:
        return take_number((enum measure)(option - CLI_OPTION_CONFINE), value, options);
    }
}

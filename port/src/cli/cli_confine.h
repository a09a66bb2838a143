/* cli_confine: the options that say how a worker is confined (confine.h). Thread: main, the only one. */
#ifndef CLI_CONFINE_H
#define CLI_CONFINE_H

#include "cli_options.h"
#include "confine.h"

/* Beside these, CLI_OPTION_CONFINE + a measure is the option of that measure. */
enum cli_confine_option {
    CLI_CONFINE_READ = CLI_OPTION_CONFINE + MEASURE_COUNT,
    CLI_CONFINE_WRITE,
    CLI_CONFINE_NO_PATH,
    CLI_CONFINE_REQUIRE,
};

/* Their rows for a command's table. */
#define CLI_ROWS_CONFINE                                                                                     \
    {"oom-score-adj", required_argument, NULL, CLI_OPTION_CONFINE + MEASURE_OOM_SCORE},                      \
        {"nice", required_argument, NULL, CLI_OPTION_CONFINE + MEASURE_NICE},                                \
        {"limit-memory", required_argument, NULL, CLI_OPTION_CONFINE + MEASURE_MEMORY},                      \
        {"limit-cpu", required_argument, NULL, CLI_OPTION_CONFINE + MEASURE_CPU},                            \
        {"limit-files", required_argument, NULL, CLI_OPTION_CONFINE + MEASURE_FILES},                        \
        {"limit-address-space", required_argument, NULL, CLI_OPTION_CONFINE + MEASURE_ADDRESS_SPACE},        \
        {"limit-file-size", required_argument, NULL, CLI_OPTION_CONFINE + MEASURE_FILE_SIZE},                \
        {"seccomp", required_argument, NULL, CLI_OPTION_CONFINE + MEASURE_SECCOMP},                          \
        {"landlock-read", required_argument, NULL, CLI_CONFINE_READ},                                        \
        {"landlock-write", required_argument, NULL, CLI_CONFINE_WRITE},                                      \
        {"landlock-none", no_argument, NULL, CLI_CONFINE_NO_PATH}, {                                         \
        "require", required_argument, NULL, CLI_CONFINE_REQUIRE                                              \
    }

/* Takes one of them into *options. False: its value is wrong, and that was said. */
bool cli_confine_take(int option, const char *value, struct confine_options *options);

#endif

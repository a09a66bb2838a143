/* Options by getopt_long, but with errors of our own: its messages know neither the command nor what a value
 * should have been. */
#include "cli_options.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli_confine.h"

static const char *command;

void cli_options_set_command(const char *name) {
    command = name;
}

static void say_program(void) {
    (void)fputs("stevedore", stderr);
    if (command != NULL) {
        (void)fprintf(stderr, " %s", command);
    }
}

static __attribute__((format(printf, 1, 0))) void say_start(const char *format, va_list arguments) {
    (void)fflush(stdout);
    say_program();
    (void)fputs(": ", stderr);
    (void)vfprintf(stderr, format, arguments);
}

void cli_say(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say_start(format, arguments);
    va_end(arguments);
    (void)fputc('\n', stderr);
}

int cli_wrong_usage(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    say_start(format, arguments);
    va_end(arguments);
    (void)fputs(" (see ", stderr);
    say_program();
    (void)fputs(" --help)\n", stderr);
    return EXIT_WRONG_USAGE;
}

int cli_finish_output(int code) {
    if (fflush(stdout) != 0 || ferror(stdout)) {
        cli_say("cannot write to stdout: %s", strerror(errno));
        return EXIT_IO;
    }
    return code;
}

/* What getopt_long stumbled over: a letter, or the word it has just gone past. */
static void say_unknown_option(char **argv) {
    if (optopt != 0 && optopt < CLI_OPTION_THREADS) {
        cli_wrong_usage("unknown option \"-%c\"", optopt);
    } else {
        cli_wrong_usage("unknown option \"%s\"", argv[optind - 1]);
    }
}

int cli_next_option(int argc, char **argv, const struct option *table) {
    opterr = 0;
    int option = getopt_long(argc, argv, ":h", table, NULL);
    if (option == ':') {
        cli_wrong_usage("%s takes a value", argv[optind - 1]);
        return CLI_OPTION_WRONG;
    }
    if (option == '?') {
        say_unknown_option(argv);
    }
    return option;
}

/* The digits at the start of `text`; *rest is what follows them. False: none, or too many. */
static bool read_digits(const char *text, uint64_t *value, const char **rest) {
    if (*text < '0' || *text > '9') {
        return false;
    }
    char *end;
    errno = 0;
    *value = strtoull(text, &end, 10);
    *rest = end;
    return errno == 0;
}

bool cli_parse_number(const char *option, const char *text, uint64_t least, uint64_t most, uint64_t *value) {
    uint64_t number;
    const char *rest;
    if (read_digits(text, &number, &rest) && *rest == '\0' && number >= least && number <= most) {
        *value = number;
        return true;
    }
    cli_wrong_usage("%s takes a number from %" PRIu64 " to %" PRIu64 ", not \"%s\"", option, least, most,
                    text);
    return false;
}

/* The power of two that a suffix multiplies by, or -1. */
static int suffix_shift(const char *suffix) {
    static const struct {
        const char *text;
        int shift;
    } suffixes[] = {{"", 0}, {"K", 10}, {"k", 10}, {"M", 20}, {"m", 20}, {"G", 30}, {"g", 30}};
    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        if (strcmp(suffix, suffixes[i].text) == 0) {
            return suffixes[i].shift;
        }
    }
    return -1;
}

bool cli_parse_size(const char *option, const char *text, uint64_t least, uint64_t most, uint64_t *value) {
    uint64_t number;
    const char *suffix;
    if (read_digits(text, &number, &suffix)) {
        int shift = suffix_shift(suffix);
        if (shift >= 0 && number <= most >> shift && number << shift >= least) {
            *value = number << shift;
            return true;
        }
    }
    cli_wrong_usage("%s takes a size from %" PRIu64 " bytes to %" PRIu64 "G, such as 64M, not \"%s\"", option,
                    least, most >> 30, text);
    return false;
}

static bool add_plugin(struct serve_options *options, const char *file) {
    if (options->plugin_count == SERVE_MOST_PLUGINS) {
        cli_wrong_usage("--plugin can be given at most %u times", SERVE_MOST_PLUGINS);
        return false;
    }
    options->plugins[options->plugin_count++] = file;
    return true;
}

bool cli_take_serve_option(int option, const char *value, struct serve_options *options) {
    uint64_t number = 0;
    if (option >= CLI_OPTION_CONFINE) {
        return cli_confine_take(option, value, &options->confine);
    }
    switch (option) {
    case CLI_OPTION_THREADS:
        if (!cli_parse_number("--threads", value, 1, SERVE_MOST_THREADS, &number)) {
            return false;
        }
        options->threads = (unsigned)number;
        return true;
    case CLI_OPTION_MAX_QUEUE:
        if (!cli_parse_number("--max-queue", value, 1, SERVE_MOST_QUEUE, &number)) {
            return false;
        }
        options->max_queue = (size_t)number;
        return true;
    case CLI_OPTION_MAX_FRAME:
        if (!cli_parse_size("--max-frame", value, SERVE_LEAST_FRAME, SERVE_MOST_FRAME, &number)) {
            return false;
        }
        options->max_frame = (size_t)number;
        return true;
    case CLI_OPTION_PLUGIN:
        return add_plugin(options, value);
    case CLI_OPTION_KILL_AFTER:
        if (!cli_parse_number("--kill-after", value, 1, INT32_MAX, &number)) {
            return false;
        }
        options->kill_after_ms = (uint32_t)number;
        return true;
    case CLI_OPTION_BLACK_BOX:
        options->black_box = value;
        return true;
    default:
        options->outlive_parent = true;
        return true;
    }
}

/* The first word, if it is no option, names a command; without one the program serves. Every command is a
 * function of its own argc and argv, as if it were a program of its own. Thread: main, before there are
 * others. */
#include "cli.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli_blackbox.h"
#include "cli_call.h"
#include "cli_confine.h"
#include "cli_decode.h"
#include "cli_encode.h"
#include "cli_help.h"
#include "cli_ops.h"
#include "cli_options.h"
#include "serve.h"

static int run_help(int argc, char **argv) {
    if (argc > 2) {
        return cli_wrong_usage("takes one command, not \"%s\" as well", argv[2]);
    }
    const char *command = argc == 2 ? argv[1] : NULL;
    if (!cli_help_exists(command)) {
        return cli_wrong_usage("there is no command \"%s\"", command);
    }
    return cli_help_print(command);
}

static const struct command {
    const char *name;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"blackbox", cli_blackbox}, {"call", cli_call}, {"decode", cli_decode},
    {"encode", cli_encode},     {"help", run_help}, {"ops", cli_ops},
};

static int run_command(int argc, char **argv) {
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(argv[0], commands[i].name) == 0) {
            cli_options_set_command(commands[i].name);
            return commands[i].run(argc, argv);
        }
    }
    return cli_wrong_usage("unknown command \"%s\"", argv[0]);
}

static int print_version(void) {
    puts("stevedore " STEVEDORE_VERSION);
    return cli_finish_output(EXIT_FINE);
}

/* A person who typed just the program's name wants to know what it is, not to type frames. */
static int start_serving(const struct serve_options *options) {
    if (isatty(STDIN_FILENO)) {
        cli_help_print_usage(stderr);
        return EXIT_WRONG_USAGE;
    }
    serve(options);
}

static int run_serve(int argc, char **argv) {
    static const struct option table[] = {CLI_ROW_THREADS,        CLI_ROW_MAX_QUEUE,  CLI_ROW_MAX_FRAME,
                                          CLI_ROW_PLUGIN,         CLI_ROW_KILL_AFTER, CLI_ROW_BLACK_BOX,
                                          CLI_ROW_OUTLIVE_PARENT, CLI_ROWS_CONFINE,   CLI_ROW_HELP,
                                          CLI_ROW_VERSION,        CLI_ROW_END};
    struct serve_options options = SERVE_OPTIONS_DEFAULT;
    int option;
    while ((option = cli_next_option(argc, argv, table)) != CLI_OPTION_END) {
        if (option == CLI_OPTION_WRONG) {
            return EXIT_WRONG_USAGE;
        }
        if (option == CLI_OPTION_HELP) {
            return cli_help_print(NULL);
        }
        if (option == CLI_OPTION_VERSION) {
            return print_version();
        }
        if (!cli_take_serve_option(option, optarg, &options)) {
            return EXIT_WRONG_USAGE;
        }
    }
    if (optind < argc) {
        return cli_wrong_usage("unexpected \"%s\": a command comes before all options", argv[optind]);
    }
    return start_serving(&options);
}

int cli_main(int argc, char **argv) {
    bool has_command = argc > 1 && argv[1][0] != '-';
    return has_command ? run_command(argc - 1, argv + 1) : run_serve(argc, argv);
}

/* cli_options: what all commands share: reading options, saying what is wrong on stderr, ending with the
 * right code.
 *
 * Whatever is wrong with the command line is said in one line that names the option, what it takes and what
 * it got, and where help is. Thread: main, the only one. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>

#include "exit_code.h"
#include "serve_options.h"

/* The command that speaks from now on, as in `stevedore call: …`; NULL: the program itself. */
void cli_options_set_command(const char *name);

/* One line on stderr, with the command in front. */
void cli_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same, with a pointer to the command's help behind; returns EXIT_WRONG_USAGE. */
int cli_wrong_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Ends with `code`, or with EXIT_IO (and a line that says so) if what was printed did not reach stdout. */
int cli_finish_output(int code);

/* Options that need more than a letter's meaning; the same in every command's table. */
enum cli_option {
    CLI_OPTION_END = -1,
    CLI_OPTION_WRONG = '?', /* said on stderr already */
    CLI_OPTION_HELP = 'h',
    CLI_OPTION_VERSION = 'V',
    CLI_OPTION_THREADS = 256,
    CLI_OPTION_MAX_QUEUE,
    CLI_OPTION_MAX_FRAME,
    CLI_OPTION_PLUGIN,
    CLI_OPTION_KILL_AFTER,
    CLI_OPTION_BLACK_BOX,
    CLI_OPTION_OUTLIVE_PARENT,
    CLI_OPTION_CONFINE, /* the first of those in cli_confine.h */
    CLI_OPTION_OF_COMMAND =
        CLI_OPTION_CONFINE + 32, /* the first one that means something to one command only */
};

/* The rows for a command's table of options, which ends with CLI_ROW_END. */
#define CLI_ROW_HELP                                                                                         \
    { "help", no_argument, NULL, CLI_OPTION_HELP }
#define CLI_ROW_VERSION                                                                                      \
    { "version", no_argument, NULL, CLI_OPTION_VERSION }
#define CLI_ROW_THREADS                                                                                      \
    { "threads", required_argument, NULL, CLI_OPTION_THREADS }
#define CLI_ROW_MAX_QUEUE                                                                                    \
    { "max-queue", required_argument, NULL, CLI_OPTION_MAX_QUEUE }
#define CLI_ROW_MAX_FRAME                                                                                    \
    { "max-frame", required_argument, NULL, CLI_OPTION_MAX_FRAME }
#define CLI_ROW_PLUGIN                                                                                       \
    { "plugin", required_argument, NULL, CLI_OPTION_PLUGIN }
#define CLI_ROW_KILL_AFTER                                                                                   \
    { "kill-after", required_argument, NULL, CLI_OPTION_KILL_AFTER }
#define CLI_ROW_BLACK_BOX                                                                                    \
    { "black-box", required_argument, NULL, CLI_OPTION_BLACK_BOX }
#define CLI_ROW_OUTLIVE_PARENT                                                                               \
    { "outlive-parent", no_argument, NULL, CLI_OPTION_OUTLIVE_PARENT }
#define CLI_ROW_END                                                                                          \
    { NULL, 0, NULL, 0 }

/* The next option's `val` from the table (its value in optarg), CLI_OPTION_END, or CLI_OPTION_WRONG. */
int cli_next_option(int argc, char **argv, const struct option *table);

/* Takes one of the options of serving into *options. False: its value is wrong, and that was said. */
bool cli_take_serve_option(int option, const char *value, struct serve_options *options);

/* A size in bytes from `least` to `most`, with K, M or G for powers of 1024; as cli_parse_number. */
bool cli_parse_size(const char *option, const char *text, uint64_t least, uint64_t most, uint64_t *value);

/* A whole number from `least` to `most`. False: it is none, and that was said, with `option` as its name. */
bool cli_parse_number(const char *option, const char *text, uint64_t least, uint64_t most, uint64_t *value);

#endif

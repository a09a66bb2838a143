/* cli_help: what --help says. The long version is the manual page, docs/stevedore.1: keep them together.
 * Thread: main. */
#ifndef CLI_HELP_H
#define CLI_HELP_H

#include <stdbool.h>
#include <stdio.h>

/* Whether there is such a command; NULL is the program itself. */
bool cli_help_exists(const char *command);

/* Prints a command's help, or the program's, to stdout; returns the exit code. */
int cli_help_print(const char *command);

/* The few lines for somebody who typed just `stevedore`. */
void cli_help_print_usage(FILE *to);

#endif

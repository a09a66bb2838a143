/* cli: the command line of `stevedore`. Serving is what it does without a command. Thread: main, before there
 * are others. */
#ifndef CLI_H
#define CLI_H

/* Runs what argv says and returns the exit code of PROTOCOL §11.1. */
int cli_main(int argc, char **argv);

#endif

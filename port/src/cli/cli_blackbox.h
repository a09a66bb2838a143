/* cli_blackbox: `stevedore blackbox`, what the black box of a worker holds, for a person. Thread: main, the
 * only one. */
#ifndef CLI_BLACKBOX_H
#define CLI_BLACKBOX_H

int cli_blackbox(int argc, char **argv);

#endif

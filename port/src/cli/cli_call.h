/* cli_call: `stevedore call`, one job from the command line. Thread: main, the only one. */
#ifndef CLI_CALL_H
#define CLI_CALL_H

int cli_call(int argc, char **argv);

#endif

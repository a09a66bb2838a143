/* cli_ops: `stevedore ops`, the table of what a worker can do. Thread: main, the only one. */
#ifndef CLI_OPS_H
#define CLI_OPS_H

int cli_ops(int argc, char **argv);

#endif

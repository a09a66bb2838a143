/* cli_encode: `stevedore encode`, lines of JSON on stdin to frames on stdout, so that a shell can speak the
 * protocol. Thread: main, the only one. */
#ifndef CLI_ENCODE_H
#define CLI_ENCODE_H

int cli_encode(int argc, char **argv);

#endif

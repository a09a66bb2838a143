/* cli_decode: `stevedore decode`, frames on stdin to lines of JSON on stdout, so that a shell can read the
 * protocol. Thread: main, the only one. */
#ifndef CLI_DECODE_H
#define CLI_DECODE_H

int cli_decode(int argc, char **argv);

#endif

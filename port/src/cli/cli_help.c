/* One text for each command. Lines of at most 80 characters, as they are meant for terminals. Thread: main,
 * the only one. */
#include "cli_help.h"

#include <string.h>

#include "cli_options.h"

static const char usage[] = "usage: stevedore [OPTIONS] <frames >frames    serve jobs (not from a terminal)\n"
                            "       stevedore call OP [JSON] [OPTIONS]     run one job\n"
                            "       stevedore ops [OPTIONS]                list the ops\n"
                            "       stevedore encode | decode              JSON lines to frames, and back\n"
                            "       stevedore help [COMMAND]\n";

static const char program[] =
    "\n"
    "A worker for native jobs: it reads calls as frames on stdin, runs them on its\n"
    "threads and writes the replies as frames to stdout, until stdin ends. The\n"
    "protocol is described in PROTOCOL.md; the Elixir library of the same name starts\n"
    "such workers as Erlang ports.\n"
    "\n"
    "Options for serving:\n"
    "  --threads N        run up to N jobs at once, 1 to 1024 (default: the number of\n"
    "                     processors it may use)\n"
    "  --max-queue N      refuse calls as `overloaded` when N wait (default: 65536)\n"
    "  --max-frame BYTES  the longest frame, with K, M or G for powers of 1024\n"
    "                     (default: 64M, at most 1G)\n"
    "  --plugin FILE      load more ops from a shared object; may be repeated\n"
    "  --outlive-parent   do not die with the process that started it\n"
    "  -h, --help         this text\n"
    "  --version          the version\n"
    "\n"
    "Commands (`stevedore help COMMAND` or `stevedore COMMAND --help` tells more):\n"
    "  call      run one op and print its result as JSON\n"
    "  ops       list the ops and what they do\n"
    "  encode    turn lines of JSON into frames\n"
    "  decode    turn frames into lines of JSON\n"
    "  help      this text, or that of a command\n"
    "\n"
    "Exit codes:\n"
    "   0  orderly end                     70  a bug in the worker\n"
    "   1  the answer is an error          71  not enough threads, pipes …\n"
    "  64  wrong command line              74  stdin or stdout failed, or no reader\n"
    "  65  the stream is broken            75  stuck, and ended by the watchdog\n"
    "  69  a plugin cannot be used         77  out of memory\n"
    "\n"
    "Try it:\n"
    "  echo '[\"call\",1,\"echo\",\"hi\"]' |\n"
    "    stevedore encode | stevedore | stevedore decode\n";

static const char call[] =
    "usage: stevedore call OP [JSON] [OPTIONS]\n"
    "\n"
    "Runs one op in a worker of its own and prints the result as one line of JSON.\n"
    "JSON is the op's arguments in one word, for most ops an object (default: {}).\n"
    "\n"
    "  --data TEXT        add the argument `data`: this text\n"
    "  --data @FILE       the bytes of a file; @- is stdin\n"
    "  --raw              if the result is bytes or text, write just that\n"
    "  --timeout MS       ask the op to stop after this time; 2 s later it is killed\n"
    "  --progress         show how far it got, on stderr\n"
    "  --plugin FILE      load more ops from a shared object; may be repeated\n"
    "  --max-frame BYTES  the longest message, for large data (default: 64M)\n"
    "\n"
    "`stevedore help encode` tells how JSON stands for bytes and other terms. What\n"
    "the op logs or prints goes to stderr. If the job fails its error is printed on\n"
    "stderr as JSON, with `kind` and `message`, and the exit code is 1; that includes\n"
    "an op that crashes.\n"
    "\n"
    "  stevedore call digest '{\"algorithm\": \"sha256\"}' --data @/etc/hosts\n"
    "  stevedore call zstd.compress --data @- --raw <big.tar >big.tar.zst\n"
    "  stevedore call sleep '{\"ms\": 3000}' --progress --timeout 1000\n";

static const char ops[] = "usage: stevedore ops [--plugin FILE]… [--json]\n"
                          "\n"
                          "Lists the ops that a worker has: name, flags, what it does and takes.\n"
                          "\n"
                          "  --plugin FILE      those of a shared object too; may be repeated\n"
                          "  --json             as one line of JSON, as PROTOCOL §6 describes it\n"
                          "\n"
                          "Flags: idempotent (may be run again if its worker dies), short (may run on the\n"
                          "loop thread), control (answered while all threads are busy).\n";

static const char encode[] =
    "usage: stevedore encode [--codec etf|msgpack] [--max-frame BYTES] <lines >frames\n"
    "\n"
    "Turns each line of JSON on stdin into a frame on stdout. A message is an array\n"
    "that starts with its tag: [\"call\", 1, \"echo\", \"hi\"], [\"cancel\", 1], [\"stop\"].\n"
    "An array of arrays is a batch: one frame with several messages. Blank lines are\n"
    "skipped. The first wrong line ends it with exit code 1.\n"
    "\n"
    "  --codec CODEC      etf (default) or msgpack\n"
    "  --max-frame BYTES  the longest frame (default: 64M)\n"
    "\n"
    "  JSON                     stands for\n"
    "  null, true, false        the atoms nil, true, false\n"
    "  \"text\"                   a binary; in MessagePack a str\n"
    "  1, 1.5                   an integer of at most 64 bits, a float\n"
    "  [1, 2], {\"a\": 1}         a list, a map with text as keys\n"
    "  {\"$base64\": \"/w==\"}      a binary of any bytes\n"
    "  {\"$map\": [[1, 2]]}       a map with any keys\n"
    "  {\"$tuple\": [1, 2]}       a tuple; in MessagePack an array\n"
    "  {\"$atom\": \"ok\"}          an atom; in MessagePack a str\n"
    "  {\"$big\": \"-0x1f…\"}       an integer of any size, in hexadecimal\n"
    "  {\"$bits\": [12, \"q8A=\"]}  a bitstring: number of bits, bytes in base64\n"
    "  {\"$improper\": [1, 2]}    a list whose tail is the last element: [1 | 2]\n";

static const char decode[] =
    "usage: stevedore decode [--max-frame BYTES] <frames >lines\n"
    "\n"
    "Turns the frames on stdin, of either codec, into lines of JSON on stdout: one\n"
    "for each message, the messages of a batch one by one, each as soon as it came.\n"
    "\n"
    "  --max-frame BYTES  the longest frame (default: 64M)\n"
    "\n"
    "Terms print as `stevedore help encode` describes, and so that people can read\n"
    "them: tuples as arrays, atoms as text, bytes as text if they are UTF-8 and as\n"
    "{\"$base64\": \"…\"} if not, maps as {\"$map\": [[key, value], …]} if their keys are\n"
    "not all text or all atoms.\n"
    "\n"
    "A message that the protocol does not accept is reported on stderr, and the exit\n"
    "code will be 1. A broken stream ends it with exit code 65.\n";

static const char help[] = "usage: stevedore help [COMMAND]\n"
                           "\n"
                           "Prints the help of a command, or of the program.\n";

static const struct page {
    const char *command;
    const char *text;
} pages[] = {{"call", call}, {"decode", decode}, {"encode", encode}, {"help", help}, {"ops", ops}};

/* NULL: there is none. */
static const char *text_of(const char *command) {
    if (command == NULL) {
        return program;
    }
    for (size_t i = 0; i < sizeof pages / sizeof pages[0]; i++) {
        if (strcmp(command, pages[i].command) == 0) {
            return pages[i].text;
        }
    }
    return NULL;
}

bool cli_help_exists(const char *command) {
    return text_of(command) != NULL;
}

int cli_help_print(const char *command) {
    if (command == NULL) {
        (void)fputs(usage, stdout);
    }
    (void)fputs(text_of(command), stdout);
    return cli_finish_output(EXIT_FINE);
}

void cli_help_print_usage(FILE *to) {
    (void)fputs(usage, to);
}

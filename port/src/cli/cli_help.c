/* One text for each command, and one for the options that confine a worker. Lines of at most 80 characters,
 * as they are meant for terminals. Thread: main, the only one. */
#include "cli_help.h"

#include <string.h>

#include "cli_options.h"

static const char usage[] = "usage: stevedore [OPTIONS] <frames >frames    serve jobs (not from a terminal)\n"
                            "       stevedore call OP [JSON] [OPTIONS]     run one job\n"
                            "       stevedore ops [OPTIONS]                list the ops\n"
                            "       stevedore encode | decode              JSON lines to frames, and back\n"
                            "       stevedore blackbox FILE                what a dead worker was doing\n"
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
    "  --kill-after MS    say that a job is stuck which goes on for so long after it\n"
    "                     was asked to stop; a call's own kill_after comes first\n"
    "  --black-box FILE   note in this new file what runs, for when the worker dies\n"
    "  --outlive-parent   do not die with the process that started it; on Linux, with\n"
    "                     the thread of it that did\n"
    "  --limit-…, --landlock-…, --seccomp and others confine it: `stevedore help\n"
    "                     confinement` tells how\n"
    "  -h, --help         this text\n"
    "  --version          the version\n"
    "\n"
    "Commands (`stevedore help COMMAND` or `stevedore COMMAND --help` tells more):\n"
    "  blackbox  tell what a worker that died was doing\n"
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

static const char blackbox[] =
    "usage: stevedore blackbox FILE\n"
    "\n"
    "Tells what the black box of a worker (--black-box FILE) holds: whether and of what\n"
    "it died, in which job and where; what each thread was running, and for how long;\n"
    "how many jobs waited, ran, or had finished without their reply being written.\n";

static const char call[] =
    "usage: stevedore call OP [JSON] [OPTIONS]\n"
    "\n"
    "Runs one op in a worker of its own and prints the result as one line of JSON.\n"
    "JSON is the op's arguments in one word, for most ops an object (default: {}).\n"
    "\n"
    "  --data TEXT        add the argument `data`: this text\n"
    "  --data @FILE       the bytes of a file; @- is stdin\n"
    "  --raw              if the result is bytes or text, write just that\n"
    "  --timeout MS       ask the op to stop after this time; 1 s later a warning shows\n"
    "                     where it is, and 2 s later it is killed\n"
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

static const char confinement[] =
    "Options that limit a worker, and all that runs in it, before any code of a plugin\n"
    "runs. One that cannot be had is reported in a log message and by the op `hello`;\n"
    "the worker goes on without it unless --require names it. Sizes take K, M or G.\n"
    "\n"
    "  --oom-score-adj N              0 to 1000: die before the host when memory runs\n"
    "                                 out (default: 500; 0: leave it alone)\n"
    "  --nice N                       0 to 19: leave the processors to others\n"
    "  --limit-memory BYTES           memory in use, by a cgroup (v2) of its own\n"
    "  --limit-address-space BYTES    memory mapped, used or not\n"
    "  --limit-cpu SECONDS            processor time, over its whole life\n"
    "  --limit-files N                open descriptors, at least 32\n"
    "  --limit-file-size BYTES        how long a file can grow by being written\n"
    "  --landlock-read PATH           only such files, or directories, can be read;\n"
    "  --landlock-write PATH          … only such ones written; both may be repeated\n"
    "  --landlock-none                no file can be opened at all\n"
    "  --seccomp basic                no ptrace, mount, bpf, namespaces and the like\n"
    "  --seccomp strict               … nor programs, processes, sockets, and signals\n"
    "                                 to other processes\n"
    "  --require NAME[,NAME…]         no start (exit code 71) unless in effect:\n"
    "                                 no_new_privs, oom_score, nice, memory, cpu,\n"
    "                                 files, address_space, file_size, landlock,\n"
    "                                 seccomp\n"
    "\n"
    "  stevedore --seccomp strict --landlock-read /srv/in --require seccomp,landlock\n";

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
} pages[] = {{"blackbox", blackbox},
             {"call", call},
             {"confinement", confinement},
             {"decode", decode},
             {"encode", encode},
             {"help", help},
             {"ops", ops}};

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

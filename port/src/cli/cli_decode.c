/* Frames of either codec, from either side, one line for each message; a batch is taken apart. Output is
 * flushed before every wait for more input: at once for a person, seldom for a file. Thread: main, the only
 * one. */
#include "cli_decode.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "arena.h"
#include "cli_help.h"
#include "cli_json.h"
#include "cli_options.h"
#include "frame_reader.h"
#include "message_term.h"

struct decoder {
    uint64_t frame; /* counted from 1 */
    int code; /* EXIT_FINE so far, EXIT_ANSWER_IS_ERROR after a refused message, else the reason to stop */
};

static bool should_go_on(const struct decoder *decoder) {
    return decoder->code == EXIT_FINE || decoder->code == EXIT_ANSWER_IS_ERROR;
}

static void say_broken(struct decoder *decoder, const char *reason) {
    cli_say("broken stream: frame %" PRIu64 ": %s", decoder->frame, reason);
    decoder->code = EXIT_BROKEN_STREAM;
}

static void print(struct decoder *decoder, const struct stv_term *message) {
    if (!cli_json_print_term(stdout, message)) {
        cli_say("cannot print frame %" PRIu64 ": %s", decoder->frame, strerror(errno));
        decoder->code = ferror(stdout) ? EXIT_IO : EXIT_NO_MEMORY;
    }
}

static bool decode_message(void *context, struct slice message) {
    struct decoder *decoder = context;
    struct arena arena;
    arena_init(&arena, NULL, 0);
    const struct stv_term *term;
    const char *reason;
    switch (message_term_read(&arena, message, &term, &reason)) {
    case MESSAGE_TERM_OK:
        print(decoder, term);
        break;
    case MESSAGE_TERM_REFUSED:
        cli_say("frame %" PRIu64 ": refused: %s", decoder->frame, reason);
        decoder->code = EXIT_ANSWER_IS_ERROR;
        break;
    case MESSAGE_TERM_BROKEN:
        say_broken(decoder, reason);
        break;
    }
    arena_finish(&arena);
    return should_go_on(decoder);
}

static void decode_frame(struct decoder *decoder, struct slice content) {
    if (!message_term_each(content, decode_message, decoder)) {
        say_broken(decoder, "a batch whose lengths are wrong");
    }
}

static void flush_output(void) {
    (void)fflush(stdout);
}

static void decode_stream(struct decoder *decoder, struct frame_reader *reader) {
    while (should_go_on(decoder)) {
        struct slice content;
        enum frame_reader_status status = frame_reader_next(reader, &content);
        decoder->frame++;
        if (status == FRAME_READER_END) {
            return;
        }
        if (status == FRAME_READER_FRAME) {
            decode_frame(decoder, content);
        } else if (status == FRAME_READER_BROKEN) {
            say_broken(decoder, reader->reason);
        } else {
            cli_say("cannot read stdin: %s", reader->reason);
            decoder->code = EXIT_IO;
        }
    }
}

static int decode(size_t max_frame) {
    struct decoder decoder = {.code = EXIT_FINE};
    struct frame_reader reader;
    frame_reader_init(&reader, STDIN_FILENO, max_frame);
    reader.before_wait = flush_output;
    decode_stream(&decoder, &reader);
    frame_reader_finish(&reader);
    return cli_finish_output(decoder.code);
}

int cli_decode(int argc, char **argv) {
    static const struct option table[] = {CLI_ROW_MAX_FRAME, CLI_ROW_HELP, CLI_ROW_END};
    struct serve_options options = SERVE_OPTIONS_DEFAULT;
    int option;
    while ((option = cli_next_option(argc, argv, table)) != CLI_OPTION_END) {
        if (option == CLI_OPTION_HELP) {
            return cli_help_print("decode");
        }
        if (option == CLI_OPTION_WRONG || !cli_take_serve_option(option, optarg, &options)) {
            return EXIT_WRONG_USAGE;
        }
    }
    if (optind < argc) {
        return cli_wrong_usage("reads frames from stdin and takes no \"%s\"", argv[optind]);
    }
    return decode(options.max_frame);
}

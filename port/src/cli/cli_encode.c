/* A line is an array: a message, or, if its first element is an array too (or it has none), a batch of
 * messages. A frame is put together in a memory stream before any of it is written, so that a line becomes a
 * whole frame or an error, nothing in between. Thread: main, the only one. */
#include "cli_encode.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli_help.h"
#include "cli_json.h"
#include "cli_options.h"
#include "fatal.h"
#include "frame.h"
#include "writer.h"

struct encoder {
    const struct codec *codec;
    size_t max_frame;
    bool flush_each;    /* somebody may wait for the answer to one line before writing the next */
    struct arena arena; /* the terms of the current line */
    struct cli_json_error error;
};

static bool refuse(struct encoder *encoder, const char *message) {
    (void)snprintf(encoder->error.message, sizeof encoder->error.message, "%s", message);
    encoder->error.at = NULL;
    return false;
}

/* --- One message --- */

/* The first element of a message is its tag: an atom if it is text (and short enough for one). */
static const struct stv_term *as_tag(struct encoder *encoder, const struct stv_term *term) {
    size_t characters;
    bool can_be_atom = term->type == STV_BINARY && term->is_text && utf8_is_valid(term->bytes, &characters) &&
                       characters <= 255;
    if (!can_be_atom) {
        return term;
    }
    struct stv_term *tag = must(arena_alloc(&encoder->arena, sizeof *tag));
    *tag = (struct stv_term){.type = STV_ATOM, .bytes = term->bytes};
    return tag;
}

static bool put_elements(struct encoder *encoder, struct writer *writer, yyjson_val *array) {
    writer_put_message(writer, (uint32_t)yyjson_arr_size(array));
    size_t index, size;
    yyjson_val *element;
    yyjson_arr_foreach(array, index, size, element) {
        const struct stv_term *term = cli_json_to_term(&encoder->arena, element, 1, &encoder->error);
        if (term == NULL) {
            return false;
        }
        writer_put_term(writer, index == 0 ? as_tag(encoder, term) : term);
    }
    return true;
}

static const char *writer_problem(const struct writer *writer) {
    switch (writer->error) {
    case WRITER_NO_MEMORY:
        return "out of memory";
    case WRITER_TOO_LARGE:
        return "the message is larger than --max-frame";
    default:
        return "the codec cannot say this: too deep, or in MessagePack a $big, $bits or $improper";
    }
}

/* A memory stream that could not grow says so here and only here: glibc's ferror and fclose do not tell. */
static void append(FILE *frame, const uint8_t *bytes, size_t size) {
    if (fwrite(bytes, 1, size, frame) != size) {
        fatal(EXIT_NO_MEMORY, "out of memory");
    }
}

static void append_written(const struct writer *writer, FILE *frame) {
    size_t size = writer_size(writer);
    uint8_t *bytes = must(malloc(size));
    writer_copy(writer, bytes);
    append(frame, bytes, size);
    free(bytes);
}

/* Appends one message's bytes, with the header of an element in front if it is one of a batch. */
static bool append_message(struct encoder *encoder, yyjson_val *message, FILE *frame, bool in_batch) {
    struct writer writer;
    writer_init(&writer, encoder->codec, encoder->max_frame);
    bool fine = put_elements(encoder, &writer, message);
    if (fine && !writer_is_complete(&writer)) {
        fine = refuse(encoder, writer_problem(&writer));
    }
    if (fine && in_batch) {
        uint8_t header[8];
        append(frame, header, encoder->codec->put_batch_item(header, (uint32_t)writer_size(&writer)));
    }
    if (fine) {
        append_written(&writer, frame);
    }
    writer_finish(&writer);
    return fine;
}

/* --- One line --- */

static bool append_batch(struct encoder *encoder, yyjson_val *batch, FILE *frame) {
    uint8_t around[16];
    append(frame, around, encoder->codec->put_batch_header(around, (uint32_t)yyjson_arr_size(batch)));
    size_t index, size;
    yyjson_val *message;
    yyjson_arr_foreach(batch, index, size, message) {
        if (!yyjson_is_arr(message)) {
            return refuse(encoder, "a batch holds messages, which are arrays, and nothing else");
        }
        if (!append_message(encoder, message, frame, true)) {
            return false;
        }
    }
    append(frame, around, encoder->codec->put_batch_end(around));
    return true;
}

static bool append_line(struct encoder *encoder, yyjson_val *line, FILE *frame) {
    if (!yyjson_is_arr(line)) {
        return refuse(encoder, "a message is an array, such as [\"call\", 1, \"ping\", null]");
    }
    bool is_batch = yyjson_arr_size(line) == 0 || yyjson_is_arr(yyjson_arr_get_first(line));
    return is_batch ? append_batch(encoder, line, frame) : append_message(encoder, line, frame, false);
}

static bool write_frame(struct encoder *encoder, const char *content, size_t size) {
    if (size > encoder->max_frame) {
        return refuse(encoder, "the frame is larger than --max-frame");
    }
    uint8_t header[FRAME_HEADER];
    write_be32(header, (uint32_t)size);
    (void)fwrite(header, 1, sizeof header, stdout); /* encode_lines asks ferror */
    (void)fwrite(content, 1, size, stdout);
    if (encoder->flush_each) {
        (void)fflush(stdout);
    }
    return true;
}

static bool encode_value(struct encoder *encoder, yyjson_val *line) {
    char *content = NULL;
    size_t size = 0;
    FILE *frame = must(open_memstream(&content, &size));
    arena_init(&encoder->arena, NULL, 0);
    bool fine = append_line(encoder, line, frame);
    if (fclose(frame) != 0) {
        fine = refuse(encoder, "out of memory");
    }
    fine = fine && write_frame(encoder, content, size);
    arena_finish(&encoder->arena);
    free(content);
    return fine;
}

static bool encode_line(struct encoder *encoder, char *text, size_t length) {
    yyjson_doc *document = cli_json_parse(text, length, &encoder->error);
    bool fine = document != NULL && encode_value(encoder, yyjson_doc_get_root(document));
    yyjson_doc_free(document);
    return fine;
}

/* --- All lines --- */

static bool is_blank(const char *text, size_t length) {
    return strspn(text, " \t\r\n") == length;
}

static void say_where(const struct encoder *encoder, uint64_t line, const char *text) {
    const char *at = encoder->error.at;
    if (at == NULL) {
        cli_say("line %" PRIu64 ": %s", line, encoder->error.message);
    } else {
        cli_say("line %" PRIu64 ", column %zu: %s", line, (size_t)(at - text) + 1, encoder->error.message);
    }
}

static int encode_lines(struct encoder *encoder, FILE *input) {
    char *text = NULL;
    size_t room = 0;
    ssize_t length;
    int code = EXIT_FINE;
    for (uint64_t line = 1; code == EXIT_FINE && (length = getline(&text, &room, input)) >= 0; line++) {
        if (is_blank(text, (size_t)length)) {
            continue;
        }
        if (room < (size_t)length + CLI_JSON_PADDING) {
            room = (size_t)length + CLI_JSON_PADDING;
            text = must(realloc(text, room));
        }
        if (!encode_line(encoder, text, (size_t)length)) {
            say_where(encoder, line, text);
            code = EXIT_ANSWER_IS_ERROR;
        } else if (ferror(stdout)) {
            code = EXIT_IO;
        }
    }
    if (code == EXIT_FINE && ferror(input)) {
        cli_say("cannot read stdin: %s", strerror(errno));
        code = EXIT_IO;
    }
    free(text);
    return code;
}

static const struct codec *codec_named(const char *name) {
    if (strcmp(name, codec_etf.name) == 0) {
        return &codec_etf;
    }
    if (strcmp(name, codec_msgpack.name) == 0) {
        return &codec_msgpack;
    }
    cli_wrong_usage("--codec takes etf or msgpack, not \"%s\"", name);
    return NULL;
}

/* False: wrong, and that was said. */
static bool take_option(struct encoder *encoder, int option) {
    struct serve_options options = {0};
    switch (option) {
    case CLI_OPTION_OF_COMMAND:
        encoder->codec = codec_named(optarg);
        return encoder->codec != NULL;
    case CLI_OPTION_MAX_FRAME:
        if (!cli_take_serve_option(option, optarg, &options)) {
            return false;
        }
        encoder->max_frame = options.max_frame;
        return true;
    default:
        return false;
    }
}

/* A file is not waited for; a pipe or a terminal may be. */
static bool is_interactive(int fd) {
    struct stat status;
    return fstat(fd, &status) != 0 || !S_ISREG(status.st_mode);
}

int cli_encode(int argc, char **argv) {
    static const struct option table[] = {{"codec", required_argument, NULL, CLI_OPTION_OF_COMMAND},
                                          CLI_ROW_MAX_FRAME,
                                          CLI_ROW_HELP,
                                          CLI_ROW_END};
    struct encoder encoder = {.codec = &codec_etf, .max_frame = SERVE_DEFAULT_MAX_FRAME};
    int option;
    while ((option = cli_next_option(argc, argv, table)) != CLI_OPTION_END) {
        if (option == CLI_OPTION_HELP) {
            return cli_help_print("encode");
        }
        if (!take_option(&encoder, option)) {
            return EXIT_WRONG_USAGE;
        }
    }
    if (optind < argc) {
        return cli_wrong_usage("reads lines from stdin and takes no \"%s\"", argv[optind]);
    }
    encoder.flush_each = is_interactive(STDIN_FILENO);
    return cli_finish_output(encode_lines(&encoder, stdin));
}

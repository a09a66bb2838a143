/* The arguments are JSON, plus `--data` for bytes that JSON cannot carry; the result is JSON, or with `--raw`
 * the bytes themselves. Thread: main, the only one. */
#include "cli_call.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arena.h"
#include "cli_help.h"
#include "cli_json.h"
#include "cli_options.h"
#include "cli_worker.h"
#include "fatal.h"

enum call_option { OPTION_DATA = CLI_OPTION_OF_COMMAND, OPTION_TIMEOUT, OPTION_PROGRESS, OPTION_RAW };

struct request {
    struct cli_worker_call call;
    const char *json; /* NULL: no arguments but `data` */
    const char *data; /* TEXT, @FILE, @-; NULL: none */
    bool prints_raw;
};

/* --- Arguments --- */

/* Reads to the end, or one byte beyond `limit`, which is enough to know. NULL: reading failed, errno tells.
 */
static uint8_t *read_all(FILE *file, size_t limit, size_t *length) {
    size_t room = 65536;
    uint8_t *bytes = must(malloc(room));
    *length = 0;
    while (*length <= limit && !feof(file)) {
        if (*length == room) {
            room *= 2;
            bytes = must(realloc(bytes, room));
        }
        *length += fread(bytes + *length, 1, room - *length, file);
        if (ferror(file)) {
            free(bytes);
            return NULL;
        }
    }
    return bytes;
}

/* What --data names, from malloc. NULL: it cannot be read, and that was said. */
static uint8_t *load_data(const struct request *request, size_t *length) {
    const char *data = request->data;
    if (data[0] != '@') {
        *length = strlen(data);
        return must(memcpy(must(malloc(*length + 1)), data, *length));
    }
    FILE *file = strcmp(data, "@-") == 0 ? stdin : fopen(data + 1, "rb");
    uint8_t *bytes = file == NULL ? NULL : read_all(file, request->call.worker.max_frame, length);
    if (bytes == NULL) {
        cli_say("--data: cannot read %s: %s", data + 1, strerror(errno));
    }
    if (file != NULL && file != stdin) {
        (void)fclose(file);
    }
    return bytes;
}

/* The map with `data` added. */
static const struct stv_term *with_data(struct arena *arena, const struct stv_term *map, struct slice data) {
    struct stv_term *copy = must(arena_alloc(arena, sizeof *copy));
    size_t end = (size_t)2 * map->count;
    struct stv_term *items = must(arena_alloc(arena, (end + 2) * sizeof *items));
    for (size_t i = 0; i < end; i++) {
        items[i] = map->items[i];
    }
    const struct slice name = {(const uint8_t *)"data", 4};
    items[end] = (struct stv_term){.type = STV_BINARY, .is_text = true, .bytes = name};
    items[end + 1] = (struct stv_term){.type = STV_BINARY, .bytes = data};
    *copy = (struct stv_term){.type = STV_MAP, .count = map->count + 1, .items = items};
    return copy;
}

/* Parses JSON, which must live as long as the term does. NULL: it is wrong, and that was said. */
static const struct stv_term *read_json(struct arena *arena, char *text, size_t length,
                                        yyjson_doc **document) {
    struct cli_json_error error;
    *document = cli_json_parse(text, length, &error);
    const struct stv_term *term =
        *document == NULL ? NULL : cli_json_to_term(arena, yyjson_doc_get_root(*document), 1, &error);
    if (term == NULL && error.at != NULL) {
        cli_wrong_usage("the arguments, column %zu: %s", (size_t)(error.at - text) + 1, error.message);
    } else if (term == NULL) {
        cli_wrong_usage("the arguments: %s", error.message);
    }
    return term;
}

/* --- Result --- */

static int print_result(void *context, const struct stv_term *result) {
    const struct request *request = context;
    struct stv_bytes bytes;
    if (request->prints_raw && stv_type(result) == STV_BINARY && stv_term_bytes(result, &bytes)) {
        (void)fwrite(bytes.data, 1, bytes.size, stdout);
    } else if (!cli_json_print_term(stdout, result) && !ferror(stdout)) {
        cli_say("out of memory");
        return EXIT_NO_MEMORY;
    }
    return cli_finish_output(EXIT_FINE);
}

/* --- The command --- */

static int call_with_json(struct request *request, struct arena *arena, char *json, size_t length,
                          struct slice data) {
    yyjson_doc *document = NULL;
    const struct stv_term *args = read_json(arena, json, length, &document);
    int code = EXIT_WRONG_USAGE;
    if (args != NULL && request->data != NULL && args->type != STV_MAP) {
        cli_wrong_usage("--data adds an argument, so the arguments must be an object");
    } else if (args != NULL) {
        request->call.args = request->data == NULL ? args : with_data(arena, args, data);
        code = cli_worker_call(&request->call);
    }
    yyjson_doc_free(document);
    return code;
}

static int call(struct request *request) {
    uint8_t *bytes = NULL;
    size_t size = 0;
    if (request->data != NULL && (bytes = load_data(request, &size)) == NULL) {
        return EXIT_IO;
    }
    const char *given = request->json == NULL ? "{}" : request->json;
    size_t length = strlen(given);
    char *json = memcpy(must(malloc(length + CLI_JSON_PADDING)), given, length + 1);
    struct arena arena;
    arena_init(&arena, NULL, 0);
    int code = call_with_json(request, &arena, json, length, (struct slice){bytes, size});
    arena_finish(&arena);
    free(json);
    free(bytes);
    return code;
}

/* False: wrong, and that was said. */
static bool take_option(struct request *request, int option) {
    uint64_t timeout;
    switch (option) {
    case CLI_OPTION_WRONG:
        return false;
    case OPTION_DATA:
        request->data = optarg;
        return true;
    case OPTION_TIMEOUT:
        if (!cli_parse_number("--timeout", optarg, 1, INT32_MAX, &timeout)) {
            return false;
        }
        request->call.timeout_ms = (uint32_t)timeout;
        return true;
    case OPTION_PROGRESS:
        request->call.shows_progress = true;
        return true;
    case OPTION_RAW:
        request->prints_raw = true;
        return true;
    default:
        return cli_take_serve_option(option, optarg, &request->call.worker);
    }
}

static bool take_operands(struct request *request, int argc, char **argv) {
    if (optind == argc) {
        cli_wrong_usage("takes the name of an op");
        return false;
    }
    if (argc - optind > 2) {
        cli_wrong_usage("takes an op and its arguments as one word of JSON; \"%s\" is too much",
                        argv[optind + 2]);
        return false;
    }
    request->call.op = argv[optind];
    request->json = optind + 1 < argc ? argv[optind + 1] : NULL;
    return true;
}

int cli_call(int argc, char **argv) {
    static const struct option table[] = {{"data", required_argument, NULL, OPTION_DATA},
                                          {"timeout", required_argument, NULL, OPTION_TIMEOUT},
                                          {"progress", no_argument, NULL, OPTION_PROGRESS},
                                          {"raw", no_argument, NULL, OPTION_RAW},
                                          CLI_ROW_MAX_FRAME,
                                          CLI_ROW_PLUGIN,
                                          CLI_ROW_HELP,
                                          CLI_ROW_END};
    struct request request = {.call = {.worker = SERVE_OPTIONS_DEFAULT, .take_result = print_result}};
    request.call.context = &request;
    int option;
    while ((option = cli_next_option(argc, argv, table)) != CLI_OPTION_END) {
        if (option == CLI_OPTION_HELP) {
            return cli_help_print("call");
        }
        if (!take_option(&request, option)) {
            return EXIT_WRONG_USAGE;
        }
    }
    return take_operands(&request, argc, argv) ? call(&request) : EXIT_WRONG_USAGE;
}

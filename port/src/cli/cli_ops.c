/* Asks a worker of our own (PROTOCOL §6), so that plugins are loaded as they are when serving, and lays the
 * answer out as a table whose last column is wrapped. Thread: main, the only one. */
#include "cli_ops.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli_help.h"
#include "cli_json.h"
#include "cli_options.h"
#include "cli_worker.h"

#define OPTION_JSON     CLI_OPTION_OF_COMMAND
#define WIDTH_OF_FILES  100
#define LEAST_DOC_WIDTH 30

static struct stv_bytes text_at(const struct stv_term *op, const char *key) {
    struct stv_bytes text = {(const unsigned char *)"", 0};
    stv_term_bytes(stv_get(op, key), &text);
    return text;
}

static void print_text(struct stv_bytes text) {
    (void)fwrite(text.data, 1, text.size, stdout); /* cli_finish_output tells of an error */
}

static void print_spaces(size_t count) {
    printf("%*s", (int)count, "");
}

/* --- Columns --- */

struct layout {
    size_t name; /* widths, the gap included */
    size_t flags;
    size_t total;
};

/* How wide an op's flags are, a comma between two; prints them if asked. */
static size_t flags_width(const struct stv_term *op) {
    const struct stv_term *flags = stv_get(op, "flags");
    size_t width = 0;
    for (size_t i = 0; i < stv_count(flags); i++) {
        struct stv_bytes flag = {0};
        stv_term_bytes(stv_item(flags, i), &flag);
        width += flag.size + (i > 0);
    }
    return width;
}

static void print_flags(const struct stv_term *op) {
    const struct stv_term *flags = stv_get(op, "flags");
    for (size_t i = 0; i < stv_count(flags); i++) {
        struct stv_bytes flag = {(const unsigned char *)"", 0};
        stv_term_bytes(stv_item(flags, i), &flag);
        (void)fputs(i > 0 ? "," : "", stdout);
        print_text(flag);
    }
}

static size_t output_width(void) {
    struct winsize size;
    bool is_terminal = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    return is_terminal ? size.ws_col : WIDTH_OF_FILES;
}

static size_t larger(size_t a, size_t b) {
    return a > b ? a : b;
}

static struct layout measure(const struct stv_term *ops) {
    struct layout layout = {.name = strlen("OP"), .flags = strlen("FLAGS")};
    for (size_t i = 0; i < stv_count(ops); i++) {
        layout.name = larger(layout.name, text_at(stv_item(ops, i), "name").size);
        layout.flags = larger(layout.flags, flags_width(stv_item(ops, i)));
    }
    layout.name += 2;
    layout.flags += 2;
    layout.total = larger(output_width(), layout.name + layout.flags + LEAST_DOC_WIDTH);
    return layout;
}

/* --- Rows --- */

/* How much of the text fits into `width` bytes without breaking a word, if that is possible. */
static size_t line_length(struct stv_bytes text, size_t width) {
    if (text.size <= width) {
        return text.size;
    }
    size_t length = width;
    while (length > 0 && text.data[length] != ' ') {
        length--;
    }
    return length > 0 ? length : width;
}

static void print_wrapped(struct stv_bytes text, size_t indent, size_t width) {
    for (bool is_first = true; is_first || text.size > 0; is_first = false) {
        size_t length = line_length(text, width);
        print_spaces(is_first ? 0 : indent);
        print_text((struct stv_bytes){text.data, length});
        putchar('\n');
        length += length < text.size && text.data[length] == ' ';
        text = (struct stv_bytes){text.data + length, text.size - length};
    }
}

static void print_row(const struct layout *layout, const struct stv_term *op) {
    struct stv_bytes name = text_at(op, "name");
    size_t indent = layout->name + layout->flags;
    print_text(name);
    print_spaces(layout->name - name.size);
    print_flags(op);
    print_spaces(layout->flags - flags_width(op));
    print_wrapped(text_at(op, "doc"), indent, layout->total - indent);
}

static void print_table(const struct stv_term *ops) {
    struct layout layout = measure(ops);
    printf("%-*s%-*s%s\n", (int)layout.name, "OP", (int)layout.flags, "FLAGS", "DOC");
    for (size_t i = 0; i < stv_count(ops); i++) {
        print_row(&layout, stv_item(ops, i));
    }
}

/* --- The command --- */

static int print_ops(void *context, const struct stv_term *ops) {
    const bool *as_json = context;
    if (!*as_json) {
        print_table(ops);
    } else if (!cli_json_print_term(stdout, ops) && !ferror(stdout)) {
        cli_say("out of memory");
        return EXIT_NO_MEMORY;
    }
    return cli_finish_output(EXIT_FINE);
}

static int ask(const struct serve_options *worker, bool as_json) {
    const struct stv_term nothing = {.type = STV_ATOM, .bytes = {(const uint8_t *)"nil", 3}};
    const struct cli_worker_call call = {
        .worker = *worker, .op = "ops", .args = &nothing, .take_result = print_ops, .context = &as_json};
    return cli_worker_call(&call);
}

int cli_ops(int argc, char **argv) {
    static const struct option table[] = {
        {"json", no_argument, NULL, OPTION_JSON}, CLI_ROW_PLUGIN, CLI_ROW_HELP, CLI_ROW_END};
    struct serve_options worker = SERVE_OPTIONS_DEFAULT;
    bool as_json = false;
    int option;
    while ((option = cli_next_option(argc, argv, table)) != CLI_OPTION_END) {
        if (option == CLI_OPTION_HELP) {
            return cli_help_print("ops");
        }
        if (option == CLI_OPTION_WRONG) {
            return EXIT_WRONG_USAGE;
        }
        if (option == OPTION_JSON) {
            as_json = true;
        } else if (!cli_take_serve_option(option, optarg, &worker)) {
            return EXIT_WRONG_USAGE;
        }
    }
    if (optind < argc) {
        return cli_wrong_usage("lists all ops and takes no \"%s\"", argv[optind]);
    }
    return ask(&worker, as_json);
}

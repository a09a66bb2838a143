/* cli_json: JSON to terms and back, by one rule each way (docs/stevedore.1 has it for people).
 *
 *   JSON → term                                        term → JSON
 *   null, true, false   the atoms nil, true, false     the same
 *   1, -1               integer, within 64 bits        the same; larger: {"$big": "-0x1f…"}
 *   1.5                 float                          the same
 *   "text"              text                           text, bytes that are UTF-8, other atoms
 *   {"$base64": "…"}    bytes                          bytes that are not UTF-8
 *   [a, b]              list                           list, tuple
 *   {"a": b}            map with text as keys          map whose keys are all text, all bytes or all atoms
 *   {"$map": [[k, v]]}  map with any keys              any other map
 *   {"$atom": "a"}, {"$tuple": [a, b]}                 never: they print as text and list
 *   {"$big": "0x1f"}, {"$bits": [12, "q8A="]}, {"$improper": [a, b, tail]}: both ways
 *
 * An object with one key that starts with `$` is such a form and nothing else, so a typing error is never
 * taken for data; a map that would look like one prints as a `$map`.
 *
 * Thread: any (pure). */
#ifndef CLI_JSON_H
#define CLI_JSON_H

#include <stdio.h>
#include <yyjson.h>

#include "arena.h"
#include "term.h"

/* Why not. */
struct cli_json_error {
    char message[160];
    const char *at; /* where in the text, or NULL if that is not known */
};

/* How many bytes a text needs to be followed by; they are overwritten. */
#define CLI_JSON_PADDING YYJSON_PADDING_SIZE

/* Parses one JSON value in place: the strings of the document stay in `text`, which must outlive it. NULL and
 * *error: it is none. */
yyjson_doc *cli_json_parse(char *text, size_t length, struct cli_json_error *error);

/* The value as a term in the arena, which borrows the document's strings. NULL and *error: it is none.
 * `depth` is how many levels are open around it. */
const struct stv_term *cli_json_to_term(struct arena *arena, yyjson_val *value, unsigned depth,
                                        struct cli_json_error *error);

/* The term as a value of the document, which borrows its bytes; NULL if there is no memory. A checked term is
 * never too deep. */
yyjson_mut_val *cli_json_from_term(yyjson_mut_doc *document, const struct stv_term *term);

/* Prints the value on a line of its own. False: there is no memory, or `to` does not take it. */
enum cli_json_layout { CLI_JSON_LINE, CLI_JSON_INDENTED };
bool cli_json_print(FILE *to, const yyjson_mut_val *value, enum cli_json_layout layout);

/* cli_json_from_term and cli_json_print on one line. */
bool cli_json_print_term(FILE *to, const struct stv_term *term);

#endif

/* utf8: is it UTF-8, and making it so. Thread: any (pure). */
#ifndef UTF8_H
#define UTF8_H

#include "bytes.h"
#include <stdbool.h>

/* Whether the bytes are valid UTF-8; *characters (may be NULL) gets how many. */
bool utf8_is_valid(struct slice text, size_t *characters);

/* Copies text to `to`, each byte that is not part of valid UTF-8 replaced by U+FFFD; ends before the first
 * character that does not fit into `room`. Returns how many bytes were written. */
size_t utf8_repair(struct slice text, uint8_t *to, size_t room);

/* The same for C strings: `size` counts the terminator, which is always there. Returns `to`. */
const char *utf8_repair_string(const char *text, char *to, size_t size);

#endif

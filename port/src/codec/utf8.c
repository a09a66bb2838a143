/* See utf8.h. Most text is ASCII, which is passed over eight bytes at a time. */
#include "utf8.h"

static bool between(uint8_t byte, uint8_t low, uint8_t high) {
    return low <= byte && byte <= high;
}

/* How long the character at `at` is; 0 if there is no valid one. No overlong forms, no
 * surrogates, at most U+10FFFF: the first continuation byte's range depends on the lead byte, the others'
 * does not. */
static size_t character_length(const uint8_t *at, size_t left) {
    uint8_t lead = at[0];

    if (lead < 0x80) {
        return 1;
    }
    if (between(lead, 0xc2, 0xdf)) {
        return left >= 2 && between(at[1], 0x80, 0xbf) ? 2 : 0;
    }
    if (between(lead, 0xe0, 0xef)) {
        uint8_t low = lead == 0xe0 ? 0xa0 : 0x80;
        uint8_t high = lead == 0xed ? 0x9f : 0xbf;
        return left >= 3 && between(at[1], low, high) && between(at[2], 0x80, 0xbf) ? 3 : 0;
    }
    if (between(lead, 0xf0, 0xf4)) {
        uint8_t low = lead == 0xf0 ? 0x90 : 0x80;
        uint8_t high = lead == 0xf4 ? 0x8f : 0xbf;
        bool valid = left >= 4 && between(at[1], low, high) && between(at[2], 0x80, 0xbf) &&
                     between(at[3], 0x80, 0xbf);
        return valid ? 4 : 0;
    }
    return 0;
}

static bool eight_are_ascii(const uint8_t *at) {
    uint64_t eight;
    memcpy(&eight, at, sizeof(eight));
    return (eight & 0x8080808080808080u) == 0;
}

/* How many ASCII characters come first. */
static size_t ascii_length(const uint8_t *at, size_t left) {
    size_t length = 0;

    while (left - length >= 8 && eight_are_ascii(at + length)) {
        length += 8;
    }
    while (length < left && at[length] < 0x80) {
        length++;
    }
    return length;
}

bool utf8_is_valid(struct slice text, size_t *characters) {
    size_t at = ascii_length(text.bytes, text.length);
    size_t count = at;

    while (at < text.length) {
        size_t length = character_length(text.bytes + at, text.length - at);
        if (length == 0) {
            return false;
        }
        at += length;
        count++;
        length = ascii_length(text.bytes + at, text.length - at);
        at += length;
        count += length;
    }
    if (characters != NULL) {
        *characters = count;
    }
    return true;
}

size_t utf8_repair(struct slice text, uint8_t *to, size_t room) {
    static const uint8_t replacement[] = {0xef, 0xbf, 0xbd};
    size_t from = 0;
    size_t written = 0;

    while (from < text.length) {
        size_t length = character_length(text.bytes + from, text.length - from);
        const uint8_t *character = length > 0 ? text.bytes + from : replacement;
        size_t size = length > 0 ? length : sizeof(replacement);
        if (size > room - written) {
            break;
        }
        memcpy(to + written, character, size);
        written += size;
        from += length > 0 ? length : 1;
    }
    return written;
}

const char *utf8_repair_string(const char *text, char *to, size_t size) {
    size_t length = utf8_repair((struct slice){(const uint8_t *)text, strlen(text)}, (uint8_t *)to, size - 1);
    to[length] = '\0';
    return to;
}

/* check_tool: judges External Term Format in bulk, for differential.exs.
 *
 * stdin: terms as binary_to_term takes them (131 first), each after its length in 4 bytes, big-endian.
 * stdout: for each of them a verdict, a length and so many bytes: o  accepted; the bytes are {Term} as the
 * writer encodes it d  accepted, but a map has a key twice r  refused, b broken; the bytes are the reason A
 * term is judged as the arguments of a call are: at depth 1, with nothing after it (PROTOCOL §8, §9). Every
 * term is in an allocation of exactly its size. */
#include <stdio.h>
#include <stdlib.h>

#include "arena.h"
#include "bytes.h"
#include "round_trip.h"

static void answer(char verdict, struct slice bytes) {
    uint8_t header[5] = {(uint8_t)verdict};

    write_be32(header + 1, (uint32_t)bytes.length);
    fwrite(header, 1, sizeof header, stdout);
    fwrite(bytes.bytes, 1, bytes.length, stdout);
}

static void answer_text(char verdict, const char *text) {
    answer(verdict, (struct slice){(const uint8_t *)text, strlen(text)});
}

static void answer_accepted(struct slice term) {
    struct arena arena;
    const char *reason = NULL;
    const struct stv_term *tree;
    struct slice encoded;

    arena_init(&arena, NULL, 0);
    tree = codec_etf.read(&arena, term, &reason);
    if (!tree) {
        answer_text('d', reason);
    } else if (round_trip_write(&codec_etf, tree, &encoded)) {
        answer('o', encoded);
        free((void *)encoded.bytes);
    } else {
        answer_text('o', "the writer refused what was read");
    }
    arena_finish(&arena);
}

static void judge(struct slice term) {
    struct check check = round_trip_budget(&codec_etf);
    size_t used;

    switch (codec_etf.check(&check, term, &used)) {
    case CHECK_OK:
        if (used == term.length) {
            answer_accepted(term);
        } else {
            answer_text('r', "bytes after the term");
        }
        break;
    case CHECK_REFUSED:
        answer_text('r', check.reason);
        break;
    default:
        answer_text('b', check.reason);
    }
}

int main(void) {
    uint8_t header[4];

    while (fread(header, 1, sizeof header, stdin) == sizeof header) {
        size_t length = read_be32(header);
        uint8_t *bytes = malloc(length ? length : 1);
        if (fread(bytes, 1, length, stdin) != length) {
            return EXIT_FAILURE;
        }
        if (length == 0 || bytes[0] != 131) {
            answer_text('b', "no version byte");
        } else {
            judge((struct slice){bytes + 1, length - 1});
        }
        free(bytes);
    }
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

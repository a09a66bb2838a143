/* See etf_check.h, and check_walk.h for how.
 *
 * Deliberately not here: looking for keys that are in a map twice, which needs memory (see term.h). PROTOCOL
 * §10's max_terms is far below the BEAM's largest tuple (2^24-1), so tuples need no limit of their own. */
#include "etf_check.h"
#include "check_walk.h"
#include "etf_tags.h"
#include "utf8.h"

#define MAX_ATOM_CHARACTERS 255u

static const char *refusal(uint8_t tag) {
    switch (tag) {
    case 67:
        return "a record cannot be sent (PROTOCOL §9.1, tag 67)";
    case 80:
        return "a compressed term cannot be sent: use term_to_binary/1 without `compressed` (PROTOCOL §9.1)";
    case 88:
    case 103:
        return "a pid cannot be sent (PROTOCOL §9.1)";
    case 89:
    case 102:
    case 120:
        return "a port cannot be sent (PROTOCOL §9.1)";
    case 90:
    case 101:
    case 114:
        return "a reference cannot be sent (PROTOCOL §9.1)";
    case 99:
        return "a float as text cannot be sent: use term_to_binary/1 without `minor_version` 0 (PROTOCOL "
               "§9.1)";
    case 112:
    case 113:
    case 117:
        return "a fun cannot be sent (PROTOCOL §9.1)";
    case 121:
        return "a term in the local format cannot be sent (PROTOCOL §9.1)";
    default:
        return "an unknown tag: not a term of the External Term Format (PROTOCOL §9.1)";
    }
}

/* How many bytes of each tag's term have a fixed place, tag included; 0: refused. */
static const uint8_t header_sizes[256] = {
    [ETF_FLOAT] = 9,           [ETF_BITSTRING] = 6,   [ETF_SMALL_INTEGER] = 2, [ETF_INTEGER] = 5,
    [ETF_LATIN1_ATOM] = 3,     [ETF_SMALL_TUPLE] = 2, [ETF_LARGE_TUPLE] = 5,   [ETF_NIL] = 1,
    [ETF_STRING] = 3,          [ETF_LIST] = 5,        [ETF_BINARY] = 5,        [ETF_SMALL_BIG] = 3,
    [ETF_LARGE_BIG] = 6,       [ETF_MAP] = 5,         [ETF_UTF8_ATOM] = 3,     [ETF_SMALL_LATIN1_ATOM] = 2,
    [ETF_SMALL_UTF8_ATOM] = 2,
};

static inline enum check_verdict pass_float(struct walk *walk) {
    if ((walk->at[1] & 0x7f) == 0x7f && walk->at[2] >= 0xf0) {
        return walk_refuse(walk, "a float is infinite or not a number (PROTOCOL §9.1)");
    }
    return walk_pass(walk, 0);
}

static inline enum check_verdict pass_utf8_atom(struct walk *walk, size_t length) {
    struct slice name = {walk->at + walk->header, length};
    enum check_verdict verdict = walk_pass(walk, length);
    size_t characters;

    if (verdict != CHECK_OK) {
        return verdict;
    }
    if (!utf8_is_valid(name, &characters)) {
        return walk_refuse(walk, "an atom is not valid UTF-8 (PROTOCOL §9.1)");
    }
    if (characters > MAX_ATOM_CHARACTERS) {
        return walk_refuse(walk, "an atom has more than 255 characters (PROTOCOL §9.1)");
    }
    return CHECK_OK;
}

static inline enum check_verdict pass_latin1_atom(struct walk *walk, size_t length) {
    enum check_verdict verdict = walk_pass(walk, length);

    if (verdict == CHECK_OK && length > MAX_ATOM_CHARACTERS) {
        return walk_refuse(walk, "an atom has more than 255 characters (PROTOCOL §9.1)");
    }
    return verdict;
}

static enum check_verdict pass_big(struct walk *walk, size_t length) {
    uint8_t sign = walk->at[walk->header - 1];
    enum check_verdict verdict = walk_pass(walk, length);

    if (verdict != CHECK_OK) {
        return verdict;
    }
    if (length > CHECK_MAX_BIG) {
        return walk_refuse(walk, "an integer has more than 4096 bytes (PROTOCOL §10, max_big)");
    }
    if (sign > 1) {
        return walk_refuse(walk, "the sign of an integer is neither 0 nor 1 (PROTOCOL §9.1)");
    }
    return CHECK_OK;
}

static enum check_verdict pass_bitstring(struct walk *walk, size_t length) {
    uint8_t bits = walk->at[5];
    enum check_verdict verdict = walk_pass(walk, length);

    if (verdict == CHECK_OK && (length == 0 || bits < 1 || bits > 8)) {
        return walk_refuse(walk,
                           "a bitstring has no bytes, or not 1 to 8 bits in its last one (PROTOCOL §9.1)");
    }
    return verdict;
}

/* A list of bytes: one term and as many more. */
static inline enum check_verdict pass_string(struct walk *walk, size_t length) {
    enum check_verdict verdict = walk_pass(walk, length);

    if (verdict == CHECK_OK) {
        verdict = walk_spend(walk, length);
    }
    return verdict == CHECK_OK && length > 0 ? walk_deepen(walk) : verdict;
}

/* A list header without elements means what follows it, as on the BEAM: there is one more term to come. */
static inline enum check_verdict enter_list(struct walk *walk, uint32_t elements) {
    if (elements == 0) {
        walk->pending++;
        return walk_pass(walk, 0);
    }
    return walk_enter(walk, elements, 1); /* and the tail */
}

/* Goes past one scalar or one container's header. */
static inline enum check_verdict pass_term(struct walk *walk) {
    const uint8_t *at = walk->at;

    switch (at[0]) {
    case ETF_SMALL_INTEGER:
    case ETF_INTEGER:
    case ETF_NIL:
        return walk_pass(walk, 0);
    case ETF_FLOAT:
        return pass_float(walk);
    case ETF_SMALL_UTF8_ATOM:
        return pass_utf8_atom(walk, at[1]);
    case ETF_UTF8_ATOM:
        return pass_utf8_atom(walk, read_be16(at + 1));
    case ETF_SMALL_LATIN1_ATOM:
        return pass_latin1_atom(walk, at[1]);
    case ETF_LATIN1_ATOM:
        return pass_latin1_atom(walk, read_be16(at + 1));
    case ETF_BINARY:
        return walk_pass(walk, read_be32(at + 1));
    case ETF_BITSTRING:
        return pass_bitstring(walk, read_be32(at + 1));
    case ETF_STRING:
        return pass_string(walk, read_be16(at + 1));
    case ETF_SMALL_BIG:
        return pass_big(walk, at[1]);
    case ETF_LARGE_BIG:
        return pass_big(walk, read_be32(at + 1));
    case ETF_LIST:
        return enter_list(walk, read_be32(at + 1));
    case ETF_SMALL_TUPLE:
        return walk_enter(walk, at[1], 0);
    case ETF_LARGE_TUPLE:
        return walk_enter(walk, read_be32(at + 1), 0);
    case ETF_MAP:
        return walk_enter(walk, 2 * (uint64_t)read_be32(at + 1), 0);
    default:
        return walk_refuse(walk, refusal(at[0]));
    }
}

enum check_verdict etf_check(struct check *check, struct slice bytes, size_t *used) {
    struct walk walk;
    enum check_verdict verdict = walk_start(&walk, check, bytes);

    while (verdict == CHECK_OK) {
        if (walk.left == 0) {
            return walk_past_the_end(&walk);
        }
        walk.header = header_sizes[walk.at[0]];
        if (walk.header > walk.left) {
            return walk_past_the_end(&walk);
        }
        verdict = pass_term(&walk);
        if (verdict == CHECK_OK && walk_leave(&walk)) {
            break;
        }
    }
    *used = bytes.length - walk.left;
    return verdict;
}

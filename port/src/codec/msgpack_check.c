/* See msgpack_check.h, and check_walk.h for how. */
#include "msgpack_check.h"
#include "check_walk.h"
#include "utf8.h"

/* The first bytes from 0xc0 to 0xdf; all others carry a value or a short length themselves. */
enum marker {
    NIL = 0xc0,
    NEVER_USED = 0xc1,
    FALSE = 0xc2,
    TRUE = 0xc3,
    BIN_8 = 0xc4,
    BIN_16 = 0xc5,
    BIN_32 = 0xc6,
    FLOAT_32 = 0xca,
    FLOAT_64 = 0xcb,
    UINT_8 = 0xcc,
    UINT_16 = 0xcd,
    UINT_32 = 0xce,
    UINT_64 = 0xcf,
    INT_8 = 0xd0,
    INT_16 = 0xd1,
    INT_32 = 0xd2,
    INT_64 = 0xd3,
    STR_8 = 0xd9,
    STR_16 = 0xda,
    STR_32 = 0xdb,
    ARRAY_16 = 0xdc,
    ARRAY_32 = 0xdd,
    MAP_16 = 0xde,
    MAP_32 = 0xdf,
};

/* Bytes with a fixed place for the markers from 0xc0 on; 1 for those that are refused as soon as they are
 * seen. */
static const uint8_t header_sizes[32] = {
    1, 1, 1, 1, 2, 3, 5, 1, 1, 1, 5, 9, 2, 3, 5, 9, /* 0xc0: nil … uint 64 */
    2, 3, 5, 9, 1, 1, 1, 1, 1, 2, 3, 5, 3, 5, 3, 5, /* 0xd0: int 8 … map 32 */
};

static inline size_t header_size(uint8_t first) {
    return first >= 0xc0 && first <= 0xdf ? header_sizes[first - 0xc0] : 1;
}

static inline enum check_verdict pass_str(struct walk *walk, size_t length) {
    struct slice text = {walk->at + walk->header, length};
    enum check_verdict verdict = walk_pass(walk, length);

    if (verdict == CHECK_OK && !utf8_is_valid(text, NULL)) {
        return walk_refuse(walk, "a str is not valid UTF-8: send bytes as bin (PROTOCOL §9.2)");
    }
    return verdict;
}

static inline enum check_verdict pass_float(struct walk *walk, bool finite) {
    return finite ? walk_pass(walk, 0)
                  : walk_refuse(walk, "a float is infinite or not a number (PROTOCOL §9.2)");
}

/* What is in 0xc0 … 0xdf. */
static inline enum check_verdict pass_marked(struct walk *walk) {
    const uint8_t *at = walk->at;

    switch (at[0]) {
    case BIN_8:
        return walk_pass(walk, at[1]);
    case BIN_16:
        return walk_pass(walk, read_be16(at + 1));
    case BIN_32:
        return walk_pass(walk, read_be32(at + 1));
    case STR_8:
        return pass_str(walk, at[1]);
    case STR_16:
        return pass_str(walk, read_be16(at + 1));
    case STR_32:
        return pass_str(walk, read_be32(at + 1));
    case FLOAT_32:
        return pass_float(walk, (read_be32(at + 1) & 0x7f800000u) != 0x7f800000u);
    case FLOAT_64:
        return pass_float(walk, (read_be32(at + 1) & 0x7ff00000u) != 0x7ff00000u);
    case ARRAY_16:
        return walk_enter(walk, read_be16(at + 1), 0);
    case ARRAY_32:
        return walk_enter(walk, read_be32(at + 1), 0);
    case MAP_16:
        return walk_enter(walk, 2 * (uint64_t)read_be16(at + 1), 0);
    case MAP_32:
        return walk_enter(walk, 2 * (uint64_t)read_be32(at + 1), 0);
    case NIL:
    case FALSE:
    case TRUE:
    case UINT_8:
    case UINT_16:
    case UINT_32:
    case UINT_64:
    case INT_8:
    case INT_16:
    case INT_32:
    case INT_64:
        return walk_pass(walk, 0);
    case NEVER_USED:
        return walk_refuse(walk, "the byte 0xc1 is not MessagePack (PROTOCOL §9.2)");
    default:
        return walk_refuse(walk, "an ext or timestamp cannot be sent (PROTOCOL §9.2)");
    }
}

/* Goes past one scalar or one container's header. */
static inline enum check_verdict pass_object(struct walk *walk) {
    uint8_t first = walk->at[0];

    if (first <= 0x7f || first >= 0xe0) {
        return walk_pass(walk, 0); /* a small integer */
    }
    if (first >= 0xc0) {
        return pass_marked(walk);
    }
    if (first >= 0xa0) {
        return pass_str(walk, first & 0x1f);
    }
    if (first >= 0x90) {
        return walk_enter(walk, first & 0x0f, 0);
    }
    return walk_enter(walk, 2 * (uint64_t)(first & 0x0f), 0); /* a map */
}

enum check_verdict msgpack_check(struct check *check, struct slice bytes, size_t *used) {
    struct walk walk;
    enum check_verdict verdict = walk_start(&walk, check, bytes);

    while (verdict == CHECK_OK) {
        if (walk.left == 0) {
            return walk_past_the_end(&walk);
        }
        walk.header = header_size(walk.at[0]);
        if (walk.header > walk.left) {
            return walk_past_the_end(&walk);
        }
        verdict = pass_object(&walk);
        if (verdict == CHECK_OK && walk_leave(&walk)) {
            break;
        }
    }
    *used = bytes.length - walk.left;
    return verdict;
}

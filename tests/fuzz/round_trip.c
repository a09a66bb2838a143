/* See round_trip.h. */
#include "round_trip.h"

#include <stdio.h>
#include <stdlib.h>

#include "arena.h"
#include "writer.h"

struct check round_trip_budget(const struct codec *codec) {
    return (struct check){.depth = 1, .max_depth = codec->max_depth, .terms_left = CHECK_MAX_TERMS};
}

bool round_trip_write(const struct codec *codec, const struct stv_term *term, struct slice *encoded) {
    static struct writer writer;
    bool is_complete;

    writer_init(&writer, codec, SIZE_MAX);
    writer_put_message(&writer, 1);
    writer_put_term(&writer, term);
    is_complete = writer_is_complete(&writer);
    if (is_complete) {
        uint8_t *bytes = malloc(writer_size(&writer));
        writer_copy(&writer, bytes);
        *encoded = (struct slice){bytes, writer_size(&writer)};
    }
    writer_finish(&writer);
    return is_complete;
}

static void require(bool holds, const char *what) {
    if (!holds) {
        fprintf(stderr, "round_trip: %s\n", what);
        abort();
    }
}

/* What was written reads as an equal term. */
static void read_again(const struct codec *codec, struct arena *arena, struct slice encoded,
                       const struct stv_term *term) {
    struct check check = round_trip_budget(codec);
    struct opening opening;
    const char *reason = NULL;
    const struct stv_term *again;
    size_t used;

    require(codec->open(encoded, &opening) && opening.count == 1, "the message written has no header");
    require(codec->check(&check, opening.body, &used) == CHECK_OK, "what was written is not accepted");
    require(used == opening.body.length, "more was written than the term");
    again = codec->read(arena, opening.body, &reason);
    require(again, "what was written cannot be read");
    require(term_equal(term, again), "what was written is another term");
}

void round_trip(const struct codec *codec, struct slice bytes) {
    struct check check = round_trip_budget(codec);
    struct arena arena;
    const struct stv_term *term;
    const char *reason = NULL;
    struct slice encoded;
    size_t used = 0;

    if (codec->check(&check, bytes, &used) != CHECK_OK) {
        require(check.reason, "not accepted, and no reason given");
        return;
    }
    require(used > 0 && used <= bytes.length, "more used than there is");
    arena_init(&arena, NULL, 0);
    term = codec->read(&arena, (struct slice){bytes.bytes, used}, &reason);
    require(term || reason, "not read, and no reason given");
    if (term) {
        require(round_trip_write(codec, term, &encoded), "what was read cannot be written");
        read_again(codec, &arena, encoded, term);
        free((void *)encoded.bytes);
    }
    arena_finish(&arena);
}

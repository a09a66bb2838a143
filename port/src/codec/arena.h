/* arena: memory that is given out piece by piece and taken back all at once.
 *
 * The owner embeds the struct, with a first block inside its own memory if it likes, so that small jobs never
 * call malloc. Thread: whoever owns it; not for two at a time. */
#ifndef ARENA_H
#define ARENA_H

#include <stddef.h>

struct arena_block;

struct arena {
    unsigned char *next;        /* where the current block goes on */
    unsigned char *end;         /* and where it ends */
    struct arena_block *blocks; /* those from malloc, newest first */
};

/* `first` (may be NULL) is memory of the caller's that is used first; the arena never frees it. */
void arena_init(struct arena *arena, void *first, size_t size);

/* Aligned for any type, not zeroed. NULL when memory runs out. */
void *arena_alloc(struct arena *arena, size_t size);

/* Frees all that was given out. A zeroed arena is fine. */
void arena_finish(struct arena *arena);

#endif

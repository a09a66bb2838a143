/* See arena.h. Blocks double in size, so that a tree of a million terms takes few of them and a small one
 * stays small. */
#include "arena.h"

#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#define ALIGNMENT     alignof(max_align_t)
#define FIRST_BLOCK   4096u
#define LARGEST_BLOCK ((size_t)1024 * 1024) /* of those that are not made for one large piece */

struct arena_block {
    struct arena_block *next;
    size_t size;
    alignas(max_align_t) unsigned char bytes[];
};

void arena_init(struct arena *arena, void *first, size_t size) {
    size_t skip = (ALIGNMENT - (uintptr_t)first % ALIGNMENT) % ALIGNMENT;

    *arena = (struct arena){0};
    if (first != NULL && size > skip) {
        arena->next = (unsigned char *)first + skip;
        arena->end = (unsigned char *)first + size;
    }
}

static size_t next_block_size(const struct arena *arena) {
    if (arena->blocks == NULL) {
        return FIRST_BLOCK;
    }
    return arena->blocks->size < LARGEST_BLOCK / 2 ? arena->blocks->size * 2 : LARGEST_BLOCK;
}

/* Begins a new block with room for `size`. What is left of the old one is given up. */
static bool add_block(struct arena *arena, size_t size) {
    size_t block_size = next_block_size(arena);
    struct arena_block *block;

    if (size > SIZE_MAX / 2) {
        return false;
    }
    if (block_size < size) {
        block_size = size;
    }
    block = malloc(sizeof(*block) + block_size);
    if (block == NULL) {
        return false;
    }
    *block = (struct arena_block){.next = arena->blocks, .size = block_size};
    arena->blocks = block;
    arena->next = block->bytes;
    arena->end = block->bytes + block_size;
    return true;
}

void *arena_alloc(struct arena *arena, size_t size) {
    size_t wanted = size > 0 ? size : 1;
    size_t padding = (ALIGNMENT - wanted % ALIGNMENT) % ALIGNMENT;
    unsigned char *piece;

    if (wanted > (size_t)(arena->end - arena->next) && !add_block(arena, wanted)) {
        return NULL;
    }
    piece = arena->next;
    arena->next += wanted;
    arena->next = padding < (size_t)(arena->end - arena->next) ? arena->next + padding : arena->end;
    return piece;
}

void arena_finish(struct arena *arena) {
    struct arena_block *block = arena->blocks;

    while (block != NULL) {
        struct arena_block *next = block->next;
        free(block);
        block = next;
    }
    *arena = (struct arena){0};
}

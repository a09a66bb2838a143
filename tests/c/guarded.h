/* guarded: bytes beside a page that must not be touched, so that reading or writing one byte too many is a
 * crash (with any compiler, and in libraries that no sanitizer sees). */
#ifndef GUARDED_H
#define GUARDED_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bytes.h"

struct guarded {
    struct slice slice; /* the bytes */
    void *pages;
    size_t size;
};

/* A forbidden page, pages for `length` bytes, a forbidden page. */
static inline struct guarded guarded_pages(size_t length) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t inner = (length + page - 1) / page * page;
    struct guarded guarded = {.size = inner + 2 * page};

    guarded.pages = mmap(NULL, guarded.size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (guarded.pages == MAP_FAILED ||
        mprotect((char *)guarded.pages + page, inner, PROT_READ | PROT_WRITE) != 0) {
        abort();
    }
    return guarded;
}

/* A copy that ends where the forbidden page begins. */
static inline struct guarded guarded_end(const void *bytes, size_t length) {
    struct guarded guarded = guarded_pages(length);
    uint8_t *end = (uint8_t *)guarded.pages + guarded.size - (size_t)sysconf(_SC_PAGESIZE);

    guarded.slice = (struct slice){end - length, length};
    if (length > 0) {
        memcpy(end - length, bytes, length);
    }
    return guarded;
}

/* A copy that begins where the forbidden page ends. */
static inline struct guarded guarded_start(const void *bytes, size_t length) {
    struct guarded guarded = guarded_pages(length);
    uint8_t *start = (uint8_t *)guarded.pages + (size_t)sysconf(_SC_PAGESIZE);

    guarded.slice = (struct slice){start, length};
    if (length > 0) {
        memcpy(start, bytes, length);
    }
    return guarded;
}

static inline void guarded_finish(struct guarded *guarded) {
    munmap(guarded->pages, guarded->size);
}

#endif

/* serve_options: what the command line decides about serving. Thread: written once, before there are others.
 */
#ifndef SERVE_OPTIONS_H
#define SERVE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "confine.h"

/* PROTOCOL §10. */
#define SERVE_DEFAULT_MAX_QUEUE 65536u
#define SERVE_DEFAULT_MAX_FRAME (64u << 20)

/* What the options accept. A frame of 1 GiB keeps every length and count in the codecs and in base64 within
 * 31 bits. */
#define SERVE_MOST_THREADS 1024u
#define SERVE_MOST_QUEUE   (16u << 20)
#define SERVE_LEAST_FRAME  4096u
#define SERVE_MOST_FRAME   (1u << 30)
#define SERVE_MOST_PLUGINS 64u

struct serve_options {
    unsigned threads;                        /* 0: as many as uv_available_parallelism says */
    size_t max_queue;                        /* jobs */
    size_t max_frame;                        /* bytes */
    const char *plugins[SERVE_MOST_PLUGINS]; /* files, borrowed from argv */
    size_t plugin_count;
    uint32_t kill_after_ms; /* 0: never */
    const char *black_box;  /* its file, borrowed from argv; NULL: none */
    bool outlive_parent;
    struct confine_options confine;
};

#define SERVE_OPTIONS_DEFAULT                                                                                \
    {                                                                                                        \
        .max_queue = SERVE_DEFAULT_MAX_QUEUE, .max_frame = SERVE_DEFAULT_MAX_FRAME,                          \
        .confine = CONFINE_OPTIONS_DEFAULT                                                                   \
    }

#endif

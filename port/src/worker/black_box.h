/* black box: a mapped file in which the worker notes what it is doing. It outlives the worker and says which
 * jobs had started, and of what it died (PROTOCOL §12 has the layout for others).
 *
 * A job has a slot from its creation until its reply is completely written, a thread has an entry for what it
 * runs. Every note is one store, in such an order that whatever instruction the process dies at, what is in
 * the file is true. There is one box in a process; without a file it is memory of its own, so that nobody has
 * to ask. */
#ifndef BLACK_BOX_H
#define BLACK_BOX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "native_stack.h"
#include "op_table.h"

#define BLACK_BOX_MAGIC    "STVBBOX1"
#define BLACK_BOX_VERSION  1u
#define BLACK_BOX_NONE     UINT32_MAX /* no job, no thread, no op, no slot */
#define BLACK_BOX_MOST_OPS 1024u      /* that have a name in the box */
#define BLACK_BOX_OP_NAME  256u

/* --- The file --- */

struct black_box_header {
    char magic[8];
    uint32_t version;
    uint32_t os_pid;
    uint32_t thread_count; /* thread 0 is the loop's */
    uint32_t op_capacity;
    uint32_t slot_capacity;
    atomic_uint_least32_t slots_used; /* from here on no slot was ever used */
    uint64_t started_at;              /* all times: CLOCK_MONOTONIC, ns */
    uint64_t threads_at;              /* offsets in the file */
    uint64_t crash_at;
    uint64_t ops_at; /* names of BLACK_BOX_OP_NAME bytes, NUL-padded */
    uint64_t slots_at;
};

/* A cache line each: threads write to theirs all the time. */
struct black_box_thread {
    uint32_t tid; /* 0: has run nothing yet */
    uint32_t unused;
    atomic_uint_least64_t job;   /* job id, op number << 32; both BLACK_BOX_NONE: nothing */
    atomic_uint_least64_t since; /* of that job */
    uint8_t padding[40];
};

/* A slot is one 64-bit word: job id, state << 32. */
enum slot_state {
    SLOT_FREE,     /* whatever the id: nothing that ran */
    SLOT_WAITING,  /* no instruction of the op was executed */
    SLOT_RUNNING,  /* the op was called */
    SLOT_FINISHED, /* the op has returned */
    SLOT_FLUSHED,  /* the same, and its reply is completely written; the slot may go to another job, some time
                    */
};

enum crash_state {
    CRASH_NONE,
    CRASH_NOTED,    /* all but the frames, of which there may be some */
    CRASH_COMPLETE, /* the frames too */
};

struct black_box_crash {
    atomic_uint_least32_t state;
    int32_t signal;  /* 0: exit was called */
    int32_t code;    /* si_code */
    uint32_t sender; /* the process that sent the signal; 0: it was no process */
    uint32_t thread;
    uint32_t job;
    uint64_t address;
    uint64_t at;
    uint64_t ran; /* ns */
    char op[BLACK_BOX_OP_NAME];
    atomic_uint_least32_t frame_count;
    uint32_t unused;
    struct native_frame frames[NATIVE_STACK_MAX];
};

/* --- Start: main thread --- */

/* Makes the box: a new file, or with NULL memory of its own. Fatal if the file exists or cannot be made. */
void black_box_open(const char *file, unsigned threads, size_t slots);

/* Notes the names of the ops. Once, when all are there. */
void black_box_name_ops(const struct op_table *ops);

/* --- Threads --- */

/* Gives this thread an entry, if it has none: the first one to the loop. */
void black_box_join(void);

/* This thread runs this job from now on, and then nothing. */
void black_box_enter(uint32_t job, const struct op *op, uint64_t since);
void black_box_leave(void);

/* The thread that runs this job; false if there is none. By the time the answer is used the job may be over.
 * Any thread. */
bool black_box_thread_of(uint32_t job, pid_t *tid);

/* --- Slots --- */

/* Takes a slot for a job that waits; BLACK_BOX_NONE if there is none left, or no room for it in the file
 * system. Loop. */
uint32_t black_box_take(uint32_t job);

/* How many there are that can be taken, or are. Loop. */
uint32_t black_box_room(void);

/* Gives back the slot of a job that never ran and of which all is said. Loop. */
void black_box_free(uint32_t slot);

/* Any thread. */
void black_box_set(uint32_t slot, uint32_t job, enum slot_state state);
enum slot_state black_box_state(uint32_t slot);

/* Chains hold the slots of replies that are written together. An empty one is BLACK_BOX_NONE. Loop. */
void black_box_add(uint32_t *chain, uint32_t slot);
void black_box_flushed(uint32_t chain);

/* --- For signal handlers: --- */

/* The record of a crash; NULL before black_box_open, and in a child that an op has forked. */
struct black_box_crash *black_box_crash(void);

/* Notes in the record what this thread runs, or (`is_culprit` false) only which thread it is. */
void black_box_note_run(struct black_box_crash *crash, bool is_culprit);

#endif

/* The order of stores is the whole point. Another process reads them only when this one is dead: then all
 * stores that were executed are there, in the order of the program, whatever the processor. So it is enough
 * to keep the compiler from moving them, and release stores, which are plain ones on most machines, do.
 *
 * Slots are reused first in, first out, and only when many are free: what is in a slot stays there for a
 * while after its job's reply has left. A host that is killed with replies it has not looked at can still be
 * told of those jobs. The file has holes where slots were never used.
 *
 * Thread: as the header says. */
#include "black_box.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <uv.h>

#include "fatal.h"

#define LINE        64u   /* of the cache */
#define SLOTS_APART 4096u /* jobs between two uses of a slot: more than a host has unread replies */

/* What is reserved at the start, 300 KiB, holds what pools need who leave max_queue at its default. Where
 * there is no room for it (a container's /dev/shm is small), that is a failed start. Further slots are
 * reserved so many at a time when they are wanted. Nothing is written where nothing is reserved: that would
 * be a SIGBUS.
 */
#define OPS_RESERVED   UINT64_C(64)
#define SLOTS_RESERVED 36864u

static struct {
    struct black_box_header *header;
    struct black_box_thread *threads;
    struct black_box_crash *crash;
    char (*names)[BLACK_BOX_OP_NAME];
    atomic_uint_least64_t *slots;
    int fd;                       /* -1: no file */
    uint32_t reserved;            /* slots */
    atomic_uint_least32_t joined; /* threads */
    const struct op *ops;
    size_t op_count;
    uint32_t *next; /* by slot: the next one in its chain, or that is free */
    uint32_t first_free;
    uint32_t last_free;
    uint32_t free_count;
    pid_t os_pid;
} box;

static _Thread_local struct black_box_thread *mine;

/* --- Start --- */

static uint64_t align(uint64_t offset) {
    return (offset + LINE - 1) / LINE * LINE;
}

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

/* Room for a part of the file: 0, or why there is none. */
static int reserve(uint64_t at, uint64_t size) {
    int error = EINTR;
    while (error == EINTR) {
        error = posix_fallocate(box.fd, (off_t)at, (off_t)size);
    }
    return error;
}

static int reserve_slots(const struct black_box_header *header) {
    size_t upto = least(header->slot_capacity, (size_t)box.reserved + SLOTS_RESERVED);
    int error = reserve(header->slots_at + box.reserved * sizeof *box.slots,
                        (upto - box.reserved) * sizeof *box.slots);
    if (error == 0) {
        box.reserved = (uint32_t)upto;
    }
    return error;
}

static void make_file(const char *file, const struct black_box_header *header, size_t size) {
    box.fd = open(file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (box.fd < 0 || ftruncate(box.fd, (off_t)size) != 0) {
        fatal(EXIT_NO_RESOURCES, "cannot make the black box %s: %s", file, strerror(errno));
    }
    int error = reserve(0, header->ops_at + OPS_RESERVED * BLACK_BOX_OP_NAME);
    error = error != 0 ? error : reserve_slots(header);
    if (error != 0) {
        (void)unlink(file);
        fatal(EXIT_NO_RESOURCES, "there is no room for the black box %s (%s): enlarge that file system", file,
              strerror(error));
    }
}

static void *map(const char *file, const struct black_box_header *header, size_t size) {
    if (file == NULL) {
        box.fd = -1;
        box.reserved = header->slot_capacity;
    } else {
        make_file(file, header, size);
    }
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        file == NULL ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, box.fd, 0);
    if (memory == MAP_FAILED) {
        fatal(EXIT_NO_RESOURCES, "cannot map the black box: %s", strerror(errno));
    }
    return memory;
}

static struct black_box_header lay_out(unsigned threads, size_t slots) {
    struct black_box_header header = {.version = BLACK_BOX_VERSION,
                                      .os_pid = (uint32_t)getpid(),
                                      .thread_count = threads,
                                      .op_capacity = BLACK_BOX_MOST_OPS,
                                      .slot_capacity = (uint32_t)slots,
                                      .started_at = uv_hrtime()};
    header.threads_at = align(sizeof header);
    header.crash_at = align(header.threads_at + threads * sizeof(struct black_box_thread));
    header.ops_at = align(header.crash_at + sizeof(struct black_box_crash));
    header.slots_at = header.ops_at + (uint64_t)BLACK_BOX_MOST_OPS * BLACK_BOX_OP_NAME;
    return header;
}

void black_box_open(const char *file, unsigned threads, size_t slots) {
    struct black_box_header header = lay_out(threads, slots);
    char *memory = map(file, &header, header.slots_at + slots * sizeof *box.slots);
    box.threads = (void *)(memory + header.threads_at);
    box.crash = (void *)(memory + header.crash_at);
    box.names = (void *)(memory + header.ops_at);
    box.slots = (void *)(memory + header.slots_at);
    box.next = must(malloc(slots * sizeof *box.next));
    box.first_free = BLACK_BOX_NONE;
    box.os_pid = getpid();
    for (unsigned i = 0; i < threads; i++) {
        atomic_init(&box.threads[i].job, UINT64_MAX);
    }
    box.header = memcpy(memory, &header, sizeof header);
    atomic_thread_fence(memory_order_release);
    memcpy(memory, BLACK_BOX_MAGIC, sizeof header.magic); /* from now on it can be read */
}

/* Of those that are more than were expected. */
static void reserve_names(void) {
    int error = 0;
    if (box.fd >= 0 && box.op_count > OPS_RESERVED) {
        error = reserve(box.header->ops_at, box.op_count * BLACK_BOX_OP_NAME);
    }
    if (error != 0) {
        fatal(EXIT_NO_RESOURCES, "there is no room for the black box (%s): enlarge its file system",
              strerror(error));
    }
}

void black_box_name_ops(const struct op_table *ops) {
    box.ops = ops->ops;
    box.op_count = least(ops->count, BLACK_BOX_MOST_OPS);
    reserve_names();
    for (size_t i = 0; i < box.op_count; i++) {
        memcpy(box.names[i], ops->ops[i].op->name, ops->ops[i].name_length);
    }
}

/* --- Threads --- */

void black_box_join(void) {
    if (mine == NULL) {
        uint32_t number = atomic_fetch_add(&box.joined, 1);
        if (number >= box.header->thread_count) {
            fatal(EXIT_BUG, "more threads than the black box has entries");
        }
        mine = &box.threads[number];
        mine->tid = (uint32_t)gettid();
    }
}

static uint64_t pair(uint32_t low, uint32_t high) {
    return (uint64_t)high << 32 | low;
}

/* In between the entry says nothing: never the time of another job. */
void black_box_enter(uint32_t job, const struct op *op, uint64_t since) {
    size_t number = (size_t)(op - box.ops);
    atomic_store_explicit(&mine->since, since, memory_order_release);
    atomic_store_explicit(&mine->job, pair(job, number < box.op_count ? (uint32_t)number : BLACK_BOX_NONE),
                          memory_order_release);
}

void black_box_leave(void) {
    atomic_store_explicit(&mine->job, UINT64_MAX, memory_order_release);
}

bool black_box_thread_of(uint32_t job, pid_t *tid) {
    for (uint32_t i = 0; i < box.header->thread_count; i++) {
        if ((uint32_t)atomic_load_explicit(&box.threads[i].job, memory_order_acquire) == job) {
            *tid = (pid_t)box.threads[i].tid;
            return true;
        }
    }
    return false;
}

/* --- Slots --- */

static uint32_t take_new(void) {
    uint32_t slot = atomic_load_explicit(&box.header->slots_used, memory_order_relaxed);
    if (slot == box.header->slot_capacity || (slot == box.reserved && reserve_slots(box.header) != 0)) {
        return BLACK_BOX_NONE;
    }
    atomic_store_explicit(&box.header->slots_used, slot + 1, memory_order_release);
    return slot;
}

static uint32_t take_free(void) {
    uint32_t slot = box.first_free;
    if (slot != BLACK_BOX_NONE) {
        box.first_free = box.next[slot];
        box.free_count--;
    }
    return slot;
}

static void add_free(uint32_t slot) {
    box.next[slot] = BLACK_BOX_NONE;
    if (box.first_free == BLACK_BOX_NONE) {
        box.first_free = slot;
    } else {
        box.next[box.last_free] = slot;
    }
    box.last_free = slot;
    box.free_count++;
}

uint32_t black_box_take(uint32_t job) {
    uint32_t slot = box.free_count < SLOTS_APART ? take_new() : take_free();
    if (slot == BLACK_BOX_NONE) {
        slot = take_free();
    }
    if (slot != BLACK_BOX_NONE) {
        black_box_set(slot, job, SLOT_WAITING);
    }
    return slot;
}

uint32_t black_box_room(void) {
    return box.reserved;
}

void black_box_free(uint32_t slot) {
    black_box_set(slot, 0, SLOT_FREE);
    add_free(slot);
}

void black_box_set(uint32_t slot, uint32_t job, enum slot_state state) {
    atomic_store_explicit(&box.slots[slot], pair(job, state), memory_order_release);
}

enum slot_state black_box_state(uint32_t slot) {
    return (enum slot_state)(atomic_load_explicit(&box.slots[slot], memory_order_acquire) >> 32);
}

void black_box_add(uint32_t *chain, uint32_t slot) {
    box.next[slot] = *chain;
    *chain = slot;
}

/* A host that does not get the reply of a job that never ran need not know that there was one. */
void black_box_flushed(uint32_t chain) {
    while (chain != BLACK_BOX_NONE) {
        uint32_t slot = chain;
        uint64_t word = atomic_load_explicit(&box.slots[slot], memory_order_relaxed);
        black_box_set(slot, (uint32_t)word, word >> 32 == SLOT_WAITING ? SLOT_FREE : SLOT_FLUSHED);
        chain = box.next[slot];
        add_free(slot);
    }
}

/* --- Crashes --- */

struct black_box_crash *black_box_crash(void) {
    return box.crash != NULL && box.os_pid == getpid() ? box.crash : NULL;
}

/* Not by `mine`: what writes past the end of an array on its stack may have written over its thread's own
 * variables, too. */
static const struct black_box_thread *calling_thread(void) {
    uint32_t tid = (uint32_t)gettid();
    for (uint32_t i = 0; i < box.header->thread_count; i++) {
        if (box.threads[i].tid == tid) {
            return &box.threads[i];
        }
    }
    return NULL;
}

void black_box_note_run(struct black_box_crash *crash, bool is_culprit) {
    const struct black_box_thread *thread = calling_thread();
    crash->thread = thread == NULL ? BLACK_BOX_NONE : (uint32_t)(thread - box.threads);
    uint64_t run = thread == NULL || !is_culprit ? UINT64_MAX : atomic_load(&thread->job);
    uint32_t op = (uint32_t)(run >> 32);
    crash->job = (uint32_t)run;
    if (crash->job != BLACK_BOX_NONE) {
        crash->ran = crash->at - atomic_load(&thread->since);
    }
    if (op < box.op_count) {
        memcpy(crash->op, box.names[op], sizeof crash->op);
    }
}

/* Linear probing; removal moves later entries of the run back, so there are no tombstones and lookups stay
 * short. Thread: loop. */
#include "job_table.h"

#include <stdlib.h>

#include "fatal.h"
#include "job.h"

#define FIRST_CAPACITY 256u

static size_t home(const struct job_table *table, uint32_t id) {
    return (id * 2654435769u >> 3) & (table->capacity - 1); /* Knuth's multiplicative hash */
}

static size_t next(const struct job_table *table, size_t slot) {
    return (slot + 1) & (table->capacity - 1);
}

struct stv_job *job_table_find(const struct job_table *table, uint32_t id) {
    if (table->count == 0) {
        return NULL;
    }
    size_t slot = home(table, id);
    while (table->slots[slot] != NULL && table->slots[slot]->id != id) {
        slot = next(table, slot);
    }
    return table->slots[slot];
}

static void insert(struct job_table *table, struct stv_job *job) {
    size_t slot = home(table, job->id);
    while (table->slots[slot] != NULL) {
        slot = next(table, slot);
    }
    table->slots[slot] = job;
}

static void grow(struct job_table *table) {
    struct job_table old = *table;
    table->capacity = old.capacity == 0 ? FIRST_CAPACITY : 2 * old.capacity;
    table->slots = must(calloc(table->capacity, sizeof(struct stv_job *)));
    for (size_t i = 0; i < old.capacity; i++) {
        if (old.slots[i] != NULL) {
            insert(table, old.slots[i]);
        }
    }
    free(old.slots);
}

void job_table_add(struct job_table *table, struct stv_job *job) {
    if (2 * (table->count + 1) > table->capacity) {
        grow(table);
    }
    insert(table, job);
    table->count++;
}

/* True if an entry whose home is `ideal` may move from `slot` back to the free slot `gap`: its home is not
 * between them. */
static bool may_move(const struct job_table *table, size_t ideal, size_t gap, size_t slot) {
    size_t mask = table->capacity - 1;
    return ((slot - ideal) & mask) >= ((slot - gap) & mask);
}

void job_table_remove(struct job_table *table, const struct stv_job *job) {
    size_t gap = home(table, job->id);
    while (table->slots[gap] != job) {
        gap = next(table, gap);
    }
    for (size_t slot = next(table, gap); table->slots[slot] != NULL; slot = next(table, slot)) {
        if (may_move(table, home(table, table->slots[slot]->id), gap, slot)) {
            table->slots[gap] = table->slots[slot];
            gap = slot;
        }
    }
    table->slots[gap] = NULL;
    table->count--;
}

void job_table_each(const struct job_table *table, void (*visit)(struct stv_job *job, void *context),
                    void *context) {
    for (size_t i = 0; i < table->capacity; i++) {
        if (table->slots[i] != NULL) {
            visit(table->slots[i], context);
        }
    }
}

/* job_table: which call ids are in use, and by which job. A hash table with open addressing. Thread: loop. */
#ifndef JOB_TABLE_H
#define JOB_TABLE_H

#include <stddef.h>
#include <stdint.h>

struct stv_job;

struct job_table {
    struct stv_job **slots;
    size_t capacity; /* a power of two, at most half full */
    size_t count;
};

struct stv_job *job_table_find(const struct job_table *table, uint32_t id);
void job_table_add(struct job_table *table, struct stv_job *job); /* its id must not be in use */
void job_table_remove(struct job_table *table, const struct stv_job *job);

/* Calls `visit` for every job; it must not add or remove any. */
void job_table_each(const struct job_table *table, void (*visit)(struct stv_job *job, void *context),
                    void *context);

#endif

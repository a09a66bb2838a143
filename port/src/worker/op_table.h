/* op_table: the ops of this worker, by name: control ops, built-in ops, those of plugins. Filled at start,
 * read-only afterwards but for on_loop and suspected. Thread: loop, and before it. */
#ifndef OP_TABLE_H
#define OP_TABLE_H

#include "bytes.h"
#include "stevedore.h"

/* Beside the public flags: answered on the loop thread whatever its arguments (PROTOCOL §6). */
#define OP_CONTROL (1u << 31)

struct op {
    const struct stv_op *op;
    const char *plugin; /* "stevedore" for built-in ones */
    size_t name_length;
    bool on_loop;   /* STV_SHORT, until it proves long; OP_CONTROL */
    bool suspected; /* its last run on the loop took long by the clock on the wall */
};

struct op_table {
    struct op *ops; /* in order of registration */
    size_t count;
    size_t *slots; /* hash: index + 1 into ops, 0: free */
    size_t capacity;
};

/* Adds ops under the name of their plugin. NULL, or what is wrong with one of them, as a text that the caller
 * frees. */
char *op_table_add(struct op_table *table, const char *plugin, const struct stv_op *ops, size_t count);

/* NULL if there is none of that name. The pointer is valid once all are added. */
struct op *op_table_find(const struct op_table *table, struct slice name);

#endif

/* ops: the ops that are part of the program.
 *
 * They use only stevedore.h, as a plugin would. A new one is one file, NAME.c, that defines `const struct
 * stv_op NAME_ops[]`, and one line in BUILTINS. Thread: the table is constant; op_table.c reads it at the
 * start. */
#ifndef OPS_H
#define OPS_H

#include "stevedore.h"

/* X(file, how many ops it has) */
#define BUILTINS(X)                                                                                          \
    X(digest, 1)                                                                                             \
    X(echo, 1)                                                                                               \
    X(sleep, 1)                                                                                              \
    X(zstd, 2)

#define X(name, count) extern const struct stv_op name##_ops[count];
BUILTINS(X)
#undef X

struct builtin {
    const char *name; /* what `ops` (PROTOCOL §6) tells as their plugin */
    const struct stv_op *ops;
    size_t count;
};

extern const struct builtin builtin_ops[];
extern const size_t builtin_ops_count;

#endif

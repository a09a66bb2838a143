/* The table of built-in ops, made from the list in ops.h. Thread: any (constant). */
#include "ops.h"

const struct builtin builtin_ops[] = {
#define X(name, count) {#name, name##_ops, count},
    BUILTINS(X)
#undef X
};

const size_t builtin_ops_count = sizeof builtin_ops / sizeof builtin_ops[0];

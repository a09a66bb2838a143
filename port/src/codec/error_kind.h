/* error_kind: the closed list of error kinds, from proto/error_kinds.def. Thread: any (pure). */
#ifndef ERROR_KIND_H
#define ERROR_KIND_H

enum error_kind {
#define X(NAME, wire, ran, meaning) KIND_##NAME,
#include "error_kinds.def"
#undef X
    KIND_COUNT
};

/* The name on the wire. */
const char *error_kind_name(enum error_kind kind);

#endif

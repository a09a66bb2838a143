/* See error_kind.h. */
#include "error_kind.h"

static const char *const names[KIND_COUNT] = {
#define X(NAME, wire, ran, meaning) [KIND_##NAME] = #wire,
#include "error_kinds.def"
#undef X
};

const char *error_kind_name(enum error_kind kind) {
    return names[kind];
}

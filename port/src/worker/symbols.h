/* symbols: which function an address is in, static functions included, read from the ELF files of the
 * executable, its libraries and plugins.
 *
 * All files are mapped at the start, for a sandbox may forbid to open them later, and read only when somebody
 * asks, so they cost little. */
#ifndef SYMBOLS_H
#define SYMBOLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Maps the files of all that is loaded and not mapped yet: to be called before a sandbox closes, and when the
 * plugins are there. Main thread. */
void symbols_load(void);

struct symbol {
    const char *module;     /* path or name; NULL if the address is nobody's */
    uint64_t in_module;     /* the address as the module's file counts it */
    const char *function;   /* not terminated */
    size_t function_length; /* 0 if it is not known */
    uint64_t in_function;
};

/* Any thread, async-signal-safe. */
struct symbol symbols_find(uintptr_t address);

#endif

/* fatal: the one way to give up. A broken stream or an impossible state ends the process; nothing is
 * repaired, the supervisor starts afresh. Thread: any. */
#ifndef FATAL_H
#define FATAL_H

#include "exit_code.h"

/* Where fatal writes its line: the process's own stderr, before startup moved it. Default: fd 2. */
void fatal_use_stderr(int fd);

/* Who is told the line too; NULL: nobody else, the default. */
void fatal_use_teller(void (*tell)(const char *line));

/* Writes one line to stderr and ends the process with the code, at once: no destructor runs (libuv's joins
 * stuck threads). */
_Noreturn void fatal(enum exit_code code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Dies with EXIT_NO_MEMORY if `memory` is NULL. For the worker's own needs, which are small and bounded;
 * never for sizes from the wire. */
void *must(void *memory);

#endif

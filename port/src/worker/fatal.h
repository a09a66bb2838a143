/* fatal: the one way to give up. A broken stream or an impossible state ends the process; nothing is
 * repaired, the supervisor starts afresh. Thread: any. */
#ifndef FATAL_H
#define FATAL_H

#include <stddef.h>

#include "exit_code.h"

/* Where fatal writes its line: the process's own stderr, before startup moved it. Default: fd 2. */
void fatal_use_stderr(int fd);

/* Who is told the line too; NULL: nobody else, the default. */
void fatal_use_teller(void (*tell)(const char *line));

/* Writes one line to stderr, if that takes it, and ends the process with the code, at once: no destructor
 * runs (libuv's joins stuck threads). */
_Noreturn void fatal(enum exit_code code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Writes to where fatal does what fits there: it never waits for a reader. */
void fatal_tell(const void *text, size_t size);

/* Ends the process with the code, and tells the line, if it is still there after so many seconds, whatever
 * its threads do then. By SIGALRM; a later call takes the place of an earlier. */
void fatal_after(unsigned seconds, enum exit_code code, const char *line);

/* Dies with EXIT_NO_MEMORY if `memory` is NULL. For the worker's own needs, which are small and bounded;
 * never for sizes from the wire. */
void *must(void *memory);

#endif

/* crash: what kills the worker is noted in the black box, and which job did it; then the worker dies of that
 * very signal. */
#ifndef CRASH_H
#define CRASH_H

/* Sets the handlers. Main thread, once, before plugins are loaded. */
void crash_start(void);

/* Gives this thread a stack for handlers, if it has none: its own may be what overflowed. */
void crash_join(void);

/* Notes that exit was called on this thread. Any thread. */
void crash_note_exit(void);

#endif

/* watchdog: a thread of its own that notices when nobody reads stdout any more, and makes sure that the
 * process then ends. */
#ifndef WATCHDOG_H
#define WATCHDOG_H

#include <uv.h>

/* How long the rest of the program has to end by itself once the host is gone. */
#define WATCHDOG_GRACE_MS 1500

/* Watches `output` (a pipe or socket; nothing happens for others). When its reader is gone, sends `gone`,
 * waits, and ends the process with EXIT_WATCHDOG if it is still there. Main thread, once. */
void watchdog_start(int output, uv_async_t *gone);

#endif

/* The loop may be stuck in a short op, and threads in any op; so this thread shares nothing with them and
 * needs nothing of them. It costs nothing while the host lives: poll without events sleeps until the other
 * end is closed. */
#include "watchdog.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <unistd.h>

#include "crash.h"
#include "fatal.h"

static struct {
    int output;
    uv_async_t *gone;
    uv_thread_t thread;
} watchdog;

static void watch(void *unused) {
    (void)unused;
    crash_join();
    struct pollfd fd = {.fd = watchdog.output, .events = 0};
    while (poll(&fd, 1, -1) < 0 && errno == EINTR) {
    }
    (void)uv_async_send(watchdog.gone); /* fails only for a handle of another type */
    uv_sleep(WATCHDOG_GRACE_MS);
    fatal(EXIT_WATCHDOG, "nobody reads stdout and the worker could not end by itself");
}

void watchdog_start(int output, uv_async_t *gone) {
    watchdog.output = output;
    watchdog.gone = gone;
    if (uv_thread_create(&watchdog.thread, watch, NULL) != 0) {
        fatal(EXIT_NO_RESOURCES, "cannot start the watchdog thread");
    }
}

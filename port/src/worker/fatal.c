/* Who reads stderr may have stalled, and must not keep a process that is to end: a pipe that is full is not
 * written to. Another writer may fill it between the look and the write, so there is an alarm behind that. */
#include "fatal.h"

#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int stderr_fd = STDERR_FILENO;
static void (*teller)(const char *line);

static struct {
    enum exit_code code;
    const char *line;
} late;

void fatal_use_stderr(int fd) {
    stderr_fd = fd;
}

void fatal_tell(const void *text, size_t size) {
    struct pollfd room = {.fd = stderr_fd, .events = POLLOUT};
    const char *rest = text;
    while (size > 0 && poll(&room, 1, 0) > 0) {
        ssize_t count = write(stderr_fd, rest, size < PIPE_BUF ? size : PIPE_BUF);
        if (count <= 0) {
            return;
        }
        rest += count;
        size -= (size_t)count;
    }
}

static void on_late(int signal_number) {
    (void)signal_number;
    fatal_tell(late.line, strlen(late.line));
    _exit(late.code);
}

void fatal_after(unsigned seconds, enum exit_code code, const char *line) {
    sigset_t alarms;
    late.code = code;
    late.line = line;
    (void)signal(SIGALRM, on_late);
    (void)sigemptyset(&alarms);
    (void)sigaddset(&alarms, SIGALRM);
    (void)pthread_sigmask(SIG_UNBLOCK, &alarms, NULL);
    (void)alarm(seconds);
}

void fatal_use_teller(void (*tell)(const char *line)) {
    teller = tell;
}

void fatal(enum exit_code code, const char *format, ...) {
    char reason[512];
    char line[sizeof reason + 16];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(reason, sizeof reason, format, args); /* cut off if longer */
    va_end(args);
    int length = snprintf(line, sizeof line, "stevedore: %s\n", reason);
    fatal_after(1, code, "");
    fatal_tell(line, (size_t)length);
    void (*tell)(const char *) = teller;
    teller = NULL; /* it may itself come to this */
    if (tell != NULL) {
        tell(reason);
    }
    _exit(code);
}

void *must(void *memory) {
    if (memory == NULL) {
        fatal(EXIT_NO_MEMORY, "out of memory");
    }
    return memory;
}

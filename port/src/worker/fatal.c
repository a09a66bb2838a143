#include "fatal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int stderr_fd = STDERR_FILENO;

void fatal_use_stderr(int fd) {
    stderr_fd = fd;
}

static void (*teller)(const char *line);

void fatal_use_teller(void (*tell)(const char *line)) {
    teller = tell;
}

void fatal(enum exit_code code, const char *format, ...) {
    char line[512];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (length < 0 || (size_t)length >= sizeof line) {
        length = (int)sizeof line - 1;
    }
    (void)dprintf(stderr_fd, "stevedore: %.*s\n", length, line);
    void (*tell)(const char *) = teller;
    teller = NULL; /* it may itself come to this */
    if (tell != NULL) {
        line[length] = '\0';
        tell(line);
    }
    _exit(code);
}

void *must(void *memory) {
    if (memory == NULL) {
        fatal(EXIT_NO_MEMORY, "out of memory");
    }
    return memory;
}

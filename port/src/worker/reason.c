#include "reason.h"

#include <stdarg.h>
#include <stdio.h>

#include "fatal.h"

char *reason(const char *format, ...) {
    char *text;
    va_list arguments;
    va_start(arguments, format);
    int length = vasprintf(&text, format, arguments);
    va_end(arguments);
    if (length < 0) {
        fatal(EXIT_NO_MEMORY, "out of memory");
    }
    return text;
}

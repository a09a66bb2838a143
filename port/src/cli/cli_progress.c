/* Thread: main, the only one. */
#include "cli_progress.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#define BAR_WIDTH 40

static bool bar_is_shown;

static void show_bar(int64_t done, int64_t total) {
    double share = done >= total ? 1.0 : (double)done / (double)total;
    int filled = (int)(share * BAR_WIDTH);
    (void)fprintf(stderr, "\r[");
    for (int i = 0; i < BAR_WIDTH; i++) {
        (void)fputc(i < filled ? '#' : '.', stderr);
    }
    (void)fprintf(stderr, "] %3d%% (%" PRId64 "/%" PRId64 ")\033[K", (int)(share * 100), done, total);
}

static void show_line(int64_t done, int64_t total) {
    (void)fprintf(stderr, "progress %" PRId64, done);
    if (total > 0) {
        (void)fprintf(stderr, "/%" PRId64, total);
    }
}

void cli_progress_show(int64_t done, int64_t total) {
    if (!isatty(STDERR_FILENO)) {
        show_line(done, total);
        (void)fputc('\n', stderr);
        return;
    }
    bar_is_shown = true;
    if (total > 0 && done >= 0) {
        show_bar(done, total);
    } else {
        (void)fputc('\r', stderr);
        show_line(done, total);
        (void)fputs("\033[K", stderr);
    }
}

void cli_progress_clear(void) {
    if (bar_is_shown) {
        (void)fputs("\r\033[K", stderr);
        bar_is_shown = false;
    }
}

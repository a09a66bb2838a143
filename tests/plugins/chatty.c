/* Prints more than a pipe holds, as a library does that tells how it loads a model: `CHATTY=init` or
 * `CHATTY=finish` says when. `CHATTY=endless`: its finish never returns. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stevedore.h"

#define LINES 5000

static bool is_asked_for(const char *what) {
    const char *when = getenv("CHATTY");
    return when != NULL && strcmp(when, what) == 0;
}

static void chat(void) {
    for (int i = 1; i <= LINES; i++) {
        printf("to stdout %d\n", i);
        fprintf(stderr, "to stderr %d\n", i);
    }
}

static const char *init(void) {
    if (is_asked_for("init")) {
        chat();
    }
    return NULL;
}

static void finish(void) {
    if (is_asked_for("finish")) {
        chat();
    }
    while (is_asked_for("endless")) {
        (void)pause();
    }
}

static enum stv_status run_nothing(struct stv_job *job) {
    return stv_reply_nil(job);
}

static const struct stv_op ops[] = {{"chatty.nothing", run_nothing, "", 0}};

STV_PLUGIN_WITH("chatty", "1.0.0", ops, init, finish);

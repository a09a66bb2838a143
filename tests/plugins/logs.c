/* An op that logs more than anybody reads. */
#include <string.h>

#include "stevedore.h"

/* Logs `count` lines of 8000 bytes, with a pause now and then so that they may be taken; replies nil. */
static enum stv_status run_many(struct stv_job *job) {
    int64_t count;
    char line[8001] = {0};
    if (!stv_arg_int(job, "count", &count)) {
        return stv_bad_arg(job, "count", "an integer");
    }
    memset(line, 'x', sizeof line - 1);
    for (int64_t i = 0; i < count; i++) {
        stv_log(job, STV_INFO, "%s", line);
        if (i % 100 == 0 && stv_wait(job, 1)) {
            return STV_STOPPED;
        }
    }
    return STV_OK;
}

static const struct stv_op ops[] = {{"logs.many", run_many, "", 0}};

STV_PLUGIN("logs", "1.0.0", ops);

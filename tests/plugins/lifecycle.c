/* Tells of its beginning and end in the file that the environment variable LIFECYCLE_LOG names, a line each:
 * printing would not do, for at the end nobody may read any more. `lifecycle.state` replies what init left
 * behind. */
#include <stdio.h>
#include <stdlib.h>

#include "stevedore.h"

static const char *state = "not initialised"; /* written only before and after all jobs */

static void note(const char *line) {
    const char *path = getenv("LIFECYCLE_LOG");
    FILE *file = path ? fopen(path, "a") : NULL;
    if (file) {
        fprintf(file, "%s\n", line);
        fclose(file);
    }
}

static const char *init(void) {
    state = "initialised";
    note("init");
    return NULL;
}

static void finish(void) {
    state = "finished";
    note("finish");
}

static enum stv_status run_state(struct stv_job *job) {
    note("job");
    return stv_reply_text(job, state);
}

static const struct stv_op ops[] = {{"lifecycle.state", run_state, "", 0}};

STV_PLUGIN_WITH("lifecycle", "1.0.0", ops, init, finish);

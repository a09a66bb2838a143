/* A thousand ops: more than the black box expects. They are many.op0 to many.op999. */
#include <stdio.h>

#include "stevedore.h"

#define COUNT 1000

static char names[COUNT][16];
static struct stv_op ops[COUNT];

static enum stv_status run(struct stv_job *job) {
    return stv_reply_nil(job);
}

__attribute__((constructor)) static void name_ops(void) {
    for (int i = 0; i < COUNT; i++) {
        snprintf(names[i], sizeof names[i], "many.op%d", i);
        ops[i] = (struct stv_op){.name = names[i], .run = run, .doc = ""};
    }
}

STV_PLUGIN("many_ops", "1.0.0", ops);

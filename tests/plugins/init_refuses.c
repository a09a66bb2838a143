/* Finds at the start that it cannot work: refused with its own words (exit code 69, PROTOCOL §11.1). */
#include "stevedore.h"

static enum stv_status run(struct stv_job *job) {
    return stv_reply_nil(job);
}

static const char *init(void) {
    return "the flux capacitor is not charged";
}

static const struct stv_op ops[] = {{"init_refuses.run", run, "", 0}};

STV_PLUGIN_WITH("init_refuses", "1.0.0", ops, init, NULL);

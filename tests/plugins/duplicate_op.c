/* Its second op has the name of a built-in one: refused (exit code 69, PROTOCOL §11.1). */
#include "stevedore.h"

static enum stv_status run(struct stv_job *job) {
    return stv_reply_nil(job);
}

static const struct stv_op ops[] = {
    {"duplicate_op.run", run, "", 0},
    {"echo", run, "", 0},
};

STV_PLUGIN("duplicate_op", "1.0.0", ops);

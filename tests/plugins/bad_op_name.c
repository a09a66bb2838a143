/* An op whose name is none: refused (exit code 69, PROTOCOL §11.1). */
#include "stevedore.h"

static enum stv_status run(struct stv_job *job) {
    return stv_reply_nil(job);
}

static const struct stv_op ops[] = {{"Bad Name", run, "", 0}};

STV_PLUGIN("bad_op_name", "1.0.0", ops);

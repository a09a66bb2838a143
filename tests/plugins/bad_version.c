/* A version that is no UTF-8: refused (exit code 69, PROTOCOL §11.1). */
#include "stevedore.h"

static enum stv_status run(struct stv_job *job) {
    return stv_reply_nil(job);
}

static const struct stv_op ops[] = {{"bad.version", run, "", 0}};

STV_PLUGIN("bad_version", "1.0.0-\xfc", ops);

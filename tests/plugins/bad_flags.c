/* An op with the flag of control ops, which is none of a plugin's: refused (exit code 69, PROTOCOL §11.1). */
#include "stevedore.h"

static enum stv_status run(struct stv_job *job) {
    return stv_reply_nil(job);
}

static const struct stv_op ops[] = {{"bad.flags", run, "", STV_SHORT | 1u << 31}};

STV_PLUGIN("bad_flags", "1.0.0", ops);

/* echo: replies its arguments. For measuring, and for a host that wants to see what arrives of its terms.
 * Thread: any, also the loop's. */
#include "ops.h"

static enum stv_status run_echo(struct stv_job *job) {
    return stv_reply_term(job, stv_args(job));
}

const struct stv_op echo_ops[] = {
    {.name = "echo",
     .run = run_echo,
     .doc = "Replies its arguments, whatever they are.",
     .flags = STV_SHORT | STV_IDEMPOTENT},
};

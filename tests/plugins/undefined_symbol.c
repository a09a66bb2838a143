/* Calls what no worker offers: refused at the start (exit code 69, PROTOCOL §11.1), not in the middle of a
 * job. */
#include "stevedore.h"

enum stv_status stv_not_offered_by_any_worker(struct stv_job *job);

static enum stv_status run(struct stv_job *job) {
    return stv_not_offered_by_any_worker(job);
}

static const struct stv_op ops[] = {{"undefined_symbol.run", run, "", 0}};

STV_PLUGIN("undefined_symbol", "1.0.0", ops);

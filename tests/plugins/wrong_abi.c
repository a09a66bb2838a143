/* Built against another version of the header: refused (exit code 69, PROTOCOL §11.1). */
#include "stevedore.h"

static enum stv_status run(struct stv_job *job) {
    return stv_reply_nil(job);
}

static const struct stv_op ops[] = {{"wrong_abi.run", run, "", 0}};

extern STV_API const struct stv_plugin stevedore_plugin;
const struct stv_plugin stevedore_plugin = {
    STV_ABI_VERSION + 1, (uint32_t)sizeof(struct stv_op), "wrong_abi", "1.0.0", ops, 1, NULL, NULL,
};

/* A library inside it has a function of a name that libcrypto has too, which the worker has inside. Exported
 * as it is, for not everybody hides what nobody else should see. `own_symbols.encrypt` replies what it
 * returns. */
#include "stevedore.h"

int AES_encrypt(int block, int key);

__attribute__((visibility("default"), noinline)) int AES_encrypt(int block, int key) {
    return block ^ key;
}

static enum stv_status run_encrypt(struct stv_job *job) {
    return stv_reply_int(job, AES_encrypt(1, 2));
}

static const struct stv_op ops[] = {{"own_symbols.encrypt", run_encrypt, "", 0}};

STV_PLUGIN("own_symbols", "1.0.0", ops);

/* control_ops: ping, hello, ops and stats (PROTOCOL §6). Ops like any other, but they know the worker and run
 * on its loop thread. */
#ifndef CONTROL_OPS_H
#define CONTROL_OPS_H

#include "stevedore.h"

struct worker;

extern const struct stv_op control_ops[];
extern const size_t control_ops_count;

/* The worker they speak about. */
void control_ops_init(struct worker *worker);

#endif

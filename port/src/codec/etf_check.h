/* etf_check: one bounds-checking pass over an External Term Format term (PROTOCOL §9.1). Thread: any (pure).
 */
#ifndef ETF_CHECK_H
#define ETF_CHECK_H

#include "check.h"

/* Checks the one term (without the leading 131) at the start of `bytes` and tells how long it is in *used.
 * Reads nothing beyond. */
enum check_verdict etf_check(struct check *check, struct slice bytes, size_t *used);

#endif

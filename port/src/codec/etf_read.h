/* etf_read: decodes a checked External Term Format term, by ei (codec.h, `read`). Thread: any (pure). */
#ifndef ETF_READ_H
#define ETF_READ_H

#include "term.h"

struct arena;

/* Decodes exactly one term (without the leading 131), which etf_check went over, into the arena; it borrows
 * from `checked`. NULL and *reason set: memory ran out (codec_out_of_memory) or a map has a key twice. */
const struct stv_term *etf_read(struct arena *arena, struct slice checked, const char **reason);

#endif

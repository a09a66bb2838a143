/* round_trip: what must hold of a term that a checker accepts, for fuzz targets and the differential test.
 * Thread: any. */
#ifndef ROUND_TRIP_H
#define ROUND_TRIP_H

#include "codec.h"

/* The budget of a term inside a message. */
struct check round_trip_budget(const struct codec *codec);

/* The term as the one element of a message: *encoded is from malloc. False: the writer refused, which is a
 * bug. */
bool round_trip_write(const struct codec *codec, const struct stv_term *term, struct slice *encoded);

/* Checks the one term at the start of `bytes`. If it is accepted: reads it, writes it, finds it accepted
 * again and equal. Aborts, with a line on stderr, if anything of that fails. */
void round_trip(const struct codec *codec, struct slice bytes);

#endif

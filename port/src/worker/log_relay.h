/* log_relay: reads what plugins print while the loop does not run, so that they never wait for that. Before
 * the loop runs, as they load, it is kept for the log; after it, when no frame may follow, it goes to the
 * process's own stderr. Thread: main; in between one of its own. */
#ifndef LOG_RELAY_H
#define LOG_RELAY_H

#include <stdbool.h>

#include "bytes.h"

/* Of each pipe, more is dropped. */
#define LOG_RELAY_KEPT_MAX ((size_t)4 << 20)

/* What one pipe had to say. */
struct log_relay_kept {
    uint8_t *bytes; /* from malloc */
    size_t length;
    size_t dropped; /* of what came behind it */
};

struct log_relay {
    struct log_relay_kept printed;
    struct log_relay_kept errors;
};

/* Starts reading both pipes. `kept`: where to, empty at first, whose bytes the caller frees; NULL: to stderr.
 * False: the system refuses what is needed, and nothing is read. */
bool log_relay_start(int printed, int errors, struct log_relay *kept);

/* Stops reading; what was printed by now has been read. */
void log_relay_stop(void);

#endif

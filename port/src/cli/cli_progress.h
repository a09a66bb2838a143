/* cli_progress: how far a job got, on stderr: a bar if that is a terminal, else lines. Thread: main, the only
 * one. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <stdint.h>

/* `total` 0: not known. */
void cli_progress_show(int64_t done, int64_t total);

/* Takes the bar away, if there is one, so that other lines can be printed. */
void cli_progress_clear(void);

#endif

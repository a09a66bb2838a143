/* serve: being a worker. Thread: main. */
#ifndef SERVE_H
#define SERVE_H

#include "serve_options.h"

/* Serves frames on stdin and stdout until the end (PROTOCOL §11) and leaves the process; never returns. */
_Noreturn void serve(const struct serve_options *options);

#endif

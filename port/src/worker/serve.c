#include "serve.h"

#include "fatal.h"
#include "worker.h"

static struct worker worker;
static uv_loop_t loop;

void serve(const struct serve_options *options) {
    struct stdio stdio = startup(options->outlive_parent);
    worker_start(&worker, &loop, options, stdio);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    fatal(EXIT_BUG, "the loop came to an end by itself");
}

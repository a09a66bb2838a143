/* startup: makes the process what a worker must be, before any thread, plugin or library can get in the way.
 * Thread: main, once. */
#ifndef STARTUP_H
#define STARTUP_H

#include <stdbool.h>

/* The descriptors that matter, all of them private (≥ 3, close-on-exec). */
struct stdio {
    int input;   /* frames from the host */
    int output;  /* frames to the host */
    int printed; /* what is printed to stdout from now on */
    int errors;  /* … and to stderr */
};

/* Moves the protocol off descriptors 0 and 1, puts /dev/null and two log pipes in their places and in that of
 * 2, and sets signals, limits and ties to the parent. Fatal if the system refuses something essential. */
struct stdio startup(bool outlive_parent);

#endif

#include "job_wait.h"

#include <uv.h>

#include "fatal.h"

/* libuv adds the time to its clock, and far away the sum begins at 0 again. */
#define LONGEST_NAP UINT64_C(3600000000000) /* ns: an hour */

static uv_once_t once = UV_ONCE_INIT;
static uv_mutex_t mutex;
static uv_cond_t stopped;

static void init(void) {
    if (uv_mutex_init(&mutex) != 0 || uv_cond_init(&stopped) != 0) {
        fatal(EXIT_NO_RESOURCES, "cannot make a mutex");
    }
}

static uint64_t nap(uint64_t left) {
    return left < LONGEST_NAP ? left : LONGEST_NAP;
}

void job_wait_until(uint64_t until, atomic_bool *stop) {
    uv_once(&once, init);
    uv_mutex_lock(&mutex);
    for (uint64_t now = uv_hrtime(); !atomic_load(stop) && now < until; now = uv_hrtime()) {
        (void)uv_cond_timedwait(&stopped, &mutex, nap(until - now)); /* the condition tells what happened */
    }
    uv_mutex_unlock(&mutex);
}

/* The flag was set before; taking the mutex makes sure that nobody is between looking at it and waiting. */
void job_wait_wake_all(void) {
    uv_once(&once, init);
    uv_mutex_lock(&mutex);
    uv_cond_broadcast(&stopped);
    uv_mutex_unlock(&mutex);
}

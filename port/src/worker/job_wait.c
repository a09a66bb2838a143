#include "job_wait.h"

#include <uv.h>

#include "fatal.h"

static uv_once_t once = UV_ONCE_INIT;
static uv_mutex_t mutex;
static uv_cond_t stopped;

static void init(void) {
    if (uv_mutex_init(&mutex) != 0 || uv_cond_init(&stopped) != 0) {
        fatal(EXIT_NO_RESOURCES, "cannot make a mutex");
    }
}

void job_wait_until(uint64_t until, atomic_bool *stop) {
    uv_once(&once, init);
    uv_mutex_lock(&mutex);
    for (uint64_t now = uv_hrtime(); !atomic_load(stop) && now < until; now = uv_hrtime()) {
        (void)uv_cond_timedwait(&stopped, &mutex, until - now); /* the loop's condition tells what happened */
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

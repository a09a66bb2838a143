/* DESIGN. libuv's pool gives threads and wake-ups; its queue is one FIFO without cancel, priorities or
 * deadlines. So libuv never sees a job: it gets runners, at most one for each thread, and a runner takes jobs
 * from our queue, one at a time, until that is empty. One at a time, because a fixed batch would put jobs
 * behind a long one while another thread is idle. A runner costs one uv_queue_work however many jobs it runs.
 *
 * How many runners are wanted is judged by running + queued jobs, for a runner that is busy will not take the
 * queued one soon. A runner decides to leave under the mutex, so a job submitted after that starts another.
 *
 * Finished jobs go back in a list with one uv_async_send for each burst: only the one that finds the list
 * empty sends.
 *
 * Thread: the functions of the header: loop; runner_work: pool. */
#include "threads.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "black_box.h"
#include "crash.h"
#include "fatal.h"
#include "inject.h"

#define POOL_STACK_SIZE ((size_t)8 << 20) /* whatever RLIMIT_STACK says (libuv's threadpool.c) */

struct runner {
    uv_work_t work;
    struct threads *threads;
};

/* --- Pool -------------------------------------------------------------------------------------------------
 */

/* Mutex held. */
static struct stv_job *start_next(struct threads *threads) {
    struct stv_job *job = threads->paused ? NULL : queue_take(&threads->queue);
    if (job != NULL) {
        job->started_at = uv_hrtime();
        list_append(&threads->running, &job->node);
        threads->running_count++;
    }
    return job;
}

/* Mutex held. */
static void finish(struct threads *threads, struct stv_job *job) {
    bool first = list_is_empty(&threads->finished);
    list_remove(&job->node);
    threads->running_count--;
    list_append(&threads->finished, &job->node);
    if (first) {
        (void)uv_async_send(&threads->wake); /* fails only for a handle of another type */
    }
}

static void runner_work(uv_work_t *work) {
    struct threads *threads = list_entry(work, struct runner, work)->threads;
    black_box_join();
    crash_join();
    uv_mutex_lock(&threads->mutex);
    for (struct stv_job *job = start_next(threads); job != NULL; job = start_next(threads)) {
        uv_mutex_unlock(&threads->mutex);
        job_run(job, true);
        uv_mutex_lock(&threads->mutex);
        finish(threads, job);
    }
    threads->runners--;
    uv_mutex_unlock(&threads->mutex);
}

/* --- Loop --------------------------------------------------------------------------------------------------
 */

static void runner_done(uv_work_t *work, int status) {
    (void)status; /* a runner is never cancelled */
    free(list_entry(work, struct runner, work));
}

static void start_runner(struct threads *threads) {
    struct runner *runner = must(malloc(sizeof *runner));
    runner->threads = threads;
    if (uv_queue_work(threads->loop, &runner->work, runner_work, runner_done) != 0) {
        fatal(EXIT_BUG, "uv_queue_work refused a runner");
    }
}

/* Mutex held on entry, released. */
static void start_runners_and_unlock(struct threads *threads) {
    size_t wanted = threads->paused ? 0 : threads->running_count + threads->queue.jobs;
    wanted = wanted < threads->count ? wanted : threads->count;
    unsigned missing = wanted > threads->runners ? (unsigned)(wanted - threads->runners) : 0;
    threads->runners += missing;
    uv_mutex_unlock(&threads->mutex);
    for (; missing > 0; missing--) {
        start_runner(threads);
    }
}

bool threads_submit(struct threads *threads, struct stv_job *job, const char **what) {
    INJECT("before_enqueue");
    uv_mutex_lock(&threads->mutex);
    *what = queue_refuses(&threads->queue, job->encoded_args.length);
    if (*what != NULL) {
        uv_mutex_unlock(&threads->mutex);
        return false;
    }
    queue_push(&threads->queue, job);
    start_runners_and_unlock(threads);
    INJECT("after_enqueue");
    return true;
}

/* Whether a job is queued is told by its state alone: it was never started. Mutex held. */
static bool is_queued(const struct stv_job *job) {
    return job->started_at == 0;
}

bool threads_take_back(struct threads *threads, struct stv_job *job) {
    uv_mutex_lock(&threads->mutex);
    bool queued = is_queued(job);
    if (queued) {
        queue_remove(&threads->queue, job);
    }
    uv_mutex_unlock(&threads->mutex);
    return queued;
}

struct stv_job *threads_take_back_any(struct threads *threads) {
    uv_mutex_lock(&threads->mutex);
    struct stv_job *job = queue_take(&threads->queue);
    uv_mutex_unlock(&threads->mutex);
    return job;
}

void threads_take_finished(struct threads *threads, struct list *finished) {
    uv_mutex_lock(&threads->mutex);
    list_take_all(&threads->finished, finished);
    uv_mutex_unlock(&threads->mutex);
}

void threads_pause(struct threads *threads, bool paused) {
    uv_mutex_lock(&threads->mutex);
    threads->paused = paused;
    start_runners_and_unlock(threads);
}

void threads_each_running(struct threads *threads, void (*visit)(struct stv_job *job, void *context),
                          void *context) {
    uv_mutex_lock(&threads->mutex);
    for (struct list *node = threads->running.next; node != &threads->running; node = node->next) {
        visit(list_entry(node, struct stv_job, node), context);
    }
    uv_mutex_unlock(&threads->mutex);
}

uint64_t threads_running_since(struct threads *threads, const struct stv_job *job) {
    uint64_t since = 0;
    uv_mutex_lock(&threads->mutex);
    const struct list *end = &threads->running;
    for (const struct list *node = end->next; !is_queued(job) && node != end; node = node->next) {
        since = node == &job->node ? job->started_at : since;
    }
    uv_mutex_unlock(&threads->mutex);
    return since;
}

struct threads_load threads_load(struct threads *threads) {
    uv_mutex_lock(&threads->mutex);
    struct threads_load load = {threads->running_count, threads->queue.jobs, threads->queue.bytes};
    uv_mutex_unlock(&threads->mutex);
    return load;
}

/* --- Start -------------------------------------------------------------------------------------------------
 */

static void wait_at(void *barrier) {
    (void)pthread_barrier_wait(barrier);
}

/* libuv aborts when it cannot create a thread. So ask the system first, for as many at once, with stacks like
 * those of its pool. */
static void require_threads(unsigned count) {
    const uv_thread_options_t options = {.flags = UV_THREAD_HAS_STACK_SIZE, .stack_size = POOL_STACK_SIZE};
    uv_thread_t *ids = must(calloc(count, sizeof *ids));
    pthread_barrier_t barrier;
    if (pthread_barrier_init(&barrier, NULL, count + 1) != 0) {
        fatal(EXIT_NO_RESOURCES, "cannot make a barrier");
    }
    for (unsigned i = 0; i < count; i++) {
        if (uv_thread_create_ex(&ids[i], &options, wait_at, &barrier) != 0) {
            fatal(EXIT_NO_RESOURCES,
                  "the system allows only %u of %u threads: lower --threads or raise the limit", i, count);
        }
    }
    (void)pthread_barrier_wait(&barrier);
    for (unsigned i = 0; i < count; i++) {
        (void)uv_thread_join(&ids[i]);
    }
    (void)pthread_barrier_destroy(&barrier);
    free(ids);
}

static void set_pool_size(unsigned count) {
    char text[16];
    (void)snprintf(text, sizeof text, "%u", count);
    if (setenv("UV_THREADPOOL_SIZE", text, 1) != 0) {
        fatal(EXIT_NO_MEMORY, "out of memory");
    }
}

void threads_start(struct threads *threads, uv_loop_t *loop, unsigned count, size_t max_jobs,
                   size_t max_bytes, uv_async_cb on_wake, void *data) {
    require_threads(count);
    set_pool_size(count);
    *threads = (struct threads){.loop = loop, .count = count};
    queue_init(&threads->queue, max_jobs, max_bytes);
    list_init(&threads->running);
    list_init(&threads->finished);
    if (uv_mutex_init(&threads->mutex) != 0 || uv_async_init(loop, &threads->wake, on_wake) != 0) {
        fatal(EXIT_NO_RESOURCES, "cannot make a mutex or an event descriptor");
    }
    threads->wake.data = data;
    threads->runners = 1;
    start_runner(threads); /* finds nothing to do; libuv creates all its threads with the first work item */
}

// Deaths that C does not know, or that are hard on who records them (PROTOCOL §12).
#include <pthread.h>
#include <stdexcept>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stevedore.h"

static void (*volatile nowhere)();
static int *volatile null;

extern "C" {

__attribute__((noinline)) void throws_through_c() {
    throw std::runtime_error("nobody catches this");
}

__attribute__((noinline)) void calls_null() {
    nowhere();
    asm volatile(""); // no tail call: the frame has to be there
}

__attribute__((noinline)) void loses_its_stack() {
#if defined(__x86_64__)
    asm volatile("mov $16, %rsp\n\txor %ebp, %ebp\n\tmovl $1, 0");
#elif defined(__aarch64__)
    asm volatile("mov x0, #16\n\tmov sp, x0\n\tmov x29, #0\n\tmov x1, #0\n\tstr x1, [x1]");
#endif
}

__attribute__((noinline)) void writes_to_null() {
    *null = 42;
}
}

static enum stv_status run_throw(struct stv_job *job) {
    throws_through_c();
    return stv_reply_nil(job);
}

static enum stv_status run_call_null(struct stv_job *job) {
    calls_null();
    return stv_reply_nil(job);
}

static enum stv_status run_lose_stack(struct stv_job *job) {
    loses_its_stack();
    return stv_reply_nil(job);
}

static void *crash_here(void *) {
    writes_to_null();
    return nullptr;
}

// In a thread that the worker does not know.
static enum stv_status run_in_thread(struct stv_job *job) {
    pthread_t thread;
    if (pthread_create(&thread, nullptr, crash_here, nullptr) == 0) {
        pthread_join(thread, nullptr);
    }
    return stv_reply_nil(job);
}

// In a child, which shares the black box with the worker.
static enum stv_status run_in_child(struct stv_job *job) {
    pid_t child = fork();
    if (child == 0) {
        writes_to_null();
    }
    int status = 0;
    waitpid(child, &status, 0);
    return stv_reply_int(job, WIFSIGNALED(status) ? WTERMSIG(status) : -1);
}

static const struct stv_op ops[] = {
    {"crashes.throw", run_throw, "Lets an exception escape.", 0},
    {"crashes.call_null", run_call_null, "Calls a null pointer.", 0},
    {"crashes.lose_stack", run_lose_stack, "Crashes with a stack pointer that points nowhere.", 0},
    {"crashes.in_thread", run_in_thread, "Crashes in a thread of its own.", 0},
    {"crashes.in_child", run_in_child, "Forks a child that crashes; replies its signal.", 0},
    {"crashes.short", run_call_null, "Calls a null pointer on the loop thread.", STV_SHORT},
};

STV_PLUGIN("crashes", "1.0.0", ops);

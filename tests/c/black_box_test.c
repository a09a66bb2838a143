/* black_box: the layout of PROTOCOL §12, what slots and threads say, and stacks of other threads. */
#include "testing.h"

#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "black_box.h"
#include "crash.h"
#include "sanitizer.h"
#include "symbols.h"

#define THREADS 3u
#define SLOTS   100u

static const struct stv_op echo = {.name = "echo"};
static const struct stv_op hang = {.name = "fault.hang"};
static struct op ops[] = {{.op = &echo, .name_length = 4}, {.op = &hang, .name_length = 10}};
static const struct op_table table = {.ops = ops, .count = 2};

/* The file, as another process sees it. */
static const char *file;

static uint32_t u32(uint64_t at) {
    uint32_t value;
    memcpy(&value, file + at, sizeof value);
    return value;
}

static uint64_t u64(uint64_t at) {
    uint64_t value;
    memcpy(&value, file + at, sizeof value);
    return value;
}

static uint64_t slot_word(uint32_t slot) {
    return u64(u64(64) + 8 * (uint64_t)slot);
}

static uint64_t word(uint32_t id, enum slot_state state) {
    return id + ((uint64_t)state << 32);
}

/* Once for all tests: there is one box in a process. */
static int open_box(void **state) {
    (void)state;
    char path[] = "/tmp/black_box_test.XXXXXX";
    struct stat status;
    int fd = mkstemp(path);
    if (fd < 0 || unlink(path) != 0) {
        return -1;
    }
    close(fd);
    black_box_open(path, THREADS, SLOTS);
    black_box_name_ops(&table);
    black_box_join();
    native_stack_start();
    symbols_load();
    fd = open(path, O_RDONLY);
    if (fd < 0 || fstat(fd, &status) != 0 || unlink(path) != 0) {
        return -1;
    }
    file = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    return file == MAP_FAILED ? -1 : 0;
}

static void header_is_as_specified(void **state) {
    (void)state;
    assert_memory_equal(file, "STVBBOX1", 8);
    assert_int_equal(u32(8), 1);
    assert_int_equal(u32(12), getpid());
    assert_int_equal(u32(16), THREADS);
    assert_int_equal(u32(24), SLOTS);
    assert_string_equal(file + u64(56) + 256, "fault.hang");
    assert_int_equal(sizeof(struct black_box_thread), 64);
    assert_int_equal(offsetof(struct black_box_crash, op), 48);
    assert_int_equal(offsetof(struct black_box_crash, frame_count), 304);
    assert_int_equal(offsetof(struct black_box_crash, frames), 312);
    assert_int_equal(sizeof(struct native_frame), 192);
    assert_int_equal(u32(u64(48)), CRASH_NONE);
}

static void thread_tells_what_it_runs(void **state) {
    (void)state;
    uint64_t mine = u64(40);
    pid_t tid = 0;
    assert_int_equal(u32(mine), gettid());
    assert_true(u64(mine + 8) == UINT64_MAX);
    black_box_enter(77, &ops[1], 123456);
    assert_true(u64(mine + 8) == (77 | UINT64_C(1) << 32));
    assert_true(u64(mine + 16) == 123456);
    assert_true(black_box_thread_of(77, &tid));
    assert_int_equal(tid, gettid());
    assert_false(black_box_thread_of(78, &tid));
    black_box_leave();
    assert_false(black_box_thread_of(77, &tid));
    assert_int_equal(u32(mine + 64), 0); /* the next thread has not joined */
}

static void slot_follows_its_job(void **state) {
    (void)state;
    uint32_t slot = black_box_take(5);
    uint32_t other = black_box_take(6);
    uint32_t chain = BLACK_BOX_NONE;
    assert_int_equal(u32(28), 2);
    assert_true(slot_word(slot) == word(5, SLOT_WAITING));
    black_box_set(slot, 5, SLOT_RUNNING);
    black_box_set(slot, 5, SLOT_FINISHED);
    assert_true(slot_word(slot) == word(5, SLOT_FINISHED));
    black_box_add(&chain, slot);
    black_box_add(&chain, other);
    black_box_flushed(chain);
    assert_true(slot_word(slot) == word(5, SLOT_FLUSHED));
    assert_true(slot_word(other) ==
                word(6, SLOT_FREE)); /* it never ran: that it was answered means nothing */
    slot = black_box_take(7);
    assert_int_equal(u32(28), 3); /* a new one: what was flushed stays to be read */
    assert_true(slot_word(slot) == word(7, SLOT_WAITING));
    black_box_free(slot);
    assert_true(slot_word(slot) == 0);
}

static void slots_run_out(void **state) {
    (void)state;
    uint32_t taken[SLOTS];
    for (uint32_t i = 0; i < SLOTS; i++) {
        taken[i] = black_box_take(i);
        assert_int_not_equal(taken[i], BLACK_BOX_NONE);
        for (uint32_t j = 0; j < i; j++) {
            assert_int_not_equal(taken[i], taken[j]);
        }
    }
    assert_int_equal(black_box_take(SLOTS), BLACK_BOX_NONE);
    black_box_free(taken[3]);
    assert_int_equal(black_box_take(SLOTS), taken[3]);
    assert_int_equal(u32(28), SLOTS);
    for (uint32_t i = 0; i < SLOTS; i++) {
        black_box_free(taken[i]);
    }
}

static void child_does_not_write_into_its_parents_box(void **state) {
    (void)state;
    int status;
    pid_t child = fork();
    if (child == 0) {
        _exit(black_box_crash() == NULL ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_non_null(black_box_crash());
}

/* --- Stacks */

struct waiter {
    sem_t ready;
    sem_t go;
    pid_t tid;
};

static __attribute__((noinline)) void waits_to_be_told(struct waiter *waiter) {
    sem_post(&waiter->ready);
    while (sem_wait(&waiter->go) != 0) {
    }
    __asm__ volatile("");
}

static void *run_waiter(void *data) {
    struct waiter *waiter = data;
    black_box_join();
    crash_join();
    waiter->tid = gettid();
    waits_to_be_told(waiter);
    return NULL;
}

static bool has_function(const struct native_frame *frames, size_t count, const char *name) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(frames[i].function, name) == 0) {
            return true;
        }
    }
    return false;
}

/* ThreadSanitizer puts signals off, and calls their handlers in other places than they struck. */
static void skip_where_signals_are_late(void) {
#ifdef __SANITIZE_THREAD__
    skip();
#endif
}

static void stack_of_another_thread(void **state) {
    (void)state;
    skip_where_signals_are_late();
    struct native_frame frames[NATIVE_STACK_MAX];
    struct waiter waiter;
    pthread_t thread;
    assert_int_equal(sem_init(&waiter.ready, 0, 0) | sem_init(&waiter.go, 0, 0), 0);
    assert_int_equal(pthread_create(&thread, NULL, run_waiter, &waiter), 0);
    sem_wait(&waiter.ready);
    for (int i = 0; i < 100; i++) {
        size_t count = native_stack_of(waiter.tid, frames, NATIVE_STACK_MAX, 10000);
        assert_true(has_function(frames, count, "waits_to_be_told"));
        assert_true(has_function(frames, count, "run_waiter"));
    }
    assert_int_equal(native_stack_of(waiter.tid, frames, 1, 10000), 1);
    sem_post(&waiter.go);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(native_stack_of(waiter.tid, frames, NATIVE_STACK_MAX, 10), 0); /* gone */
}

static void *block_signals_and_wait(void *data) {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    struct waiter *waiter = data;
    waiter->tid = gettid();
    waits_to_be_told(waiter);
    sigemptyset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL); /* the late answers, to nobody */
    sem_post(&waiter->ready);
    sem_wait(&waiter->go);
    return NULL;
}

static void thread_that_does_not_answer(void **state) {
    (void)state;
    skip_where_signals_are_late();
    struct native_frame frames[NATIVE_STACK_MAX];
    struct waiter waiter;
    pthread_t thread;
    assert_int_equal(sem_init(&waiter.ready, 0, 0) | sem_init(&waiter.go, 0, 0), 0);
    assert_int_equal(pthread_create(&thread, NULL, block_signals_and_wait, &waiter), 0);
    sem_wait(&waiter.ready);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(native_stack_of(waiter.tid, frames, NATIVE_STACK_MAX, 5), 0);
    }
    sem_post(&waiter.go);
    sem_wait(&waiter.ready);
    size_t count = native_stack_of(waiter.tid, frames, NATIVE_STACK_MAX, 10000);
    assert_true(has_function(frames, count, "block_signals_and_wait"));
    sem_post(&waiter.go);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void text_of_a_frame(void **state) {
    (void)state;
    char text[NATIVE_FRAME_TEXT];
    struct native_frame frame = {.pc = 0xabc, .offset = 0x12, .function = "f", .module = "m.so"};
    assert_string_equal(native_frame_text(&frame, text, sizeof text), "f+0x12 (m.so)");
    frame.function[0] = '\0';
    assert_string_equal(native_frame_text(&frame, text, sizeof text), "m.so+0x12");
    frame.module[0] = '\0';
    assert_string_equal(native_frame_text(&frame, text, sizeof text), "0xabc");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(header_is_as_specified),
        cmocka_unit_test(thread_tells_what_it_runs),
        cmocka_unit_test(slot_follows_its_job),
        cmocka_unit_test(slots_run_out),
        cmocka_unit_test(child_does_not_write_into_its_parents_box),
        cmocka_unit_test(stack_of_another_thread),
        cmocka_unit_test(thread_that_does_not_answer),
        cmocka_unit_test(text_of_a_frame),
    };
    return cmocka_run_group_tests(tests, open_box, NULL);
}

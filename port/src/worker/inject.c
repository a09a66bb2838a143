/* What is armed is read from the environment once, at the first point that is passed: the loop's first read,
 * before there are jobs. From then on it is only read, but for the count. */
#ifndef STEVEDORE_INJECT
#define STEVEDORE_INJECT /* for tools that look at this file in a build without it */
#endif
#include "inject.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fatal.h"

#define EXIT_INJECTED 9

static void kill_self(void) {
    (void)kill(getpid(), SIGKILL);
}

static void exit_at_once(void) {
    _exit(EXIT_INJECTED);
}

static void stop_self(void) {
    (void)kill(getpid(), SIGSTOP);
}

static const struct action {
    const char *name;
    void (*act)(void);
} actions[] = {{"kill", kill_self}, {"abort", abort}, {"exit", exit_at_once}, {"stop", stop_self}};

static struct {
    char point[32]; /* empty: nothing is armed */
    const struct action *action;
    atomic_long left;
} armed;

static const struct action *action_find(const char *name, size_t length) {
    for (size_t i = 0; i < sizeof actions / sizeof actions[0]; i++) {
        if (strlen(actions[i].name) == length && memcmp(actions[i].name, name, length) == 0) {
            return &actions[i];
        }
    }
    return NULL;
}

static void parse(const char *text) {
    size_t point = strcspn(text, ":");
    const char *action = text + point + (text[point] != '\0');
    size_t length = strcspn(action, ":");
    armed.action = action_find(action, length);
    if (armed.action == NULL || action[length] == '\0' || point >= sizeof armed.point) {
        fatal(EXIT_WRONG_USAGE, "STEVEDORE_INJECT is POINT:ACTION:NTH (inject.h), not %s", text);
    }
    armed.left = strtol(action + length + 1, NULL, 10);
    memcpy(armed.point, text, point);
}

static void arm(void) {
    const char *text = getenv("STEVEDORE_INJECT");
    const char *once = getenv("STEVEDORE_INJECT_ONCE");
    if (text != NULL && (once == NULL || unlink(once) == 0)) {
        parse(text);
    }
}

static bool is_now(const char *point) {
    static pthread_once_t is_read = PTHREAD_ONCE_INIT;
    (void)pthread_once(&is_read, arm);
    return strcmp(point, armed.point) == 0 && atomic_fetch_sub(&armed.left, 1) == 1;
}

void inject(const char *point) {
    if (is_now(point)) {
        armed.action->act();
    }
}

ssize_t inject_writev(int fd, const struct iovec *pieces, int count) {
    if (!is_now("half_write")) {
        return writev(fd, pieces, count);
    }
    ssize_t written = write(fd, pieces[0].iov_base, (pieces[0].iov_len + 1) / 2);
    armed.action->act();
    return written;
}

#include "log_relay.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "fatal.h"

#define STACK_SIZE ((size_t)256 << 10) /* RLIMIT_STACK's would count against a limited address space */

/* The end comes first: what poll finds behind it in the same call was printed before it. */
enum { END, PRINTED, ERRORS, SOURCES };

static struct {
    pthread_t thread;
    int end;
    struct pollfd sources[SOURCES];
    struct log_relay *kept;
    uint8_t bytes[64 << 10]; /* all that a pipe holds */
} relay;

static void keep(struct log_relay_kept *kept, const uint8_t *bytes, size_t count) {
    size_t length = kept->length + count;
    bool fits = kept->dropped == 0 && length <= LOG_RELAY_KEPT_MAX;
    uint8_t *more = fits ? realloc(kept->bytes, length) : NULL;
    if (more == NULL) {
        kept->dropped += count;
        return;
    }
    kept->bytes = more;
    memcpy(kept->bytes + kept->length, bytes, count);
    kept->length = length;
}

static void take(int which) {
    struct pollfd *source = &relay.sources[which];
    ssize_t count = source->revents == 0 ? 0 : read(source->fd, relay.bytes, sizeof relay.bytes);
    if (source->revents != 0 && count <= 0) {
        source->fd = -1; /* nobody has the other end any more */
    } else if (count > 0 && relay.kept == NULL) {
        fatal_tell(relay.bytes, (size_t)count);
    } else if (count > 0) {
        keep(which == PRINTED ? &relay.kept->printed : &relay.kept->errors, relay.bytes, (size_t)count);
    }
}

static void *read_both(void *unused) {
    while (relay.sources[END].revents == 0) {
        if (poll(relay.sources, SOURCES, -1) > 0) {
            take(PRINTED);
            take(ERRORS);
        }
    }
    return unused;
}

static bool start_thread(void) {
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0) {
        return false;
    }
    (void)pthread_attr_setstacksize(&attributes, STACK_SIZE);
    bool started = pthread_create(&relay.thread, &attributes, read_both, NULL) == 0;
    (void)pthread_attr_destroy(&attributes);
    return started;
}

bool log_relay_start(int printed, int errors, struct log_relay *kept) {
    int end[2];
    if (pipe2(end, O_CLOEXEC) != 0) {
        return false;
    }
    relay.end = end[1];
    relay.kept = kept;
    relay.sources[END] = (struct pollfd){.fd = end[0], .events = POLLIN};
    relay.sources[PRINTED] = (struct pollfd){.fd = printed, .events = POLLIN};
    relay.sources[ERRORS] = (struct pollfd){.fd = errors, .events = POLLIN};
    bool started = start_thread();
    if (!started) {
        (void)close(end[0]);
        (void)close(end[1]);
    }
    return started;
}

void log_relay_stop(void) {
    (void)close(relay.end);
    (void)pthread_join(relay.thread, NULL);
    (void)close(relay.sources[END].fd);
}

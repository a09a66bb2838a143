/* The order matters and each step has its reason:
 *
 * 1. Every inherited descriptor but 0, 1, 2 becomes close-on-exec, and the protocol moves to private ones. A
 * grandchild that kept them open would hide our death from the BEAM (exit_status waits for end of file), and
 * a library's printf would break the frames.
 * 2. Descriptor 0 becomes /dev/null, 1 and 2 pipes whose other ends the loop reads (log messages).
 * 3. We die with our parent: under the BEAM that is erl_child_setup, which dies with its VM whatever killed
 * that. The check afterwards closes the gap in which the parent died before the prctl.
 * 4. No core dumps (they would hold payloads). What else limits the process comes later, in confine.c.
 * 5. Signals: SIGPIPE shows as EPIPE. The BEAM hands SIGFPE down ignored: back to the default, or dividing by
 * zero would be undefined.
 *    Whoever calls exit() in an op is named: left alone, libuv's destructor would wait for its own threads.
 *    In a child that an op forked there are none: it ends with the status that it gave.
 * 6. Larger pipes: 64 KiB costs large messages two thirds of their throughput. 512 KiB measured as good as 1
 * MiB, and leaves an unprivileged user twice as many workers before the kernel's soft limit (pipe(7)). A
 * refusal costs only speed.
 *
 * Thread: main, before there are others. */
#include "startup.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/prctl.h>
#include <sys/syscall.h>
#endif

#include "crash.h"
#include "fatal.h"
#include "sanitizer.h"

#define FIRST_PRIVATE 3
#define PIPE_SIZE     (512 * 1024)

static pid_t worker_pid;

static void refuse(const char *what) {
    fatal(EXIT_NO_RESOURCES, "cannot %s: %s", what, strerror(errno));
}

static void close_on_exec_all(void) {
#if defined(__linux__) && defined(SYS_close_range)
    const unsigned cloexec = 1u << 2;
    if (syscall(SYS_close_range, FIRST_PRIVATE, ~0u, cloexec) == 0) {
        return;
    }
#endif
    for (int fd = FIRST_PRIVATE; fd < 1024; fd++) {
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC); /* mostly not open */
    }
}

static int move(int fd, const char *name) {
    int private = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_PRIVATE);
    if (private < 0) {
        fatal(EXIT_NO_RESOURCES, "%s is not open: a worker speaks frames on stdin and stdout", name);
    }
    return private;
}

static void replace(int fd, int with) {
    if (dup2(with, fd) < 0) {
        refuse("replace a standard descriptor");
    }
    (void)close(with);
}

/* Puts a pipe in place of `fd`; returns the end to read from. */
static int tap(int fd) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        refuse("make a pipe");
    }
    replace(fd, ends[1]);
    return ends[0];
}

/* If it is closed, 2 is the lowest that is free, and the next pipe's end would be taken for it. */
static void move_stderr(void) {
    if (fcntl(STDERR_FILENO, F_GETFD) < 0 && open("/dev/null", O_WRONLY) != STDERR_FILENO) {
        refuse("open /dev/null");
    }
    int errors = move(STDERR_FILENO, "stderr");
    fatal_use_stderr(errors);
    sanitizer_report_to(errors);
}

static struct stdio move_descriptors(void) {
    struct stdio stdio;
    stdio.input = move(STDIN_FILENO, "stdin");
    stdio.output = move(STDOUT_FILENO, "stdout");
    move_stderr();
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null < 0) {
        refuse("open /dev/null");
    }
    replace(STDIN_FILENO, null);
    stdio.printed = tap(STDOUT_FILENO);
    stdio.errors = tap(STDERR_FILENO);
    (void)setvbuf(stdout, NULL, _IONBF, 0); /* what is printed is told at once */
    return stdio;
}

static void tie_to_parent(bool outlive_parent) {
#ifdef __linux__
    pid_t parent = getppid();
    if (outlive_parent) {
        return;
    }
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) {
        refuse("tie the process to its parent");
    }
    if (getppid() != parent) {
        fatal(EXIT_IO, "the parent died while the worker started");
    }
#else
    (void)outlive_parent; /* the end of stdin has to do */
#endif
}

static void forbid_core_dumps(void) {
    struct rlimit none = {0, 0};
    if (setrlimit(RLIMIT_CORE, &none) != 0) {
        refuse("turn core dumps off");
    }
}

static void on_exit_called(int status, void *unused) {
    (void)unused;
    if (getpid() != worker_pid) {
        (void)fflush(NULL);
        _exit(status);
    }
    crash_note_exit();
    fatal(EXIT_CALLED, "an op, or a library in it, called exit()");
}

static void set_signals(void) {
    worker_pid = getpid();
    if (on_exit(on_exit_called, NULL) != 0) {
        refuse("watch for exit");
    }
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR || signal(SIGFPE, SIG_DFL) == SIG_ERR) {
        refuse("set signals");
    }
}

static void enlarge(int fd) {
#ifdef F_SETPIPE_SZ
    (void)fcntl(fd, F_SETPIPE_SZ, PIPE_SIZE); /* not a pipe, or not allowed: slower, not wrong */
#else
    (void)fd;
#endif
}

struct stdio startup(bool outlive_parent) {
    close_on_exec_all();
    struct stdio stdio = move_descriptors();
    tie_to_parent(outlive_parent);
    forbid_core_dumps();
    set_signals();
    enlarge(stdio.input);
    enlarge(stdio.output);
    return stdio;
}

/* Tries what no op should be able to do, and says what became of it: each attempt is "allowed" or the name of
 * an errno. The attempts are made as soon as the library is loaded (`hostile.at_load`), by init
 * (`hostile.at_init`) and by an op (`hostile.now`); all reply a map. They are harmless where they succeed:
 * signals are number 0, mounts and kernel programs are incomplete, so that only the permission is tried. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stevedore.h"

extern char **environ;

/* Each returns 0, or -1 with errno. */

static int and_close(int fd) {
    return fd < 0 ? -1 : close(fd);
}

static int open_passwd(void) {
    return and_close(open("/etc/passwd", O_RDONLY));
}

static int list_root(void) {
    return and_close(open("/", O_RDONLY | O_DIRECTORY));
}

static int create_file(void) {
    char path[] = "/tmp/stevedore-hostile-XXXXXX";
    int fd = mkstemp(path);
    return fd < 0 ? -1 : unlink(path) | close(fd);
}

static int inet_socket(void) {
    return and_close(socket(AF_INET, SOCK_STREAM, 0));
}

static int unix_socket(void) {
    return and_close(socket(AF_UNIX, SOCK_STREAM, 0));
}

static int pair_of_sockets(void) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) {
        return -1;
    }
    return close(ends[0]) | close(ends[1]);
}

static int wait_for(pid_t pid) {
    return pid < 0 || waitpid(pid, NULL, 0) != pid ? -1 : 0;
}

static int fork_once(void) {
    pid_t pid = fork();
    if (pid == 0) {
        _exit(0);
    }
    return wait_for(pid);
}

static int spawn_shell(void) {
    char *arguments[] = {"sh", "-c", "exit 0", NULL};
    pid_t pid = -1;
    int error = posix_spawn(&pid, "/bin/sh", NULL, NULL, arguments, environ);
    errno = error;
    return error != 0 ? -1 : wait_for(pid);
}

static int run_system(void) {
    return system("exit 0");
}

/* If it were allowed there would be no such file. */
static int exec_nothing(void) {
    char *arguments[] = {"nothing", NULL};
    return execve("/nothing/here", arguments, environ);
}

static int signal_parent(void) {
    return kill(getppid(), 0);
}

static int signal_group(void) {
    return kill(0, 0);
}

static int signal_parent_thread(void) {
    return (int)syscall(SYS_tgkill, getppid(), getppid(), 0);
}

static int signal_self(void) {
    return kill(getpid(), 0);
}

/* Have the kernel signal the parent when something can be read. */
static int own_by_parent(void) {
    int ends[2];
    if (pipe(ends) != 0) {
        return -1;
    }
    int result = fcntl(ends[0], F_SETOWN, getppid());
    int error = errno;
    close(ends[0]);
    close(ends[1]);
    errno = error;
    return result;
}

static int limit_parent(void) {
    struct rlimit limit;
    return prlimit(getppid(), RLIMIT_CPU, NULL, &limit);
}

/* The next ones set what is in effect already, so that nothing changes where it is allowed. */

static int renice(pid_t pid) {
    errno = 0;
    int nice = getpriority(PRIO_PROCESS, (id_t)pid);
    return errno != 0 ? -1 : setpriority(PRIO_PROCESS, (id_t)pid, nice);
}

static int renice_parent(void) {
    return renice(getppid());
}

static int renice_self(void) {
    return renice(0);
}

/* Of a group and a user that are not there: ESRCH where it is allowed to try. */

static int renice_group(void) {
    return setpriority(PRIO_PGRP, INT_MAX, 0);
}

static int renice_user(void) {
    return setpriority(PRIO_USER, INT_MAX, 0);
}

static int pin(pid_t pid) {
    cpu_set_t cpus;
    return sched_getaffinity(pid, sizeof cpus, &cpus) != 0 ? -1 : sched_setaffinity(pid, sizeof cpus, &cpus);
}

static int pin_parent(void) {
    return pin(getppid());
}

static int pin_self(void) {
    return pin(0);
}

static int schedule_parent(void) {
    struct sched_param param;
    pid_t parent = getppid();
    return sched_getparam(parent, &param) != 0
               ? -1
               : sched_setscheduler(parent, sched_getscheduler(parent), &param);
}

static int set_parents_param(void) {
    struct sched_param param;
    return sched_getparam(getppid(), &param) != 0 ? -1 : sched_setparam(getppid(), &param);
}

/* With nothing to set: EFAULT where it is allowed to try. */
static int set_parents_attr(void) {
    return (int)syscall(SYS_sched_setattr, getppid(), NULL, 0);
}

static int set_parents_io(void) {
    int process = 1;
    long priority = syscall(SYS_ioprio_get, process, getppid());
    return priority < 0 ? -1 : (int)syscall(SYS_ioprio_set, process, getppid(), priority);
}

/* Of one that is not traced: ESRCH where it is allowed to try. */
static int trace_parent(void) {
    return ptrace(PTRACE_PEEKDATA, getppid(), NULL, NULL) == -1 ? -1 : 0;
}

static int read_parent(void) {
    char byte;
    struct iovec here = {&byte, 1};
    struct iovec there = {NULL, 1};
    return process_vm_readv(getppid(), &here, 1, &there, 1, 0) < 0 ? -1 : 0;
}

static int mount_nothing(void) {
    return mount("none", "/nothing/here", "tmpfs", 0, NULL);
}

static int load_bpf(void) {
    return (int)syscall(SYS_bpf, -1, NULL, 0);
}

static int use_io_uring(void) {
    return (int)syscall(SYS_io_uring_setup, 0, NULL);
}

static int new_namespace(void) {
    return unshare(1); /* no flag of its own */
}

static int become_root(void) {
    return setuid(geteuid());
}

static int outlive_parent(void) {
    int signal_at_its_death = 0;
    return prctl(PR_GET_PDEATHSIG, &signal_at_its_death) != 0 ||
                   prctl(PR_SET_PDEATHSIG, signal_at_its_death) != 0
               ? -1
               : 0;
}

static int type_on_terminal(void) {
    return ioctl(-1, TIOCSTI, "x");
}

#ifdef __x86_64__
/* The calls of 32-bit programs: getpid there is 20. */
static int call_in_32_bit(void) {
    long result = 20;
    __asm__ volatile("int $0x80" : "+a"(result) : : "memory", "r8", "r9", "r10", "r11");
    errno = result < 0 ? (int)-result : 0;
    return result < 0 ? -1 : 0;
}

static int call_in_x32(void) {
    return (int)syscall(0x40000000 + SYS_getpid) < 0 ? -1 : 0;
}
#endif

static const struct attempt {
    const char *name;
    int (*try)(void);
} attempts[] = {
    {"open_passwd", open_passwd},
    {"list_root", list_root},
    {"create_file", create_file},
    {"inet_socket", inet_socket},
    {"unix_socket", unix_socket},
    {"pair_of_sockets", pair_of_sockets},
    {"fork", fork_once},
    {"posix_spawn", spawn_shell},
    {"system", run_system},
    {"execve", exec_nothing},
    {"signal_parent", signal_parent},
    {"signal_group", signal_group},
    {"signal_parent_thread", signal_parent_thread},
    {"signal_self", signal_self},
    {"own_by_parent", own_by_parent},
    {"limit_parent", limit_parent},
    {"renice_parent", renice_parent},
    {"renice_group", renice_group},
    {"renice_user", renice_user},
    {"renice_self", renice_self},
    {"pin_parent", pin_parent},
    {"pin_self", pin_self},
    {"schedule_parent", schedule_parent},
    {"set_parents_param", set_parents_param},
    {"set_parents_attr", set_parents_attr},
    {"set_parents_io", set_parents_io},
    {"trace_parent", trace_parent},
    {"read_parent", read_parent},
    {"mount", mount_nothing},
    {"bpf", load_bpf},
    {"io_uring", use_io_uring},
    {"unshare", new_namespace},
    {"setuid", become_root},
    {"outlive_parent", outlive_parent},
    {"type_on_terminal", type_on_terminal},
#ifdef __x86_64__
    {"call_in_32_bit", call_in_32_bit},
    {"call_in_x32", call_in_x32},
#endif
};

#define COUNT (sizeof attempts / sizeof attempts[0])

static const char *at_load[COUNT];
static const char *at_init[COUNT];

static void try_all(const char **outcomes) {
    for (size_t i = 0; i < COUNT; i++) {
        errno = 0;
        int result = attempts[i].try();
        outcomes[i] = result == 0 ? "allowed" : strerrorname_np(errno);
    }
}

static enum stv_status reply(struct stv_job *job, const char **outcomes) {
    stv_put_map(job, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        stv_put_text(job, attempts[i].name);
        stv_put_text(job, outcomes[i] == NULL ? "?" : outcomes[i]);
    }
    return STV_OK;
}

__attribute__((constructor)) static void on_load(void) {
    try_all(at_load);
}

static const char *init(void) {
    try_all(at_init);
    return NULL;
}

static enum stv_status run_at_load(struct stv_job *job) {
    return reply(job, at_load);
}

static enum stv_status run_at_init(struct stv_job *job) {
    return reply(job, at_init);
}

static enum stv_status run_now(struct stv_job *job) {
    const char *now[COUNT];
    try_all(now);
    return reply(job, now);
}

/* --- One thing, as told --- */

static enum stv_status run_open(struct stv_job *job) {
    const char *path;
    bool writes = false;
    if (!stv_arg_path(job, "path", &path)) {
        return stv_bad_arg(job, "path", "a path");
    }
    if (!stv_opt_bool(job, "write", &writes)) {
        return stv_bad_arg(job, "write", "true or false");
    }
    int fd = open(path, writes ? O_WRONLY | O_CREAT | O_CLOEXEC : O_RDONLY | O_CLOEXEC, 0600);
    if (fd < 0) {
        return stv_fail_errno(job, errno, path);
    }
    close(fd);
    return stv_reply_nil(job);
}

/* Opens until that fails, and replies how often it could. */
static enum stv_status run_open_many(struct stv_job *job) {
    int fds[1024];
    int count = 0;
    while (count < 1024 && (fds[count] = dup(STDIN_FILENO)) >= 0) {
        count++;
    }
    for (int i = 0; i < count; i++) {
        close(fds[i]);
    }
    return stv_reply_int(job, count);
}

static enum stv_status run_write(struct stv_job *job) {
    const char *path;
    struct stv_bytes data;
    if (!stv_arg_path(job, "path", &path) || !stv_arg_bytes(job, "data", &data)) {
        return stv_bad_arg(job, "path", "a path, with data");
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ssize_t written = fd < 0 ? -1 : write(fd, data.data, data.size);
    if (written == (ssize_t)data.size) {
        written = write(fd, "+", 1); /* one more */
    }
    int error = errno;
    if (fd >= 0) {
        close(fd);
    }
    return written < 0 ? stv_fail_errno(job, error, path) : stv_reply_int(job, written);
}

static const struct stv_op ops[] = {
    {"hostile.at_load", run_at_load, "", 0},
    {"hostile.at_init", run_at_init, "", 0},
    {"hostile.now", run_now, "", 0},
    {"hostile.open", run_open, "", 0},
    {"hostile.open_many", run_open_many, "", 0},
    {"hostile.write", run_write, "", 0},
};

STV_PLUGIN_WITH("hostile", "1.0.0", ops, init, NULL);

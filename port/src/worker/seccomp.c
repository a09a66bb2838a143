/* DESIGN. A list of what is refused, not of what is allowed: an op may be anything, and each new libc uses
 * calls that no list of ours would know. So this takes away the ways out of the process, and is no proof
 * against faults of the kernel itself.
 *
 * The two tables are compiled into one BPF program, row by row: the first row that fits decides. Arguments
 * are compared by their lower 32 bits, which is all that the kernel looks at in those named here. Calls of
 * another architecture's numbering (32-bit x86, x32) are refused as a whole.
 *
 * The kernel works out once which calls are allowed whatever their arguments, so ordinary calls cost nothing.
 *
 * Refused is EPERM, and never a deadly signal: an op that finds a way closed has its own error to tell.
 * clone3 is said not to exist, for its flags cannot be seen from here: then libc uses clone. */
#include "seccomp.h"

#include "reason.h"

#if defined(__linux__) && !defined(__ILP32__) && (defined(__x86_64__) || defined(__aarch64__))
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef __x86_64__
#define OUR_ARCH AUDIT_ARCH_X86_64
#else
#define OUR_ARCH AUDIT_ARCH_AARCH64
#endif
#define X32_BIT 0x40000000u /* of x86_64's numbers; no other number is as large */

#ifndef __NR_open_tree_attr /* newer than the headers may be; the same everywhere */
#define __NR_open_tree_attr 467
#endif

#define REFUSED (SECCOMP_RET_ERRNO | EPERM)
#define MISSING (SECCOMP_RET_ERRNO | ENOSYS)
#define ALLOWED SECCOMP_RET_ALLOW

#define NEW_NAMESPACE                                                                                        \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |            \
     CLONE_NEWNET)

enum condition { ALWAYS, IF_EQUAL, IF_ANY_BIT, IF_OWN_PID };

struct rule {
    uint32_t call;
    uint32_t verdict;
    enum condition condition;
    unsigned argument;
    uint32_t value;
};

#define NO(call)                                                                                             \
    { __NR_##call, REFUSED, ALWAYS, 0, 0 }
#define NO_IF(call, argument, value)                                                                         \
    { __NR_##call, REFUSED, IF_EQUAL, argument, value }
#define ONLY_OWN(call) {__NR_##call, ALLOWED, IF_OWN_PID, 0, 0}, NO(call)
/* The first argument is a process or thread, and 0 the caller. */
#define ONLY_OWN_OR_0(call) {__NR_##call, ALLOWED, IF_EQUAL, 0, 0}, ONLY_OWN(call)

static const struct rule basic[] = {
    /* Other processes' memory and descriptors. */
    NO(ptrace),
    NO(process_vm_readv),
    NO(process_vm_writev),
    NO(process_madvise),
    NO(kcmp),
    NO(pidfd_getfd),
    NO(move_pages),
    NO(migrate_pages),
    /* The file system's shape, and ways around it. */
    NO(mount),
    NO(umount2),
    NO(pivot_root),
    NO(chroot),
    NO(move_mount),
    NO(open_tree),
    NO(open_tree_attr),
    NO(fsopen),
    NO(fsconfig),
    NO(fsmount),
    NO(fspick),
    NO(mount_setattr),
    NO(open_by_handle_at),
    NO(fanotify_init),
    NO(swapon),
    NO(swapoff),
    NO(quotactl),
    /* Namespaces. */
    NO(unshare),
    NO(setns),
    {__NR_clone, REFUSED, IF_ANY_BIT, 0, NEW_NAMESPACE},
    {__NR_clone3, MISSING, ALWAYS, 0, 0},
    /* The kernel: its code, its keys, its clock, and the parts of it that are most often broken. */
    NO(bpf),
    NO(perf_event_open),
    NO(userfaultfd),
    NO(io_uring_setup),
    NO(io_uring_enter),
    NO(io_uring_register),
    NO(add_key),
    NO(request_key),
    NO(keyctl),
    NO(init_module),
    NO(finit_module),
    NO(delete_module),
    NO(kexec_load),
#ifdef __NR_kexec_file_load
    NO(kexec_file_load),
#endif
#ifdef __NR_iopl
    NO(iopl),
    NO(ioperm),
    NO(modify_ldt),
#endif
    NO(reboot),
    NO(syslog),
    NO(acct),
    NO(settimeofday),
    NO(clock_settime),
    NO(clock_adjtime),
    NO(adjtimex),
    NO(sethostname),
    NO(setdomainname),
    NO(vhangup)};

static const struct rule strict[] = {
    /* Programs and processes; threads are fine. */
    NO(execve),
    NO(execveat),
    {__NR_clone, ALLOWED, IF_ANY_BIT, 0, CLONE_THREAD},
    NO(clone),
#ifdef __NR_fork
    NO(fork),
    NO(vfork),
#endif
    /* Sockets. Those that are open already may be read and written. */
    NO(socket),
    NO(socketpair),
    NO(connect),
    NO(bind),
    NO(listen),
    NO(accept),
    NO(accept4),
    /* Signals to others: the first argument is a process. raise and abort use tgkill. F_SETOWN and its kin
     * would let the kernel send them. */
    ONLY_OWN(kill),
    ONLY_OWN(tgkill),
    ONLY_OWN(rt_sigqueueinfo),
    ONLY_OWN(rt_tgsigqueueinfo),
    NO(tkill),
    NO(pidfd_open),
    NO(pidfd_send_signal),
    NO_IF(fcntl, 1, F_SETOWN),
    NO_IF(fcntl, 1, F_SETOWN_EX),
    NO_IF(fcntl, 1, F_SETSIG),
    /* Other processes' share of the processors and disks. A thread may still be nice itself. */
    NO_IF(setpriority, 0, PRIO_PGRP),
    NO_IF(setpriority, 0, PRIO_USER),
    {__NR_setpriority, ALLOWED, IF_EQUAL, 1, 0},
    NO(setpriority),
    ONLY_OWN_OR_0(sched_setaffinity),
    ONLY_OWN_OR_0(sched_setscheduler),
    ONLY_OWN_OR_0(sched_setparam),
    ONLY_OWN_OR_0(sched_setattr),
    NO(ioprio_set),
    /* Other processes' limits; keys typed on the host's terminal; outliving the host. */
    ONLY_OWN_OR_0(prlimit64),
    NO_IF(ioctl, 1, TIOCSTI),
    NO_IF(ioctl, 1, TIOCLINUX),
    NO_IF(prctl, 0, PR_SET_PDEATHSIG),
    /* Being somebody else. */
    NO(setuid),
    NO(setgid),
    NO(setreuid),
    NO(setregid),
    NO(setresuid),
    NO(setresgid),
    NO(setfsuid),
    NO(setfsgid),
    NO(setgroups),
    NO(capset),
    NO(personality)};

#define ROWS(table)       (sizeof(table) / sizeof(table)[0])
#define MOST_PER_RULE     5
#define MOST_INSTRUCTIONS (8 + MOST_PER_RULE * (ROWS(basic) + ROWS(strict)))

struct program {
    unsigned short length;
    struct sock_filter instructions[MOST_INSTRUCTIONS];
};

static void add(struct program *program, uint16_t code, uint32_t value, uint8_t skip_if,
                uint8_t skip_if_not) {
    program->instructions[program->length++] =
        (struct sock_filter){.code = code, .jt = skip_if, .jf = skip_if_not, .k = value};
}

static void add_load(struct program *program, size_t offset) {
    add(program, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

static void add_verdict(struct program *program, uint32_t verdict) {
    add(program, BPF_RET | BPF_K, verdict, 0, 0);
}

/* With the number of the call loaded, before and after. */
static void add_rule(struct program *program, const struct rule *rule) {
    if (rule->condition == ALWAYS) {
        add(program, BPF_JMP | BPF_JEQ | BPF_K, rule->call, 0, 1);
        add_verdict(program, rule->verdict);
        return;
    }
    uint16_t test = rule->condition == IF_ANY_BIT ? BPF_JSET : BPF_JEQ;
    uint32_t value = rule->condition == IF_OWN_PID ? (uint32_t)getpid() : rule->value;
    add(program, BPF_JMP | BPF_JEQ | BPF_K, rule->call, 0, 4);
    add_load(program, offsetof(struct seccomp_data, args) + rule->argument * sizeof(uint64_t));
    add(program, BPF_JMP | test | BPF_K, value, 0, 1);
    add_verdict(program, rule->verdict);
    add_load(program, offsetof(struct seccomp_data, nr));
}

static void compile(struct program *program, enum seccomp_level level) {
    add_load(program, offsetof(struct seccomp_data, arch));
    add(program, BPF_JMP | BPF_JEQ | BPF_K, OUR_ARCH, 1, 0);
    add_verdict(program, REFUSED);
    add_load(program, offsetof(struct seccomp_data, nr));
    add(program, BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 0, 1);
    add_verdict(program, REFUSED);
    for (size_t i = 0; i < ROWS(basic); i++) {
        add_rule(program, &basic[i]);
    }
    for (size_t i = 0; level == SECCOMP_STRICT && i < ROWS(strict); i++) {
        add_rule(program, &strict[i]);
    }
    add_verdict(program, ALLOWED);
}

/* Also puts it on threads that a library may have started before main: a number other than 0 is one that
 * would not have it. */
char *seccomp_install(enum seccomp_level level) {
    struct program program = {.length = 0};
    compile(&program, level);
    struct sock_fprog filter = {.len = program.length, .filter = program.instructions};
    long result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter);
    if (result > 0) {
        return reason("thread %ld has seccomp rules of its own", result);
    }
    return result == 0 ? NULL : reason("the kernel refuses seccomp rules: %s", strerror(errno));
}

#else

char *seccomp_install(enum seccomp_level level) {
    (void)level;
    return reason("seccomp rules are there for Linux on x86_64 and aarch64 only");
}

#endif

/* seccomp: system calls that this process, and every one it starts, cannot make from now on: they fail with
 * EPERM (seccomp(2)). It cannot be taken back. Thread: main, before there are others. */
#ifndef SECCOMP_H
#define SECCOMP_H

enum seccomp_level {
    SECCOMP_OFF,
    SECCOMP_BASIC,  /* without what ordinary ops never need: ptrace, mount, bpf, namespaces … */
    SECCOMP_STRICT, /* … and without programs, processes, sockets, and signals to others */
};

/* NULL, or why it is not in effect, a text that the caller frees. Needs no_new_privs. */
char *seccomp_install(enum seccomp_level level);

#endif

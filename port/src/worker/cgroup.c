/* DESIGN. A group that has processes cannot share out memory to groups inside of it. So ours is made beside
 * the group that we are in, under the same parent: .../app/main → .../app/stevedore-PID. Only the topmost
 * group of all may have both, so from there ours is made below.
 *
 * That parent must be ours to divide. For an ordinary user the files' permissions say so; root may write
 * everywhere, and is bound by systemd's mark on what it has delegated.
 *
 * A process cannot remove the group that it is in, and the host may be killed with it. So each worker, when
 * it starts, removes the groups of those that are gone: a group with a process in it cannot be removed, so
 * there is no harm in trying. What the last ones leave is empty, and goes with the service's own group.
 *
 * Thread: main. */
#include "cgroup.h"

#include "reason.h"

#ifdef __linux__
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define ROOT   "/sys/fs/cgroup"
#define PREFIX "stevedore-"
#define TRIES  10 /* another worker may take ours for left behind, between its making and our moving in */

/* Returns 0 or an errno. */
static int write_file(int directory, const char *name, const char *text) {
    int fd = openat(directory, name, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno;
    }
    int error = write(fd, text, strlen(text)) < 0 ? errno : 0;
    (void)close(fd);
    return error;
}

/* The path of this process's group, below ROOT. False: there is none. */
static bool read_own_group(char path[PATH_MAX]) {
    FILE *file = fopen("/proc/self/cgroup", "re");
    bool found = false;
    if (file == NULL) {
        return false;
    }
    while (!found && fgets(path, PATH_MAX, file) != NULL) {
        found = strncmp(path, "0::/", 4) == 0;
    }
    (void)fclose(file);
    path[strcspn(path, "\n")] = '\0';
    memmove(path, path + 3, found ? strlen(path + 3) + 1 : 0);
    return found;
}

static bool is_delegated(int parent) {
    char mark = '0';
    return geteuid() != 0 || (fgetxattr(parent, "user.delegate", &mark, 1) == 1 && mark == '1') ||
           (fgetxattr(parent, "trusted.delegate", &mark, 1) == 1 && mark == '1');
}

/* The directory that ours is to be made in, or -1 and *why. */
static int open_parent(char **why) {
    char own[PATH_MAX];
    char path[sizeof ROOT + PATH_MAX];
    if (access(ROOT "/cgroup.controllers", F_OK) != 0 || !read_own_group(own)) {
        *why = reason("there is no cgroup v2 at " ROOT);
        return -1;
    }
    *strrchr(own, '/') = '\0'; /* of the topmost group, "/", itself is left */
    (void)snprintf(path, sizeof path, ROOT "%s", own);
    int parent = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (parent < 0) {
        *why = reason("cannot open the cgroup %s: %s", path, strerror(errno));
    } else if (own[0] != '\0' && !is_delegated(parent)) {
        *why = reason("the cgroup %s is not delegated to us: see Delegate= and DelegateSubgroup= in "
                      "systemd.resource-control(5)",
                      path);
        (void)close(parent);
        return -1;
    }
    return parent;
}

static void remove_left_behind(int parent) {
    int again = openat(parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = again < 0 ? NULL : fdopendir(again);
    if (directory == NULL) {
        return;
    }
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        if (strncmp(entry->d_name, PREFIX, strlen(PREFIX)) == 0) {
            (void)unlinkat(parent, entry->d_name, AT_REMOVEDIR); /* fails for those that are in use */
        }
    }
    (void)closedir(directory);
}

/* Returns 0 or an errno; ENOENT or ENODEV: it was removed meanwhile. */
static int limit_and_enter(int group, uint64_t bytes) {
    char text[24];
    (void)snprintf(text, sizeof text, "%" PRIu64, bytes);
    int error = write_file(group, "memory.max", text);
    if (error != 0) {
        return error;
    }
    (void)write_file(group, "memory.swap.max", "0"); /* missing where there is no swap */
    return write_file(group, "cgroup.procs", "0");
}

static int make_and_enter(int parent, uint64_t bytes) {
    char name[sizeof PREFIX + 16];
    (void)snprintf(name, sizeof name, PREFIX "%d", (int)getpid());
    if (mkdirat(parent, name, 0755) != 0 && errno != EEXIST) {
        return errno;
    }
    int group = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (group < 0) {
        return errno;
    }
    int error = limit_and_enter(group, bytes);
    (void)close(group);
    if (error != 0) {
        (void)unlinkat(parent, name, AT_REMOVEDIR);
    }
    return error;
}

char *cgroup_limit_memory(uint64_t bytes) {
    char *why = NULL;
    int parent = open_parent(&why);
    if (parent < 0) {
        return why;
    }
    int error = write_file(parent, "cgroup.subtree_control", "+memory");
    if (error != 0) {
        why = reason("cannot divide memory among cgroups: %s%s", strerror(error),
                     error == EBUSY ? " (the group above has processes of its own: see DelegateSubgroup= in "
                                      "systemd.resource-control(5))"
                                    : "");
    } else {
        remove_left_behind(parent);
        error = ENOENT;
        for (int i = 0; i < TRIES && (error == ENOENT || error == ENODEV); i++) {
            error = make_and_enter(parent, bytes);
        }
        why = error == 0 ? NULL : reason("cannot make a cgroup with a memory limit: %s", strerror(error));
    }
    (void)close(parent);
    return why;
}

#else

char *cgroup_limit_memory(uint64_t bytes) {
    (void)bytes;
    return reason("this system has no cgroups: it takes Linux");
}

#endif

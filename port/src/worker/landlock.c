/* By raw system calls: libc has no wrappers for them. Kernels know more or fewer rights; those that this one
 * does not know are left out, which is as much as it can do. */
#include "landlock.h"

#include "reason.h"

#if defined(__linux__) && __has_include(<linux/landlock.h>)
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Newer than the headers may be. */
#define ACCESS_TRUNCATE  (1ULL << 14)
#define ACCESS_IOCTL_DEV (1ULL << 15)

#define READ_FILE  LANDLOCK_ACCESS_FS_READ_FILE
#define WRITE_FILE (READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | ACCESS_TRUNCATE | ACCESS_IOCTL_DEV)
#define READ_DIR   (READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define WRITE_DIR                                                                                            \
    (WRITE_FILE | READ_DIR | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |                \
     LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |              \
     LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_SYM | LANDLOCK_ACCESS_FS_REFER)

/* The rights that this kernel can withhold: the lowest bits, more of them with each version of its interface.
 * 0: it has no Landlock, and errno says why. */
static uint64_t known_rights(void) {
    static const int bits[] = {0, 13, 14, 15, 15, 16};
    const long newest = sizeof bits / sizeof bits[0] - 1;
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (version < 1) {
        return 0;
    }
    return (1ULL << bits[version < newest ? version : newest]) - 1;
}

int landlock_open(char **why) {
    struct landlock_ruleset_attr rules = {.handled_access_fs = known_rights()};
    if (rules.handled_access_fs == 0) {
        *why = errno == EOPNOTSUPP
                   ? reason("Landlock is turned off: add it to the kernel's boot option lsm=")
                   : reason("there is no Landlock (%s): it takes Linux 5.13, and a container that allows it",
                            strerror(errno));
        return -1;
    }
    int fd = (int)syscall(SYS_landlock_create_ruleset, &rules, sizeof rules.handled_access_fs, 0);
    if (fd < 0) {
        *why = reason("cannot make Landlock rules: %s", strerror(errno));
    }
    return fd;
}

/* A rule for a file must not name rights that only directories have. */
static uint64_t rights(const struct stat *file, bool may_write) {
    if (S_ISDIR(file->st_mode)) {
        return may_write ? WRITE_DIR : READ_DIR;
    }
    return may_write ? WRITE_FILE : READ_FILE;
}

int landlock_allow(int rules, const char *path, bool may_write) {
    struct stat file;
    struct landlock_path_beneath_attr rule = {.parent_fd = open(path, O_PATH | O_CLOEXEC)};
    if (rule.parent_fd < 0) {
        return errno;
    }
    int error = 0;
    if (fstat(rule.parent_fd, &file) == 0) {
        rule.allowed_access = rights(&file, may_write) & known_rights();
    }
    if (syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0) {
        error = errno;
    }
    (void)close(rule.parent_fd);
    return error;
}

char *landlock_enforce(int rules) {
    char *why = NULL;
    if (syscall(SYS_landlock_restrict_self, rules, 0) != 0) {
        why = reason("the kernel refuses Landlock rules: %s", strerror(errno));
    }
    (void)close(rules);
    return why;
}

#else

#include <errno.h>

int landlock_open(char **why) {
    *why = reason("this system has no Landlock: it takes Linux 5.13");
    return -1;
}

int landlock_allow(int rules, const char *path, bool may_write) {
    (void)rules;
    (void)path;
    (void)may_write;
    return ENOSYS;
}

char *landlock_enforce(int rules) {
    (void)rules;
    return reason("this system has no Landlock: it takes Linux 5.13");
}

#endif

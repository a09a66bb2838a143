/* cgroup: a memory limit of this process's own, by a cgroup (v2) of its own. Thread: main, before there are
 * others. */
#ifndef CGROUP_H
#define CGROUP_H

#include <stdint.h>

/* Makes a group with this limit and moves the process into it. NULL, or why it is not in effect, a text that
 * the caller frees. Removes groups that earlier workers left behind. */
char *cgroup_limit_memory(uint64_t bytes);

#endif

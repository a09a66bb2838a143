/* landlock: which files the calling thread, and every thread and process it starts from then on, may use
 * (landlock(7)). What is open already stays usable.
 *
 * Several sets of rules may be put on, one after the other: what is used must be allowed by all of them.
 * Thread: main, before there are others: the rules of a thread are its own. */
#ifndef LANDLOCK_H
#define LANDLOCK_H

#include <stdbool.h>

/* A set of rules that allows nothing yet: a descriptor; or -1, and *why is a text that the caller frees. */
int landlock_open(char **why);

/* Adds a file, or a directory with everything in it. Writing includes reading, making and removing; nothing
 * is ever allowed to be executed. Returns 0 or an errno. */
int landlock_allow(int rules, const char *path, bool may_write);

/* Puts the rules on and closes them. NULL, or why they are not in effect, a text that the caller frees. Needs
 * no_new_privs. */
char *landlock_enforce(int rules);

#endif

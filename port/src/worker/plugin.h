/* plugin: shared objects that add ops (stevedore.h). Loaded at start; a plugin that cannot be used ends the
 * start with EXIT_BAD_PLUGIN and one line that says why. Thread: main, before and after the loop runs. */
#ifndef PLUGIN_H
#define PLUGIN_H

#include "op_table.h"

struct plugin {
    const char *file;
    const struct stv_plugin *info;
};

struct plugins {
    struct plugin *loaded;
    size_t count;
};

/* Loads each file, checks it, adds its ops and then calls its init. */
void plugins_load(struct plugins *plugins, const char *const *files, size_t count, struct op_table *ops);

/* Calls each plugin's finish, the last loaded first. No job may be running. */
void plugins_finish(const struct plugins *plugins);

#endif

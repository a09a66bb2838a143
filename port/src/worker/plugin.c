#include "plugin.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "fatal.h"
#include "utf8.h"

#define SYMBOL      "stevedore_plugin"
#define KNOWN_FLAGS ((unsigned)(STV_IDEMPOTENT | STV_SHORT))

/* A bare name is a file here, not one of the system's libraries, where dlopen would look for it. */
static void *open_library(const char *file) {
    char *path = NULL;
    if (asprintf(&path, "%s%s", strchr(file, '/') == NULL ? "./" : "", file) < 0) {
        fatal(EXIT_NO_MEMORY, "out of memory");
    }
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL); /* stays open for as long as the process lives */
    free(path);
    return library;
}

static const struct stv_plugin *open_file(const char *file) {
    void *library = open_library(file);
    if (library == NULL) {
        fatal(EXIT_BAD_PLUGIN, "cannot load the plugin: %s", dlerror());
    }
    const struct stv_plugin *info = dlsym(library, SYMBOL);
    if (info == NULL) {
        fatal(EXIT_BAD_PLUGIN, "%s is no plugin: it does not export %s (use STV_PLUGIN)", file, SYMBOL);
    }
    return info;
}

static void check(const char *file, const struct stv_plugin *info) {
    if (info->abi_version != STV_ABI_VERSION || info->op_size != sizeof(struct stv_op)) {
        fatal(EXIT_BAD_PLUGIN,
              "%s was built for ABI version %u (ops of %u bytes), this worker has %u (%zu): build it again",
              file, info->abi_version, info->op_size, STV_ABI_VERSION, sizeof(struct stv_op));
    }
    if (info->name == NULL || info->version == NULL || (info->ops == NULL && info->op_count > 0)) {
        fatal(EXIT_BAD_PLUGIN, "%s: the plugin has no name, no version or no ops", file);
    }
}

static bool is_text(const char *text) {
    return text == NULL || utf8_is_valid((struct slice){(const uint8_t *)text, strlen(text)}, NULL);
}

/* What `hello` and `ops` tell of it. After op_table_add, which judged the names. */
static void check_texts_and_flags(const char *file, const struct stv_plugin *info) {
    if (!is_text(info->name) || !is_text(info->version)) {
        fatal(EXIT_BAD_PLUGIN, "%s: the plugin's name or version is not UTF-8", file);
    }
    for (size_t i = 0; i < info->op_count; i++) {
        if (!is_text(info->ops[i].doc)) {
            fatal(EXIT_BAD_PLUGIN, "%s: the doc of its op %s is not UTF-8", file, info->ops[i].name);
        }
        if ((info->ops[i].flags & ~KNOWN_FLAGS) != 0) {
            fatal(EXIT_BAD_PLUGIN, "%s: its op %s has flags that this worker does not know: %#x", file,
                  info->ops[i].name, info->ops[i].flags & ~KNOWN_FLAGS);
        }
    }
}

static void load(struct plugin *plugin, const char *file, struct op_table *ops) {
    plugin->file = file;
    plugin->info = open_file(file);
    check(file, plugin->info);
    char *wrong = op_table_add(ops, plugin->info->name, plugin->info->ops, plugin->info->op_count);
    if (wrong != NULL) {
        fatal(EXIT_BAD_PLUGIN, "%s: %s", file, wrong);
    }
    check_texts_and_flags(file, plugin->info);
    const char *refusal = plugin->info->init == NULL ? NULL : plugin->info->init();
    if (refusal != NULL) {
        fatal(EXIT_BAD_PLUGIN, "%s: the plugin refuses to start: %s", file, refusal);
    }
}

void plugins_load(struct plugins *plugins, const char *const *files, size_t count, struct op_table *ops) {
    plugins->loaded = must(calloc(count + 1, sizeof *plugins->loaded));
    for (; plugins->count < count; plugins->count++) {
        load(&plugins->loaded[plugins->count], files[plugins->count], ops);
    }
}

void plugins_finish(const struct plugins *plugins) {
    for (size_t i = plugins->count; i-- > 0;) {
        if (plugins->loaded[i].info->finish != NULL) {
            plugins->loaded[i].info->finish();
        }
    }
}

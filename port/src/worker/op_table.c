#include "op_table.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "fatal.h"

static size_t hash(const struct op_table *table, struct slice name) {
    uint32_t value = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < name.length; i++) {
        value = (value ^ name.bytes[i]) * 16777619u;
    }
    return value & (table->capacity - 1);
}

static struct slice name_of(const struct op *op) {
    return (struct slice){(const uint8_t *)op->op->name, op->name_length};
}

static void insert(struct op_table *table, size_t index) {
    size_t slot = hash(table, name_of(&table->ops[index]));
    while (table->slots[slot] != 0) {
        slot = (slot + 1) & (table->capacity - 1);
    }
    table->slots[slot] = index + 1;
}

struct op *op_table_find(const struct op_table *table, struct slice name) {
    if (table->capacity == 0) {
        return NULL;
    }
    for (size_t slot = hash(table, name); table->slots[slot] != 0;
         slot = (slot + 1) & (table->capacity - 1)) {
        struct op *op = &table->ops[table->slots[slot] - 1];
        if (op->name_length == name.length && memcmp(op->op->name, name.bytes, name.length) == 0) {
            return op;
        }
    }
    return NULL;
}

static void grow(struct op_table *table, size_t more) {
    table->ops = must(realloc(table->ops, (table->count + more) * sizeof *table->ops));
    while (table->capacity < 2 * (table->count + more)) {
        table->capacity = table->capacity == 0 ? 64 : 2 * table->capacity;
    }
    free(table->slots);
    table->slots = must(calloc(table->capacity, sizeof *table->slots));
    for (size_t i = 0; i < table->count; i++) {
        insert(table, i);
    }
}

static bool is_name(const char *name) {
    size_t length = strlen(name);
    return length > 0 && length <= 255 && name[0] >= 'a' && name[0] <= 'z' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_.") == length;
}

static char *complaint(const char *format, ...) __attribute__((format(printf, 1, 2)));

static char *complaint(const char *format, ...) {
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int length = vasprintf(&text, format, args);
    va_end(args);
    return must(length < 0 ? NULL : text);
}

static char *wrong_with(const struct op_table *table, const struct stv_op *op) {
    if (op->name == NULL || op->run == NULL) {
        return complaint("an op has no name or no function");
    }
    if (!is_name(op->name)) {
        return complaint("\"%s\" is no name for an op: a-z, 0-9, _ and dots, a letter first, at most 255",
                         op->name);
    }
    struct slice name = {(const uint8_t *)op->name, strlen(op->name)};
    const struct op *other = op_table_find(table, name);
    return other == NULL ? NULL : complaint("its op %s is already there, from %s", op->name, other->plugin);
}

char *op_table_add(struct op_table *table, const char *plugin, const struct stv_op *ops, size_t count) {
    grow(table, count);
    for (size_t i = 0; i < count; i++) {
        char *wrong = wrong_with(table, &ops[i]);
        if (wrong != NULL) {
            return wrong;
        }
        table->ops[table->count] = (struct op){
            .op = &ops[i],
            .plugin = plugin,
            .name_length = strlen(ops[i].name),
            .on_loop = (ops[i].flags & (STV_SHORT | OP_CONTROL)) != 0,
        };
        insert(table, table->count++);
    }
    return NULL;
}

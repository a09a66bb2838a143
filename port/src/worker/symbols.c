/* A file's .symtab has every function, static ones too; if it was stripped, .dynsym still has those that are
 * exported. Both are searched from end to end: that happens once in the life of a process, and an index
 * would have to be built in the lives of all others. A file may be cut short under its mapping: offsets are
 * checked against the size it had. */
#include "symbols.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MODULES_MAX 256u

struct module {
    uintptr_t base;
    uintptr_t start;
    uintptr_t end;
    const char *name;
    const uint8_t *file; /* NULL: not mapped */
    size_t size;
};

static struct module modules[MODULES_MAX];
static size_t module_count;
static char executable[PATH_MAX];

/* --- Start --- */

static void map_file(struct module *module, const char *path) {
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return; /* the kernel's vdso, or replaced meanwhile: addresses have to do */
    }
    if (fstat(fd, &status) == 0 && status.st_size > 0) {
        void *file = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (file != MAP_FAILED) {
            module->file = file;
            module->size = (size_t)status.st_size;
        }
    }
    (void)close(fd);
}

static const char *path_of_executable(void) {
    return readlink("/proc/self/exe", executable, sizeof executable - 1) > 0 ? executable : "";
}

static bool is_known(uintptr_t base) {
    for (size_t i = 0; i < module_count; i++) {
        if (modules[i].base == base) {
            return true;
        }
    }
    return false;
}

static int add_module(struct dl_phdr_info *info, size_t size, void *unused) {
    (void)size;
    (void)unused;
    if (module_count == MODULES_MAX || is_known(info->dlpi_addr)) {
        return 0;
    }
    struct module *module = &modules[module_count];
    *module = (struct module){.base = info->dlpi_addr, .start = UINTPTR_MAX, .name = info->dlpi_name};
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        uintptr_t start = info->dlpi_addr + segment->p_vaddr;
        if (segment->p_type == PT_LOAD) {
            module->start = start < module->start ? start : module->start;
            module->end = start + segment->p_memsz > module->end ? start + segment->p_memsz : module->end;
        }
    }
    if (module->name[0] == '\0') {
        module->name = path_of_executable();
    }
    map_file(module, module->name);
    module_count++;
    return 0;
}

void symbols_load(void) {
    (void)dl_iterate_phdr(add_module, NULL);
}

/* --- Search --- */

/* A part of the file as an array of `count` elements of `size`, or NULL. */
static const void *part(const struct module *module, uint64_t offset, uint64_t count, uint64_t size) {
    if (offset > module->size || count > (module->size - offset) / size || offset % 8 != 0) {
        return NULL;
    }
    return module->file + offset;
}

struct table {
    const ElfW(Sym) * symbols;
    size_t count; /* 0: there is none */
    const char *names;
    size_t names_size;
};

static struct table open_table(const struct module *module, const ElfW(Shdr) * symbols,
                               const ElfW(Shdr) * names) {
    struct table table = {.count = symbols->sh_size / sizeof *table.symbols, .names_size = names->sh_size};
    table.symbols = part(module, symbols->sh_offset, table.count, sizeof *table.symbols);
    if (table.symbols == NULL || names->sh_offset > module->size ||
        names->sh_size > module->size - names->sh_offset) {
        return (struct table){0};
    }
    table.names = (const char *)module->file + names->sh_offset;
    return table;
}

/* The fuller one of the module's symbol tables. */
static struct table find_table(const struct module *module) {
    const ElfW(Ehdr) *header = module->file == NULL ? NULL : part(module, 0, 1, sizeof *header);
    if (header == NULL || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0) {
        return (struct table){0};
    }
    const ElfW(Shdr) *sections = part(module, header->e_shoff, header->e_shnum, sizeof *sections);
    const ElfW(Shdr) *best = NULL;
    for (size_t i = 0; sections != NULL && i < header->e_shnum; i++) {
        if (sections[i].sh_type == SHT_SYMTAB || (sections[i].sh_type == SHT_DYNSYM && best == NULL)) {
            best = &sections[i];
        }
    }
    if (best == NULL || best->sh_link >= header->e_shnum) {
        return (struct table){0};
    }
    return open_table(module, best, &sections[best->sh_link]);
}

static bool covers(const ElfW(Sym) * symbol, uint64_t address) {
    return ELF64_ST_TYPE(symbol->st_info) == STT_FUNC && symbol->st_shndx != SHN_UNDEF &&
           address - symbol->st_value < symbol->st_size;
}

static void find_function(const struct module *module, struct symbol *result) {
    struct table table = find_table(module);
    for (size_t i = 0; i < table.count; i++) {
        const ElfW(Sym) *symbol = &table.symbols[i];
        if (covers(symbol, result->in_module) && symbol->st_name < table.names_size) {
            result->function = table.names + symbol->st_name;
            result->function_length = strnlen(result->function, table.names_size - symbol->st_name);
            result->in_function = result->in_module - symbol->st_value;
            return;
        }
    }
}

/* What an op has loaded since the start has a name at least. */
static struct symbol find_late_module(uintptr_t address) {
#ifdef DLFO_EH_SEGMENT_TYPE
    struct dl_find_object found;
    if (_dl_find_object((void *)address, &found) == 0) { /* NOLINT(performance-no-int-to-ptr) */
        return (struct symbol){.module = found.dlfo_link_map->l_name,
                               .function = "",
                               .in_module = address - found.dlfo_link_map->l_addr};
    }
#endif
    return (struct symbol){.in_module = address, .function = ""};
}

struct symbol symbols_find(uintptr_t address) {
    for (size_t i = 0; i < module_count; i++) {
        const struct module *module = &modules[i];
        if (address >= module->start && address < module->end) {
            struct symbol result = {
                .module = module->name, .function = "", .in_module = address - module->base};
            find_function(module, &result);
            return result;
        }
    }
    return find_late_module(address);
}

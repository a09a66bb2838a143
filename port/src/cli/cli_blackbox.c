/* The file may be cut short or be anything at all: every offset and text in it is checked. It may also be
 * that of a worker that lives, and changes meanwhile; then what is printed is a moment of it. */
#include "cli_blackbox.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "black_box.h"
#include "cli_help.h"
#include "cli_options.h"

struct file {
    const char *bytes;
    size_t size;
    const struct black_box_header *header;
    const struct black_box_thread *threads;
    const struct black_box_crash *crash;
    const char (*ops)[BLACK_BOX_OP_NAME];
    const atomic_uint_least64_t *slots;
};

/* --- The file --- */

/* `count` elements of `size` bytes at an offset of the file; NULL if they are not all in it. */
static const void *part(const struct file *file, uint64_t at, uint64_t count, size_t size) {
    bool is_inside = at % 8 == 0 && at <= file->size && count <= (file->size - at) / size;
    return is_inside ? file->bytes + at : NULL;
}

static bool take_parts(struct file *file) {
    const struct black_box_header *header = file->header = part(file, 0, 1, sizeof *header);
    if (header == NULL || memcmp(header->magic, BLACK_BOX_MAGIC, sizeof header->magic) != 0 ||
        header->version != BLACK_BOX_VERSION) {
        return false;
    }
    file->threads = part(file, header->threads_at, header->thread_count, sizeof *file->threads);
    file->crash = part(file, header->crash_at, 1, sizeof *file->crash);
    file->ops = part(file, header->ops_at, header->op_capacity, sizeof *file->ops);
    file->slots = part(file, header->slots_at, header->slot_capacity, sizeof *file->slots);
    return file->threads != NULL && file->crash != NULL && file->ops != NULL && file->slots != NULL &&
           header->slots_used <= header->slot_capacity;
}

static int open_file(struct file *file, const char *path) {
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) != 0) {
        cli_say("cannot read %s: %s", path, strerror(errno));
        return EXIT_IO;
    }
    file->size = S_ISREG(status.st_mode) ? (size_t)status.st_size : 0;
    file->bytes = file->size == 0 ? NULL : mmap(NULL, file->size, PROT_READ, MAP_SHARED, fd, 0);
    (void)close(fd);
    if (file->bytes == NULL || file->bytes == MAP_FAILED || !take_parts(file)) {
        cli_say("%s is not the black box of a worker, or of another version", path);
        return EXIT_ANSWER_IS_ERROR;
    }
    return EXIT_FINE;
}

/* --- The crash --- */

static void print_duration(uint64_t ns) {
    if (ns < 10000000u) {
        printf("%" PRIu64 " us", ns / 1000);
    } else {
        printf("%" PRIu64 " ms", ns / 1000000);
    }
}

/* What the op of a job is called; "?" if that was not noted. */
static const char *op_name(const struct file *file, uint32_t op) {
    bool is_known = op < file->header->op_capacity && file->ops[op][0] != '\0' &&
                    memchr(file->ops[op], '\0', sizeof file->ops[op]) != NULL;
    return is_known ? file->ops[op] : "?";
}

static void print_cause(const struct file *file) {
    const struct black_box_crash *crash = file->crash;
    const char *name = crash->signal == 0 ? NULL : sigabbrev_np(crash->signal);
    if (crash->signal == 0) {
        printf("crashed:  exit was called");
    } else if (crash->sender == file->header->os_pid) {
        printf("crashed:  SIG%s, which it raised itself", name == NULL ? "?" : name);
    } else if (crash->sender != 0) {
        printf("crashed:  SIG%s, sent by process %" PRIu32, name == NULL ? "?" : name, crash->sender);
    } else {
        printf("crashed:  SIG%s at 0x%" PRIx64 " (code %" PRId32 ")", name == NULL ? "?" : name,
               crash->address, crash->code);
    }
    printf(crash->thread == BLACK_BOX_NONE ? ", in a thread that runs no jobs\n"
                                           : ", on thread %" PRIu32 "\n",
           crash->thread);
}

static void print_frames(const struct black_box_crash *crash) {
    uint32_t count = crash->frame_count < NATIVE_STACK_MAX ? crash->frame_count : NATIVE_STACK_MAX;
    for (uint32_t i = 0; i < count; i++) {
        char text[NATIVE_FRAME_TEXT];
        struct native_frame frame = crash->frames[i];
        frame.function[sizeof frame.function - 1] = frame.module[sizeof frame.module - 1] = '\0';
        printf("  #%-3" PRIu32 " %s\n", i, native_frame_text(&frame, text, sizeof text));
    }
    if (crash->state != CRASH_COMPLETE) {
        puts("  (the rest of the stack could not be walked)");
    }
}

static void print_crash(const struct file *file) {
    const struct black_box_crash *crash = file->crash;
    if (crash->state != CRASH_NOTED && crash->state != CRASH_COMPLETE) {
        puts("crashed:  no (it lives, ended in order, or was killed)");
        return;
    }
    print_cause(file);
    if (crash->job == BLACK_BOX_NONE) {
        puts("culprit:  no job");
    } else {
        printf("culprit:  job %" PRIu32 ", op %.*s, after ", crash->job, (int)sizeof crash->op - 1,
               crash->op);
        print_duration(crash->ran);
        putchar('\n');
    }
    print_frames(crash);
}

/* --- What it was doing --- */

static void print_thread(const struct file *file, uint32_t number, uint64_t now) {
    const struct black_box_thread *thread = &file->threads[number];
    uint64_t job = thread->job;
    printf("thread %" PRIu32 "%s: ", number, number == 0 ? " (loop)" : "");
    if (thread->tid == 0) {
        puts("not used yet");
    } else if ((uint32_t)job == BLACK_BOX_NONE) {
        printf("idle (tid %" PRIu32 ")\n", thread->tid);
    } else {
        printf("job %" PRIu32 ", op %s", (uint32_t)job, op_name(file, (uint32_t)(job >> 32)));
        if (now > thread->since) {
            printf(", for ");
            print_duration(now - thread->since);
        }
        printf(" (tid %" PRIu32 ")\n", thread->tid);
    }
}

static void print_slots(const struct file *file) {
    size_t counts[SLOT_FLUSHED + 1] = {0};
    for (uint32_t i = 0; i < file->header->slots_used; i++) {
        uint64_t state = file->slots[i] >> 32;
        counts[state <= SLOT_FLUSHED ? state : SLOT_FREE]++;
    }
    printf("jobs:     %zu waiting, %zu running, %zu finished without their reply written\n",
           counts[SLOT_WAITING], counts[SLOT_RUNNING], counts[SLOT_FINISHED]);
}

static void print(const struct file *file) {
    printf("pid:      %" PRIu32 "\n", file->header->os_pid);
    print_crash(file);
    print_slots(file);
    for (uint32_t i = 0; i < file->header->thread_count; i++) {
        print_thread(file, i, file->crash->at); /* when it died otherwise is not known */
    }
}

/* --- The command --- */

int cli_blackbox(int argc, char **argv) {
    static const struct option table[] = {CLI_ROW_HELP, CLI_ROW_END};
    int option;
    while ((option = cli_next_option(argc, argv, table)) != CLI_OPTION_END) {
        return option == CLI_OPTION_HELP ? cli_help_print("blackbox") : EXIT_WRONG_USAGE;
    }
    if (optind + 1 != argc) {
        return cli_wrong_usage("takes one file, which a worker with --black-box has written");
    }
    struct file file = {0};
    int code = open_file(&file, argv[optind]);
    if (code == EXIT_FINE) {
        print(&file);
        code = cli_finish_output(EXIT_FINE);
    }
    return code;
}

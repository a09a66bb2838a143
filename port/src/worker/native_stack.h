/* native_stack: where a thread is, as the names of the functions it is in.
 *
 * Walking and naming are async-signal-safe: no memory is asked for, no lock taken, no file opened (symbols.h
 * has mapped what it takes). */
#ifndef NATIVE_STACK_H
#define NATIVE_STACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define NATIVE_STACK_MAX  64u  /* frames that are kept */
#define NATIVE_FRAME_TEXT 256u /* bytes that hold the text of any frame */

/* Also a part of the black box's file (PROTOCOL §12). */
struct native_frame {
    uint64_t pc;
    uint64_t offset;   /* in the function; without one in the module; without both the pc */
    char function[96]; /* "" if it is not known, else NUL-terminated; cut off if longer */
    char module[80];   /* the file's base name; "" if it is not known */
};

/* Makes ready: the unwinder, and the signal that native_stack_of sends. Main thread, once. */
void native_stack_start(void);

/* Takes the stack of a thread of this process, innermost function first. Returns how many frames; 0 if the
 * thread is gone or does not answer within the time. Blocks so long. The thread is interrupted by a signal
 * for some microseconds, its system calls go on. Thread: loop. */
size_t native_stack_of(pid_t tid, struct native_frame *frames, size_t max, unsigned timeout_ms);

/* "function+0x12 (module)", "module+0x1234" or "0x1234"; returns `text`. Thread: any (pure). */
const char *native_frame_text(const struct native_frame *frame, char *text, size_t size);

/* --- For signal handlers: */

/* Calls `visit` for each frame, innermost first, until it returns false. `context` is what the handler got as
 * its third argument: the walk begins where the signal struck. NULL: it begins in the caller. */
void native_stack_walk(void *context, bool (*visit)(void *data, uintptr_t pc, bool is_return), void *data);

/* Names the place. `is_return`: pc is where a call returns to, which may be the first byte of another
 * function. */
void native_frame_name(struct native_frame *frame, uintptr_t pc, bool is_return);

#endif

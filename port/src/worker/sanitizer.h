/* sanitizer: keeps the sanitizers of test builds useful although the worker moves its stderr and leaves by
 * _exit. Nothing in others. */
#ifndef SANITIZER_H
#define SANITIZER_H

#include <stdbool.h>
#include <stdint.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) && !defined(__SANITIZE_ADDRESS__)
#define __SANITIZE_ADDRESS__ 1
#endif
#if __has_feature(thread_sanitizer) && !defined(__SANITIZE_THREAD__)
#define __SANITIZE_THREAD__ 1
#endif
#endif

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif

/* Reports go to this descriptor. */
static inline void sanitizer_report_to(int fd) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    __sanitizer_set_report_fd((void *)(intptr_t)fd); /* NOLINT(performance-no-int-to-ptr): its interface */
#else
    (void)fd;
#endif
}

/* True, and reported, if memory was lost. */
static inline bool sanitizer_found_leak(void) {
#ifdef __SANITIZE_ADDRESS__
    return __lsan_do_recoverable_leak_check() != 0;
#else
    return false;
#endif
}

#endif

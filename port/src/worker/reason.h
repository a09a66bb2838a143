/* reason: why something could not be done, as a text for people. Thread: any. */
#ifndef REASON_H
#define REASON_H

/* A text made by printf that the caller frees, or keeps for as long as the process lives. */
char *reason(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif

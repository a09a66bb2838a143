/* exit_code: what the process's exit codes mean (PROTOCOL §11.1). No code means two things; small ones are
 * avoided because a failed exec shows as errno there. */
#ifndef EXIT_CODE_H
#define EXIT_CODE_H

enum exit_code {
    EXIT_FINE = 0,
    EXIT_ANSWER_IS_ERROR = 1,
    EXIT_WRONG_USAGE = 64,
    EXIT_BROKEN_STREAM = 65,
    EXIT_BAD_PLUGIN = 69,
    EXIT_BUG = 70,
    EXIT_NO_RESOURCES = 71,
    EXIT_IO = 74,
    EXIT_WATCHDOG = 75,
    EXIT_CALLED = 76,
    EXIT_NO_MEMORY = 77,
};

#endif

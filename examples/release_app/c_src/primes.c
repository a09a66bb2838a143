/* `primes.count` counts the primes below a number, by trial division: slow on purpose. It shows what an op
 * that takes long owes to everybody: it looks now and then whether it is to stop, and says how far it is. */
#include <stevedore.h>

static bool is_prime(int64_t number) {
    if (number % 2 == 0) {
        return number == 2;
    }
    for (int64_t divisor = 3; divisor <= number / divisor; divisor += 2) {
        if (number % divisor == 0) {
            return false;
        }
    }
    return number > 1;
}

static enum stv_status run_count(struct stv_job *job) {
    int64_t below, count = 0;
    if (!stv_arg_int(job, "below", &below) || below < 0) {
        return stv_bad_arg(job, "below", "an integer that is not negative");
    }
    for (int64_t number = 2; number < below; number++) {
        if (number % 1024 == 0) {
            stv_progress(job, (uint64_t)number, (uint64_t)below);
            if (stv_should_stop(job)) {
                return STV_STOPPED;
            }
        }
        count += is_prime(number);
    }
    return stv_reply_int(job, count);
}

static const struct stv_op ops[] = {
    {"primes.count", run_count, "How many primes there are below the integer `below`.", STV_IDEMPOTENT},
};

STV_PLUGIN("primes", "1.0.0", ops);

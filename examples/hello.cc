// A plugin in C++: `hello.greet` greets a list of people.
//
// The one rule that C++ adds: no exception may leave an op, because its caller is C. So the op itself is an
// ordinary function that may throw, and `guarded` is what the worker calls.
#include <exception>
#include <new>
#include <string>

#include <stevedore.h>

namespace {

std::string greeting(const stv_term *people) {
    std::string text = "Hello";
    for (size_t i = 0; i < stv_count(people); i++) {
        stv_bytes name;
        if (!stv_term_bytes(stv_item(people, i), &name)) {
            continue;
        }
        text += i == 0 ? " " : ", ";
        text.append(reinterpret_cast<const char *>(name.data), name.size);
    }
    return text + "!";
}

stv_status greet(stv_job *job) {
    const stv_term *people = stv_arg(job, "people");
    if (!people || stv_type(people) != STV_LIST) {
        return stv_bad_arg(job, "people", "a list of names");
    }
    return stv_reply_text(job, greeting(people).c_str());
}

template <stv_status (*run)(stv_job *)> stv_status guarded(stv_job *job) noexcept {
    try {
        return run(job);
    } catch (const std::bad_alloc &) {
        return stv_no_memory(job);
    } catch (const std::exception &error) {
        return stv_fail(job, "exception", "%s", error.what());
    } catch (...) {
        return stv_fail(job, "exception", "something that is no std::exception was thrown");
    }
}

const stv_op ops[] = {
    {"hello.greet", guarded<greet>, "Greets `people`, a list of names.", STV_SHORT | STV_IDEMPOTENT},
};

} // namespace

STV_PLUGIN("hello", "1.0.0", ops);

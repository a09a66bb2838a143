/* A first plugin: `text.count` counts the lines, words and bytes of a text.
 *
 * It shows what most ops are made of: read the arguments, refuse what is wrong, work in pieces, look between
 * them whether to stop, tell how far it got, compose a reply. docs/guides/writing_an_op.md goes through it.
 */
#include <stevedore.h>

struct counts {
    int64_t lines;
    int64_t words;
    bool in_word;
};

static bool is_space(unsigned char byte) {
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

static void count(struct counts *counts, const unsigned char *text, size_t size) {
    for (size_t i = 0; i < size; i++) {
        bool was_in_word = counts->in_word;
        counts->in_word = !is_space(text[i]);
        counts->words += counts->in_word && !was_in_word;
        counts->lines += text[i] == '\n';
    }
}

static enum stv_status reply_counts(struct stv_job *job, const struct counts *counts, size_t bytes) {
    stv_put_map(job, 3);
    stv_put_text(job, "lines");
    stv_put_int(job, counts->lines);
    stv_put_text(job, "words");
    stv_put_int(job, counts->words);
    stv_put_text(job, "bytes");
    stv_put_uint(job, bytes);
    return STV_OK;
}

static enum stv_status run_count(struct stv_job *job) {
    const size_t piece = 256 * 1024; /* well under a millisecond of work */
    struct stv_bytes text;
    if (!stv_arg_bytes(job, "text", &text)) {
        return stv_bad_arg(job, "text", "a binary");
    }
    struct counts counts = {0};
    for (size_t done = 0; done < text.size; done += piece) {
        stv_progress(job, done, text.size);
        if (stv_should_stop(job)) {
            return STV_STOPPED;
        }
        size_t left = text.size - done;
        count(&counts, text.data + done, left < piece ? left : piece);
    }
    return reply_counts(job, &counts, text.size);
}

static const struct stv_op ops[] = {
    {"text.count", run_count, "Counts the `lines`, `words` and `bytes` of the binary `text`.",
     STV_IDEMPOTENT},
};

STV_PLUGIN("text", "1.0.0", ops);

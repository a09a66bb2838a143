#include "queue.h"

#include "job.h"

void queue_init(struct queue *queue, size_t max_jobs, size_t max_bytes) {
    *queue = (struct queue){.max_jobs = max_jobs, .max_bytes = max_bytes};
    for (size_t i = 0; i < MESSAGE_PRIORITIES; i++) {
        list_init(&queue->waiting[i]);
    }
}

const char *queue_refuses(const struct queue *queue, size_t bytes) {
    if (queue->jobs >= queue->max_jobs) {
        return "jobs";
    }
    return bytes > queue->max_bytes - queue->bytes ? "bytes" : NULL;
}

void queue_push(struct queue *queue, struct stv_job *job) {
    list_append(&queue->waiting[job->priority], &job->node);
    queue->jobs++;
    queue->bytes += job->encoded_args.length;
}

void queue_remove(struct queue *queue, struct stv_job *job) {
    list_remove(&job->node);
    queue->jobs--;
    queue->bytes -= job->encoded_args.length;
}

struct stv_job *queue_take(struct queue *queue) {
    for (size_t i = 0; queue->jobs > 0 && i < MESSAGE_PRIORITIES; i++) {
        if (!list_is_empty(&queue->waiting[i])) {
            struct stv_job *job = list_entry(queue->waiting[i].next, struct stv_job, node);
            queue_remove(queue, job);
            return job;
        }
    }
    return NULL;
}

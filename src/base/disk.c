/* base/disk.c: the disk threads: one queue, first in, first out; a job's end travels to its loop by
 * mail. With several threads two jobs of one owner may run side by side: an owner that needs order
 * submits the next job when the last is done. */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "base/loop.h"
#include "base/memory.h"

struct mr_disk {
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct mr_task *first, **last;
    bool ending;
    int thread_count;
    pthread_t threads[];
};

/* A disk thread's own buffer; made when it is first asked for. */
static _Thread_local void *scratch;

void *mr_disk_scratch(void)
{
    if (scratch == NULL) {
        scratch = aligned_alloc(4096, MR_DISK_SCRATCH_BYTES);
        mr_assert(scratch != NULL);
    }
    return scratch;
}

static void job_done(struct mr_task *task)
{
    struct mr_job *job = mr_container(task, struct mr_job, task);
    job->done(job);
}

static void *thread_main(void *argument)
{
    struct mr_disk *disk = argument;
    pthread_mutex_lock(&disk->lock);
    for (;;) {
        struct mr_task *task = disk->first;
        if (task == NULL && disk->ending)
            break;
        if (task == NULL) {
            pthread_cond_wait(&disk->work, &disk->lock);
            continue;
        }
        disk->first = task->next;
        if (disk->first == NULL)
            disk->last = &disk->first;
        pthread_mutex_unlock(&disk->lock);
        struct mr_job *job = mr_container(task, struct mr_job, task);
        bool waited = job->done != NULL; /* with nobody waiting, the job may free itself */
        task->queued = false;
        job->work(job);
        if (waited) {
            task->run = job_done;
            mr_loop_post(job->loop, task);
        }
        pthread_mutex_lock(&disk->lock);
    }
    pthread_mutex_unlock(&disk->lock);
    free(scratch);
    scratch = NULL;
    return NULL;
}

struct mr_disk *mr_disk_new(int thread_count)
{
    mr_assert(thread_count > 0);
    struct mr_disk *disk = mr_alloc_zero(
        1, sizeof(struct mr_disk) + mr_size_product((size_t)thread_count, sizeof(pthread_t)));
    sigset_t all, before;
    pthread_mutex_init(&disk->lock, NULL);
    pthread_cond_init(&disk->work, NULL);
    disk->last = &disk->first;
    sigfillset(&all); /* signals are the main thread's */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (int i = 0; i < thread_count; i++) {
        int failed = pthread_create(&disk->threads[i], NULL, thread_main, disk);
        mr_assert(failed == 0);
        pthread_setname_np(disk->threads[i], "disk");
        disk->thread_count++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return disk;
}

void mr_disk_free(struct mr_disk *disk)
{
    if (disk == NULL)
        return;
    pthread_mutex_lock(&disk->lock);
    disk->ending = true;
    pthread_cond_broadcast(&disk->work);
    pthread_mutex_unlock(&disk->lock);
    for (int i = 0; i < disk->thread_count; i++)
        pthread_join(disk->threads[i], NULL);
    pthread_cond_destroy(&disk->work);
    pthread_mutex_destroy(&disk->lock);
    mr_free(disk);
}

void mr_disk_submit(struct mr_disk *disk, struct mr_job *job)
{
    mr_assert(!job->task.queued && (job->done == NULL || job->loop != NULL));
    job->task.queued = true;
    job->task.next = NULL;
    pthread_mutex_lock(&disk->lock);
    *disk->last = &job->task;
    disk->last = &job->task.next;
    pthread_cond_signal(&disk->work);
    pthread_mutex_unlock(&disk->lock);
}

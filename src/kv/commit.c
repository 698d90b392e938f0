/* kv/commit.c: group commit. Two queues: `running` waits for the flush that is under way, `waiting`
 * for the next one; the job moves from one to the other. Only the loop touches them. */
#include "kv/kv.h"

struct kv_commits {
    struct mr_loop *loop;
    struct mr_disk *disk;
    struct kv_db *db;
    bool sync, busy;
    struct mr_job job;
    struct mr_task turn_end; /* all of a turn share one flush */
    struct kv_commit *running;
    struct kv_commit *waiting, **waiting_last;
    mr_err err;
    char *why;
};

static void begin(struct kv_commits *commits)
{
    if (commits->busy || commits->waiting == NULL)
        return;
    commits->busy = true;
    commits->running = commits->waiting;
    commits->waiting = NULL;
    commits->waiting_last = &commits->waiting;
    mr_disk_submit(commits->disk, &commits->job);
}

/* On a disk thread. */
static void flush_work(struct mr_job *job)
{
    struct kv_commits *commits = mr_container(job, struct kv_commits, job);
    commits->err = kv_flush_wal(commits->db, commits->sync);
    if (commits->err != MR_OK)
        commits->why = mr_copy_cstr(mr_str_from(mr_why()));
}

static void flush_done(struct mr_job *job)
{
    struct kv_commits *commits = mr_container(job, struct kv_commits, job);
    struct kv_commit *commit = commits->running;
    mr_err err = commits->err;
    char *why = commits->why;
    commits->running = NULL;
    commits->why = NULL;
    commits->busy = false;
    begin(commits);
    while (commit != NULL) {
        struct kv_commit *next = commit->next;
        if (err != MR_OK)
            mr_fail(err, "%s", why);
        commit->next = NULL;
        commit->done(commit, err); /* the last one may free `commits` */
        commit = next;
    }
    mr_free(why);
}

static void turn_end(struct mr_task *task)
{
    begin(mr_container(task, struct kv_commits, turn_end));
}

struct kv_commits *kv_commits_new(struct mr_loop *loop, struct mr_disk *disk, struct kv_db *db,
                                  bool sync)
{
    struct kv_commits *commits = mr_new(struct kv_commits);
    commits->loop = loop;
    commits->disk = disk;
    commits->db = db;
    commits->sync = sync;
    commits->job = (struct mr_job){.work = flush_work, .done = flush_done, .loop = loop};
    commits->turn_end.run = turn_end;
    commits->waiting_last = &commits->waiting;
    return commits;
}

bool kv_commits_idle(const struct kv_commits *commits)
{
    return !commits->busy && commits->waiting == NULL;
}

void kv_commits_free(struct kv_commits *commits)
{
    if (commits == NULL)
        return;
    mr_assert(kv_commits_idle(commits));
    mr_free(commits);
}

void kv_commits_wait(struct kv_commits *commits, struct kv_commit *commit)
{
    commit->next = NULL;
    *commits->waiting_last = commit;
    commits->waiting_last = &commit->next;
    mr_loop_at_turn_end(commits->loop, &commits->turn_end);
}

/* base/loop.h: one thread's event loop: descriptors (epoll), timers (heap), a mailbox (eventfd).
 * A loop owns its things and shares nothing. Everything here is called on the loop's own thread
 * unless it says "Thread: any". All nodes (task, timer, watch) are embedded in their owner's struct;
 * find the owner with mr_container(). */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include <stdint.h>
#include <sys/epoll.h>

#include "base/clock.h"
#include "base/error.h"

struct mr_loop;

/* Something to run once. A task is in at most one queue at a time. */
struct mr_task {
    void (*run)(struct mr_task *task);
    struct mr_task *next; /* the queue's */
    bool queued;          /* the queue's */
};
struct mr_timer {
    void (*run)(struct mr_timer *timer);
    struct mr_loop *loop; /* NULL while stopped */
    int64_t due_us;       /* monotonic */
    size_t heap_index;
};
struct mr_watch {
    void (*ready)(struct mr_watch *watch, uint32_t events); /* EPOLLIN, EPOLLOUT, ... */
    int fd;
    uint32_t events; /* 0 while not watched */
};

/* `name` (a literal) shows in logs and as the thread's name. `clock` NULL: the real one. */
struct mr_loop *mr_loop_new(const char *name, struct mr_clock *clock);
void mr_loop_free(struct mr_loop *loop); /* not running; accepts NULL */
/* Runs on the calling thread until mr_loop_stop(). */
void mr_loop_run(struct mr_loop *loop);
/* One turn for tests: what is ready now, due timers, mail. Waits at most wait_us (0: not at all). */
void mr_loop_turn(struct mr_loop *loop, int64_t wait_us);
/* Thread: any. The loop returns from mr_loop_run() after its present turn. */
void mr_loop_stop(struct mr_loop *loop);
/* Starts a thread of its own that runs the loop; mr_loop_join() waits for its end. Thread: any. */
mr_err mr_loop_start(struct mr_loop *loop);
void mr_loop_join(struct mr_loop *loop);
struct mr_clock *mr_loop_clock(struct mr_loop *loop);
struct mr_random *mr_loop_random(struct mr_loop *loop);
int64_t mr_loop_now_us(struct mr_loop *loop); /* monotonic, cheap: read once a turn */
const char *mr_loop_name(const struct mr_loop *loop);
bool mr_loop_is_mine(const struct mr_loop *loop); /* whether this thread runs it now */

/* Mail: runs `task` on the loop, in order of posting. Thread: any. The task moves to the loop. */
void mr_loop_post(struct mr_loop *loop, struct mr_task *task);
/* Runs `task` at the end of the present turn, after all that was ready: flushes, group commits.
 * No effect when it is queued already. */
void mr_loop_at_turn_end(struct mr_loop *loop, struct mr_task *task);

void mr_timer_start(struct mr_loop *loop, struct mr_timer *timer,
                    int64_t delay_us);      /* restarts a running one */
void mr_timer_stop(struct mr_timer *timer); /* accepts a stopped one */

/* Level-triggered. events = 0 stops watching (before the descriptor is closed). */
mr_err mr_watch_set(struct mr_loop *loop, struct mr_watch *watch, uint32_t events);

/* ---- disk threads: what waits for a disk and never for a peer ---- */
struct mr_disk;
struct mr_job {
    void (*work)(struct mr_job *job); /* on a disk thread */
    void (*done)(struct mr_job *job); /* then on `loop`; may free the job. NULL: nobody waits */
    struct mr_loop *loop;
    struct mr_task task; /* the queue's */
};
struct mr_disk *mr_disk_new(int thread_count);
void mr_disk_free(struct mr_disk *disk); /* finishes what is queued; accepts NULL */
void mr_disk_submit(struct mr_disk *disk, struct mr_job *job); /* Thread: any */
/* A buffer of this disk thread's own, aligned for direct transfers, until the job ends. Thread: disk. */
enum { MR_DISK_SCRATCH_BYTES = 1 << 20 };
void *mr_disk_scratch(void);

#endif

/* base/loop.c: one thread's event loop.
 *
 * A turn: wait -> ready descriptors -> due timers -> mail -> turn-end tasks. `now_us` is read once
 * after the wait. Timers are a binary heap by due time. Mail is a stack that any thread pushes by
 * compare-and-swap and the loop takes whole, reversed into the order of posting; only the push onto an
 * empty stack writes the eventfd. A watch that is taken away in mid-turn is struck out of the events
 * still to be told, so its owner may be freed at once. */
#include "base/loop.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/file.h"
#include "base/map.h"

enum {
    EVENTS_MAX = 256,
    TURN_END_PASSES = 4, /* a turn-end task may queue another: so often in one turn */
    WAIT_MS_MAX = 60000,
};

struct mr_loop {
    const char *name;
    struct mr_clock own_clock;
    struct mr_clock *clock;
    struct mr_random random;
    int64_t now_us;
    int epoll_fd;
    struct mr_watch mail_watch;
    _Atomic(struct mr_task *) mail; /* newest first */
    struct mr_task *ends, **ends_last;
    struct mr_timer **timers; /* the heap */
    size_t timer_count, timer_capacity;
    struct epoll_event events[EVENTS_MAX];
    int event_at, event_count; /* of the present turn */
    atomic_bool stopping;
    pthread_t thread;
    bool threaded;
};

static _Thread_local struct mr_loop *current; /* the loop that this thread runs now */

/* ---- timers ---- */

static void heap_put(struct mr_loop *loop, size_t index, struct mr_timer *timer)
{
    loop->timers[index] = timer;
    timer->heap_index = index;
}

static void heap_up(struct mr_loop *loop, size_t index)
{
    struct mr_timer *timer = loop->timers[index];
    while (index > 0 && loop->timers[(index - 1) / 2]->due_us > timer->due_us) {
        heap_put(loop, index, loop->timers[(index - 1) / 2]);
        index = (index - 1) / 2;
    }
    heap_put(loop, index, timer);
}

static void heap_down(struct mr_loop *loop, size_t index)
{
    struct mr_timer *timer = loop->timers[index];
    for (;;) {
        size_t child = 2 * index + 1;
        if (child >= loop->timer_count)
            break;
        if (child + 1 < loop->timer_count &&
            loop->timers[child + 1]->due_us < loop->timers[child]->due_us)
            child++;
        if (loop->timers[child]->due_us >= timer->due_us)
            break;
        heap_put(loop, index, loop->timers[child]);
        index = child;
    }
    heap_put(loop, index, timer);
}

void mr_timer_stop(struct mr_timer *timer)
{
    struct mr_loop *loop = timer->loop;
    if (loop == NULL)
        return;
    size_t index = timer->heap_index;
    mr_assert(index < loop->timer_count && loop->timers[index] == timer);
    struct mr_timer *last = loop->timers[--loop->timer_count];
    timer->loop = NULL;
    if (last == timer)
        return;
    heap_put(loop, index, last);
    heap_up(loop, index);
    heap_down(loop, last->heap_index);
}

void mr_timer_start(struct mr_loop *loop, struct mr_timer *timer, int64_t delay_us)
{
    mr_timer_stop(timer);
    if (current != loop)
        loop->now_us = mr_clock_mono_us(loop->clock);
    delay_us = delay_us < 0 ? 0 : delay_us;
    timer->due_us = delay_us > INT64_MAX - loop->now_us ? INT64_MAX : loop->now_us + delay_us;
    timer->loop = loop;
    loop->timers = mr_array_room(loop->timers, loop->timer_count, &loop->timer_capacity,
                                 sizeof(struct mr_timer *));
    loop->timers[loop->timer_count++] = timer;
    heap_up(loop, loop->timer_count - 1);
}

/* A timer that starts itself anew without delay comes in the next turn: one round is bounded. */
static void timers_run(struct mr_loop *loop)
{
    for (size_t left = loop->timer_count; left > 0 && loop->timer_count > 0; left--) {
        struct mr_timer *timer = loop->timers[0];
        if (timer->due_us > loop->now_us)
            return;
        mr_timer_stop(timer);
        timer->run(timer);
    }
}

/* ---- mail and turn ends ---- */

static void wake(struct mr_loop *loop)
{
    uint64_t one = 1;
    ssize_t written = write(loop->mail_watch.fd, &one, sizeof one);
    mr_assert(written == sizeof one || errno == EAGAIN);
}

void mr_loop_post(struct mr_loop *loop, struct mr_task *task)
{
    mr_assert(!task->queued);
    task->queued = true;
    struct mr_task *newest = atomic_load_explicit(&loop->mail, memory_order_relaxed);
    do
        task->next = newest;
    while (!atomic_compare_exchange_weak_explicit(&loop->mail, &newest, task, memory_order_acq_rel,
                                                  memory_order_relaxed));
    if (newest == NULL) /* from here on the task may be run and freed */
        wake(loop);
}

static void mail_run(struct mr_loop *loop)
{
    struct mr_task *newest = atomic_exchange_explicit(&loop->mail, NULL, memory_order_acq_rel);
    struct mr_task *oldest = NULL;
    while (newest != NULL) {
        struct mr_task *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest != NULL) {
        struct mr_task *task = oldest;
        oldest = task->next;
        task->next = NULL;
        task->queued = false;
        task->run(task);
    }
}

static void mail_ready(struct mr_watch *watch, uint32_t events)
{
    uint64_t count = 0;
    ssize_t got = read(watch->fd, &count, sizeof count); /* the turn runs the mail later on */
    mr_assert((events & EPOLLIN) != 0 && (got == sizeof count || errno == EAGAIN));
}

void mr_loop_at_turn_end(struct mr_loop *loop, struct mr_task *task)
{
    if (task->queued)
        return;
    task->queued = true;
    task->next = NULL;
    *loop->ends_last = task;
    loop->ends_last = &task->next;
}

static void ends_run(struct mr_loop *loop)
{
    for (int pass = 0; pass < TURN_END_PASSES && loop->ends != NULL; pass++) {
        struct mr_task *task = loop->ends;
        loop->ends = NULL;
        loop->ends_last = &loop->ends;
        while (task != NULL) {
            struct mr_task *next = task->next;
            task->next = NULL;
            task->queued = false;
            task->run(task);
            task = next;
        }
    }
}

/* ---- descriptors ---- */

mr_err mr_watch_set(struct mr_loop *loop, struct mr_watch *watch, uint32_t events)
{
    if (watch->events == events)
        return MR_OK;
    int operation = watch->events == 0 ? EPOLL_CTL_ADD
                    : events == 0      ? EPOLL_CTL_DEL
                                       : EPOLL_CTL_MOD;
    struct epoll_event wish = {.events = events, .data.ptr = watch};
    if (epoll_ctl(loop->epoll_fd, operation, watch->fd, &wish) < 0)
        return mr_fail(mr_err_from_errno(errno), "watching descriptor %d: %s", watch->fd,
                       strerror(errno));
    watch->events = events;
    if (events == 0)
        for (int i = loop->event_at; i < loop->event_count; i++)
            if (loop->events[i].data.ptr == watch)
                loop->events[i].data.ptr = NULL;
    return MR_OK;
}

static void events_run(struct mr_loop *loop)
{
    while (loop->event_at < loop->event_count) {
        struct epoll_event *event = &loop->events[loop->event_at++];
        struct mr_watch *watch = event->data.ptr;
        if (watch != NULL)
            watch->ready(watch, event->events);
    }
    loop->event_at = loop->event_count = 0;
}

/* ---- turns ---- */

/* Milliseconds until the next timer, rounded up, at most `wait_us`. On a manual clock no time passes
 * by waiting, so only what is due counts. */
static int wait_ms(struct mr_loop *loop, int64_t wait_us)
{
    if (loop->ends != NULL || atomic_load_explicit(&loop->mail, memory_order_relaxed) != NULL)
        return 0;
    if (loop->timer_count > 0) {
        int64_t until_us = loop->timers[0]->due_us - mr_clock_mono_us(loop->clock);
        if (until_us <= 0)
            return 0;
        if (!loop->clock->manual && until_us < wait_us)
            wait_us = until_us;
    }
    int64_t ms = wait_us / 1000 + (wait_us % 1000 != 0);
    return ms > WAIT_MS_MAX ? WAIT_MS_MAX : (int)ms;
}

static void turn(struct mr_loop *loop, int64_t wait_us)
{
    int count = epoll_wait(loop->epoll_fd, loop->events, EVENTS_MAX, wait_ms(loop, wait_us));
    mr_assert(count >= 0 || errno == EINTR);
    loop->now_us = mr_clock_mono_us(loop->clock);
    loop->event_at = 0;
    loop->event_count = count < 0 ? 0 : count;
    events_run(loop);
    timers_run(loop);
    mail_run(loop);
    ends_run(loop);
}

void mr_loop_turn(struct mr_loop *loop, int64_t wait_us)
{
    struct mr_loop *before = current;
    mr_assert(before != loop);
    current = loop;
    turn(loop, wait_us);
    current = before;
}

void mr_loop_run(struct mr_loop *loop)
{
    struct mr_loop *before = current;
    mr_assert(before != loop);
    current = loop;
    while (!atomic_load_explicit(&loop->stopping, memory_order_acquire))
        turn(loop, INT64_MAX);
    atomic_store_explicit(&loop->stopping, false, memory_order_release);
    current = before;
}

void mr_loop_stop(struct mr_loop *loop)
{
    atomic_store_explicit(&loop->stopping, true, memory_order_release);
    wake(loop);
}

/* ---- life ---- */

struct mr_loop *mr_loop_new(const char *name, struct mr_clock *clock)
{
    struct mr_loop *loop = mr_new(struct mr_loop);
    uint64_t seed = 0;
    signal(SIGPIPE, SIG_IGN); /* a peer that has gone is an error of write(), not our end */
    signal(SIGXFSZ, SIG_IGN); /* so is a limit on the size of files */
    loop->name = name;
    mr_clock_init(&loop->own_clock);
    loop->clock = clock == NULL ? &loop->own_clock : clock;
    if (!loop->clock->manual)
        mr_entropy(&seed, sizeof seed);
    mr_random_init(&loop->random, seed);
    loop->now_us = mr_clock_mono_us(loop->clock);
    loop->ends_last = &loop->ends;
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->mail_watch.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    loop->mail_watch.ready = mail_ready;
    mr_assert(loop->epoll_fd >= 0 && loop->mail_watch.fd >= 0);
    mr_err err = mr_watch_set(loop, &loop->mail_watch, EPOLLIN);
    mr_assert(err == MR_OK);
    return loop;
}

void mr_loop_free(struct mr_loop *loop)
{
    if (loop == NULL)
        return;
    mr_assert(!loop->threaded && current != loop);
    for (size_t i = 0; i < loop->timer_count; i++)
        loop->timers[i]->loop = NULL;
    mr_fd_close(loop->mail_watch.fd);
    mr_fd_close(loop->epoll_fd);
    mr_free(loop->timers);
    mr_free(loop);
}

static void *thread_main(void *argument)
{
    mr_loop_run(argument);
    return NULL;
}

mr_err mr_loop_start(struct mr_loop *loop)
{
    sigset_t all, before;
    mr_assert(!loop->threaded);
    sigfillset(&all); /* signals are the main thread's */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&loop->thread, NULL, thread_main, loop);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed != 0)
        return mr_fail(MR_LIMIT, "a thread for loop %s: %s", loop->name, strerror(failed));
    pthread_setname_np(loop->thread, loop->name);
    loop->threaded = true;
    return MR_OK;
}

void mr_loop_join(struct mr_loop *loop)
{
    if (!loop->threaded)
        return;
    pthread_join(loop->thread, NULL);
    loop->threaded = false;
}

struct mr_clock *mr_loop_clock(struct mr_loop *loop)
{
    return loop->clock;
}

struct mr_random *mr_loop_random(struct mr_loop *loop)
{
    return &loop->random;
}

int64_t mr_loop_now_us(struct mr_loop *loop)
{
    if (current != loop) /* between turns, and before the first */
        loop->now_us = mr_clock_mono_us(loop->clock);
    return loop->now_us;
}

const char *mr_loop_name(const struct mr_loop *loop)
{
    return loop->name;
}

bool mr_loop_is_mine(const struct mr_loop *loop)
{
    return current == loop;
}

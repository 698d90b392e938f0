/* base/loop_test.c: the promises of base/loop.h: timers by the clock, mail in order, turn ends,
 * watches, disk threads. */
#include "story.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

static char told[256]; /* what happened, a letter each */
static size_t told_count;

static void tell(char what)
{
    expect(told_count + 1 < sizeof told);
    told[told_count++] = what;
    told[told_count] = '\0';
}

struct letter_timer {
    struct mr_timer timer;
    char letter;
    struct mr_loop *again; /* starts itself anew on this loop */
};

static void letter_due(struct mr_timer *timer)
{
    struct letter_timer *mine = mr_container(timer, struct letter_timer, timer);
    tell(mine->letter);
    if (mine->again != NULL)
        mr_timer_start(mine->again, timer, 0);
}

STORY("timers fire in the order of their times, when the clock says so")
{
    struct mr_clock clock;
    mr_clock_init_manual(&clock, 0);
    struct mr_loop *loop = mr_loop_new("test", &clock);
    struct letter_timer timers[5];
    for (int i = 0; i < 5; i++) {
        timers[i] = (struct letter_timer){.timer.run = letter_due, .letter = (char)('a' + i)};
        mr_timer_start(loop, &timers[i].timer, (5 - i) * 1000000);
    }
    mr_loop_turn(loop, 0);
    expect_str(mr_str_from(told), MR_STR(""));
    mr_timer_stop(&timers[2].timer);
    mr_timer_stop(&timers[2].timer);
    mr_clock_pass(&clock, 3999999);
    mr_loop_turn(loop, 0);
    expect_str(mr_str_from(told), MR_STR("ed"));
    mr_timer_start(loop, &timers[0].timer, 7 * 86400 * 1000000LL);
    mr_clock_pass(&clock, 1);
    mr_loop_turn(loop, 0);
    expect_str(mr_str_from(told), MR_STR("edb"));
    mr_clock_pass(&clock, 7 * 86400 * 1000000LL);
    mr_loop_turn(loop, 0);
    expect_str(mr_str_from(told), MR_STR("edba"));
    mr_loop_free(loop);
}

STORY("a thousand timers in any order fire sorted")
{
    static struct letter_timer timers[1000];
    struct mr_clock clock;
    mr_clock_init_manual(&clock, 0);
    struct mr_loop *loop = mr_loop_new("test", &clock);
    for (int i = 0; i < 1000; i++) {
        timers[i].timer.run = letter_due;
        mr_timer_start(loop, &timers[i].timer, (int64_t)mr_random_below(mr_loop_random(loop), 500));
    }
    for (int i = 0; i < 1000; i += 3)
        mr_timer_stop(&timers[i].timer);
    for (int us = 0; us < 500; us++) {
        told_count = 0;
        mr_loop_turn(loop, 0);
        for (int i = 0; i < 1000; i++)
            if (i % 3 != 0)
                expect((timers[i].timer.loop == NULL) == (timers[i].timer.due_us <= clock.mono_us));
        mr_clock_pass(&clock, 1);
    }
    mr_loop_free(loop);
}

STORY("a timer that starts itself anew without delay does not hold up the turn")
{
    struct mr_loop *loop = mr_loop_new("test", NULL);
    struct letter_timer timer = {.timer.run = letter_due, .letter = 'x', .again = loop};
    mr_timer_start(loop, &timer.timer, 0);
    mr_loop_turn(loop, 0);
    mr_loop_turn(loop, 0);
    expect_str(mr_str_from(told), MR_STR("xx"));
    mr_loop_free(loop);
}

/* ---- mail ---- */

enum { MAIL_COUNT = 20000 };
struct numbered {
    struct mr_task task;
    int sender, number;
};
static int last_of_sender[2] = {-1, -1};
static int mail_got;
static struct mr_loop *mail_to;

static void numbered_run(struct mr_task *task)
{
    struct numbered *mail = mr_container(task, struct numbered, task);
    expect(mr_loop_is_mine(mail_to));
    expect_int(mail->number, last_of_sender[mail->sender] + 1);
    last_of_sender[mail->sender] = mail->number;
    mr_free(mail);
    if (++mail_got == 2 * MAIL_COUNT)
        mr_loop_stop(mail_to);
}

struct sender {
    struct mr_task task;
    int number;
};

static void sender_run(struct mr_task *task)
{
    struct sender *sender = mr_container(task, struct sender, task);
    for (int i = 0; i < MAIL_COUNT; i++) {
        struct numbered *mail = mr_new(struct numbered);
        *mail = (struct numbered){.task.run = numbered_run, .sender = sender->number, .number = i};
        mr_loop_post(mail_to, &mail->task);
    }
}

STORY("mail from two threads arrives whole, and each sender's in order")
{
    struct mr_loop *loops[2] = {mr_loop_new("one", NULL), mr_loop_new("two", NULL)};
    struct sender senders[2];
    mail_to = mr_loop_new("reader", NULL);
    for (int i = 0; i < 2; i++) {
        expect_ok(mr_loop_start(loops[i]));
        senders[i] = (struct sender){.task.run = sender_run, .number = i};
        mr_loop_post(loops[i], &senders[i].task);
    }
    mr_loop_run(mail_to);
    expect_int(mail_got, 2 * MAIL_COUNT);
    for (int i = 0; i < 2; i++) {
        mr_loop_stop(loops[i]);
        mr_loop_join(loops[i]);
        mr_loop_free(loops[i]);
    }
    mr_loop_free(mail_to);
}

/* ---- turn ends and watches ---- */

struct letter_task {
    struct mr_task task;
    char letter;
    struct mr_loop *loop;
    struct letter_task *then; /* queued at the turn's end from inside this one */
};

static void letter_run(struct mr_task *task)
{
    struct letter_task *mine = mr_container(task, struct letter_task, task);
    tell(mine->letter);
    if (mine->then != NULL)
        mr_loop_at_turn_end(mine->loop, &mine->then->task);
}

STORY("turn-end tasks come after mail, once, and may queue another")
{
    struct mr_loop *loop = mr_loop_new("test", NULL);
    struct letter_task last = {.task.run = letter_run, .letter = 'z'};
    struct letter_task end = {.task.run = letter_run, .letter = 'e', .loop = loop, .then = &last};
    struct letter_task mail = {.task.run = letter_run, .letter = 'm', .loop = loop, .then = &end};
    mr_loop_at_turn_end(loop, &end.task);
    mr_loop_post(loop, &mail.task);
    mr_loop_turn(loop, 1000000); /* does not wait: there is something to do */
    expect_str(mr_str_from(told), MR_STR("mez"));
    mr_loop_free(loop);
}

struct pipe_watch {
    struct mr_watch watch;
    struct mr_loop *loop;
    struct pipe_watch *victim;
};

static void pipe_ready(struct mr_watch *watch, uint32_t events)
{
    struct pipe_watch *mine = mr_container(watch, struct pipe_watch, watch);
    expect((events & EPOLLIN) != 0);
    tell('r');
    expect_ok(mr_watch_set(mine->loop, &mine->victim->watch, 0));
}

STORY("a watch taken away in mid-turn is never told")
{
    struct mr_loop *loop = mr_loop_new("test", NULL);
    struct pipe_watch watches[2];
    int ends[2][2];
    for (int i = 0; i < 2; i++) {
        expect_int(pipe2(ends[i], O_NONBLOCK), 0);
        watches[i] = (struct pipe_watch){.watch = {.ready = pipe_ready, .fd = ends[i][0]},
                                         .loop = loop,
                                         .victim = &watches[1 - i]};
        expect_ok(mr_watch_set(loop, &watches[i].watch, EPOLLIN));
        expect_int(write(ends[i][1], "x", 1), 1);
    }
    mr_loop_turn(loop, 0);
    expect_str(mr_str_from(told), MR_STR("r")); /* whichever came first has removed the other */
    mr_loop_free(loop);
}

STORY("writing to a peer that has gone is an error and not the end of the process")
{
    struct mr_loop *loop = mr_loop_new("test", NULL);
    int ends[2];
    expect_int(pipe(ends), 0);
    close(ends[0]);
    expect(write(ends[1], "x", 1) < 0 && errno == EPIPE);
    mr_loop_free(loop);
}

/* ---- disk threads ---- */

struct sum_job {
    struct mr_job job;
    int input, output;
};
static int jobs_done;

static void sum_work(struct mr_job *job)
{
    struct sum_job *mine = mr_container(job, struct sum_job, job);
    expect(!mr_loop_is_mine(job->loop));
    mine->output = mine->input * 2;
}

static void sum_done(struct mr_job *job)
{
    struct sum_job *mine = mr_container(job, struct sum_job, job);
    expect(mr_loop_is_mine(job->loop));
    expect_int(mine->output, mine->input * 2);
    jobs_done++;
}

STORY("disk jobs are done on their threads and end on their loop")
{
    static struct sum_job jobs[100];
    struct mr_loop *loop = mr_loop_new("test", NULL);
    struct mr_disk *disk = mr_disk_new(2);
    for (int i = 0; i < 100; i++) {
        jobs[i] = (struct sum_job){.job = {.work = sum_work, .done = sum_done, .loop = loop},
                                   .input = i};
        mr_disk_submit(disk, &jobs[i].job);
    }
    while (jobs_done < 100)
        mr_loop_turn(loop, 1000000);
    mr_disk_free(disk);
    mr_loop_free(loop);
}

static void quiet_work(struct mr_job *job)
{
    struct sum_job *mine = mr_container(job, struct sum_job, job);
    mine->output = 1;
}

STORY("freeing the disk threads finishes what is queued")
{
    static struct sum_job jobs[50];
    struct mr_disk *disk = mr_disk_new(1);
    for (int i = 0; i < 50; i++) {
        jobs[i] = (struct sum_job){.job = {.work = quiet_work}};
        mr_disk_submit(disk, &jobs[i].job);
    }
    mr_disk_free(disk);
    for (int i = 0; i < 50; i++)
        expect_int(jobs[i].output, 1);
    mr_disk_free(NULL);
}

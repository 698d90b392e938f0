/* scheduler/history.c: hides the two topics. Records wait in one queue; those at its front are under way
 * in the producer, and leave it only once they are on disk. After trouble they are sent again: a record
 * that lands twice says the same thing twice.
 *
 *   OPENING --topics made, producer ready, both read--> READY
 *      ^  `--trouble--> WAITING --timer--'                 (puts are taken in every state) */
#include "scheduler/history.h"

#include <stdio.h>

#include "kafka/kafka.h"

enum { AGAIN_US = 500000, RUNS, STATE, TOPICS };
static const char *const topic_names[TOPICS] = {
    [RUNS] = "_millrace_runs", [STATE] = "_millrace_state"};
/* Runs: the last record of each, for 30 days. */
static const struct kafka_header runs_configs[] = {
    {{"cleanup.policy", 14}, {"compact,delete", 14}},
    {{"retention.ms", 12}, {"2592000000", 10}},
};
static const struct kafka_header state_configs[] = {{{"cleanup.policy", 14}, {"compact", 7}}};

struct put {
    struct put *next;
    int topic;
    mr_str key, value; /* in the same block of memory */
    struct mr_task *written;
    char bytes[];
};
struct scheduler_history {
    struct mr_loop *loop;
    const struct scheduler_history_events *events;
    void *owner;
    struct kafka_client *client;
    struct kafka_producer *producer;
    struct kafka_producer_topic *topics[TOPICS];
    struct mr_timer again;
    struct put *first, **last; /* waiting, oldest first */
    size_t sent;               /* how many from the front are in the producer */
    bool read;                 /* the topics were read to their ends */
    bool flushing;
    bool closing;
    int asked; /* questions to the client that are not answered yet */
    char trouble[512];
    struct mr_task *closed;
};

static void go_on(struct scheduler_history *history);

static void in_trouble(struct scheduler_history *history)
{
    if (strcmp(history->trouble, mr_why()) != 0)
        mr_log(MR_LOG_WARN, "scheduler", "the history of runs waits: %s", mr_why());
    snprintf(history->trouble, sizeof history->trouble, "%s", mr_why());
    history->sent = 0;
    kafka_producer_close(history->producer);
    history->producer = NULL;
    memset(history->topics, 0, sizeof history->topics);
    mr_timer_start(history->loop, &history->again, AGAIN_US);
}

/* ---- writing ---- */

static void flushed(void *context, mr_err err)
{
    struct scheduler_history *history = context;
    history->flushing = false;
    if (err != MR_OK) {
        in_trouble(history);
        return;
    }
    history->trouble[0] = '\0';
    for (; history->sent > 0; history->sent--) {
        struct put *put = history->first;
        history->first = put->next;
        if (history->first == NULL)
            history->last = &history->first;
        if (put->written != NULL)
            mr_loop_post(history->loop, put->written);
        mr_free(put);
    }
    go_on(history);
}

static void write_queue(struct scheduler_history *history)
{
    int64_t now_ms = mr_clock_wall_us(mr_loop_clock(history->loop)) / 1000;
    if (history->flushing || history->first == NULL)
        return;
    for (struct put *put = history->first; put != NULL; put = put->next) {
        mr_err err = kafka_producer_append(history->topics[put->topic], -1, now_ms, put->key,
                                           put->value, NULL, 0);
        if (err != MR_OK) {
            in_trouble(history);
            return;
        }
        history->sent++;
    }
    history->flushing = true;
    kafka_producer_flush(history->producer, flushed, history);
}

static void put(struct scheduler_history *history, int topic, mr_str key, mr_str value,
                struct mr_task *written)
{
    struct put *put = mr_alloc(sizeof *put + key.length + value.length + 1);
    *put = (struct put){.topic = topic, .written = written};
    memcpy(put->bytes, key.data, key.length);
    memcpy(put->bytes + key.length, value.data, value.length);
    put->key = mr_str_of(put->bytes, key.length);
    put->value = mr_str_of(put->bytes + key.length, value.length);
    *history->last = put;
    history->last = &put->next;
    if (history->read && history->producer != NULL && history->topics[STATE] != NULL)
        write_queue(history);
}

void scheduler_history_put_run(struct scheduler_history *history, mr_str key, mr_str value,
                               struct mr_task *written)
{
    put(history, RUNS, key, value, written);
}

void scheduler_history_put_state(struct scheduler_history *history, mr_str key, mr_str value,
                                 struct mr_task *written)
{
    put(history, STATE, key, value, written);
}

/* ---- the end ---- */

static void history_free(struct scheduler_history *history)
{
    struct mr_task *done = history->closed;
    struct mr_loop *loop = history->loop;
    while (history->first != NULL) {
        struct put *put = history->first;
        history->first = put->next;
        mr_free(put);
    }
    mr_free(history);
    if (done != NULL)
        mr_loop_post(loop, done);
}

/* Closing the client answers what is still asked; the last answer frees the rest. */
static void history_end(struct scheduler_history *history)
{
    kafka_producer_close(history->producer);
    history->producer = NULL;
    kafka_client_close(history->client);
    history->client = NULL;
    if (history->asked == 0)
        history_free(history);
}

/* One question is answered; true when nobody wants to know any more. */
static bool answered_too_late(struct scheduler_history *history)
{
    history->asked--;
    if (history->closing && history->client == NULL && history->asked == 0)
        history_free(history);
    else if (!history->closing)
        return false;
    return true;
}

/* ---- opening: each step asks for the next ---- */

static void run_record(void *context, int32_t partition, const struct kafka_record *record)
{
    struct scheduler_history *history = context;
    (void)partition;
    history->events->run(history->owner, record->key, record->value);
}

static void state_record(void *context, int32_t partition, const struct kafka_record *record)
{
    struct scheduler_history *history = context;
    (void)partition;
    history->events->state(history->owner, record->key, record->value);
}

static void all_read(void *context, mr_err err)
{
    struct scheduler_history *history = context;
    if (answered_too_late(history))
        return;
    if (err != MR_OK) {
        in_trouble(history);
        return;
    }
    history->read = true;
    history->trouble[0] = '\0';
    history->events->ready(history->owner);
    go_on(history);
}

static void runs_read(void *context, mr_err err)
{
    struct scheduler_history *history = context;
    if (answered_too_late(history))
        return;
    if (err != MR_OK) {
        in_trouble(history);
        return;
    }
    history->asked++;
    kafka_read_all(history->client, mr_str_from(topic_names[STATE]), state_record, all_read,
                   history);
}

static void topic_ready(struct scheduler_history *history, int topic, mr_err err,
                        struct kafka_producer_topic *handle)
{
    if (history->closing)
        return;
    if (err != MR_OK) {
        in_trouble(history);
        return;
    }
    history->topics[topic] = handle;
    go_on(history);
}

static void runs_topic_ready(void *context, mr_err err, struct kafka_producer_topic *topic)
{
    topic_ready(context, RUNS, err, topic);
}

static void state_topic_ready(void *context, mr_err err, struct kafka_producer_topic *topic)
{
    topic_ready(context, STATE, err, topic);
}

static void topics_made(void *context, mr_err err)
{
    struct scheduler_history *history = context;
    struct kafka_producer_options options = {.context = history};
    if (answered_too_late(history))
        return;
    if (err == MR_OK)
        err = kafka_producer_open(history->client, &options, &history->producer);
    if (err != MR_OK)
        in_trouble(history);
    else
        kafka_producer_topic(history->producer, mr_str_from(topic_names[RUNS]), runs_topic_ready,
                             history);
}

static void make_topics(struct scheduler_history *history)
{
    struct kafka_new_topic topics[] = {
        {mr_str_from(topic_names[RUNS]), 1, 0, runs_configs, mr_count_of(runs_configs)},
        {mr_str_from(topic_names[STATE]), 1, 0, state_configs, mr_count_of(state_configs)},
    };
    history->asked++;
    kafka_admin_create_topics(history->client, topics, mr_count_of(topics), topics_made, history);
}

/* The next thing that is missing. */
static void go_on(struct scheduler_history *history)
{
    if (history->closing)
        return;
    if (history->producer == NULL)
        make_topics(history);
    else if (history->topics[STATE] == NULL)
        kafka_producer_topic(history->producer, mr_str_from(topic_names[STATE]), state_topic_ready,
                             history);
    else if (history->read)
        write_queue(history);
    else {
        history->asked++;
        kafka_read_all(history->client, mr_str_from(topic_names[RUNS]), run_record, runs_read,
                       history);
    }
}

static void try_again(struct mr_timer *timer)
{
    go_on(mr_container(timer, struct scheduler_history, again));
}

mr_err scheduler_history_open(struct mr_loop *loop, mr_str kafka,
                              const struct kafka_security *security,
                              const struct scheduler_history_events *events, void *owner,
                              struct scheduler_history **out)
{
    struct scheduler_history *history = mr_new(struct scheduler_history);
    history->loop = loop;
    history->events = events;
    history->owner = owner;
    history->last = &history->first;
    history->again.run = try_again;
    mr_err err = kafka_client_open_secure(loop, kafka, MR_STR("millrace-scheduler"), security,
                                          &history->client);
    if (err != MR_OK) {
        mr_free(history);
        return err;
    }
    go_on(history);
    *out = history;
    return MR_OK;
}

mr_str scheduler_history_trouble(const struct scheduler_history *history)
{
    return mr_str_from(history->trouble);
}

static void last_flushed(void *context, mr_err err)
{
    struct scheduler_history *history = context;
    if (err != MR_OK)
        mr_log(MR_LOG_WARN, "scheduler", "the last records of the history are lost: %s", mr_why());
    history_end(history);
}

/* What is under way is waited for; what a run had still to say is said by its next start. */
void scheduler_history_close(struct scheduler_history *history, struct mr_task *done)
{
    history->closing = true;
    history->closed = done;
    mr_timer_stop(&history->again);
    if (history->flushing)
        kafka_producer_flush(history->producer, last_flushed, history);
    else
        history_end(history);
}

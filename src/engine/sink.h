/* engine/sink.h: where a stream's rows go. Rows of one key stay in order; a driver may batch.
 *
 * A row is first checked by every sink of its stream, so that what one refuses is written by none and
 * goes to the dead letters; then each writes it, with its key and write time. What is written is
 * acknowledged by flush(), before the checkpoint commits. */
#ifndef ENGINE_SINK_H
#define ENGINE_SINK_H

#include "engine/flow.h"
#include "kafka/kafka.h"
#include "schemas/schemas.h"

enum {
    ENGINE_PARTITIONS = 4, /* of a topic, unless the spec says */
};
#define ENGINE_SINK_OWN ((size_t)-1) /* the target that is the stream's own topic */

struct engine_sink;
typedef void engine_sink_done(void *context, mr_err err); /* mr_why() has the sentence */

/* What a sink is opened with; the addresses outlive it. */
struct engine_sink_host {
    struct mr_loop *loop;
    const struct engine_options *options;
    const struct engine_bound *bound;
    struct kafka_client *kafka;
    struct kafka_producer *producer; /* its transaction is open whenever write() is called */
    struct schemas_client *schemas;
    /* After `full` was true: there is room again. */
    void (*room)(void *context);
    void *context;
};
struct engine_sink_driver {
    const char *word; /* in a pipeline file: "cassandra" */
    /* What can be said before anything runs: a bad place, a type that the target lacks. */
    void (*bind)(const struct engine_bound *bound, size_t target, struct engine_mistakes *mistakes);
    /* Connects and makes what is missing; `*out` is there at once, `done` comes once it is usable. */
    void (*open)(const struct engine_sink_host *host, size_t target, struct engine_sink **out,
                 engine_sink_done *done, void *context);
    /* Marks the live rows that it could not take. */
    void (*check)(struct engine_sink *sink, const struct engine_rows *rows,
                  struct engine_rows_bad *bad);
    /* Takes the live rows (encoded when it returns); may mark rows yet, which are then not taken. An
     * error ends the batch. */
    mr_err (*write)(struct engine_sink *sink, const struct engine_rows *rows,
                    struct engine_rows_bad *bad);
    /* `done` once all that was written is acknowledged; never from inside the call. */
    void (*flush)(struct engine_sink *sink, engine_sink_done *done, void *context);
    /* Nothing is told afterwards. Accepts a sink that is not open yet. */
    void (*close)(struct engine_sink *sink);
};
struct engine_sink {
    const struct engine_sink_driver *driver;
    bool full;  /* write no more until room() */
    bool table; /* its rows count as rows of tables, not as records */
};
extern const struct engine_sink_driver engine_sink_topic, engine_sink_cassandra;
/* By its word; NULL when there is none. */
const struct engine_sink_driver *engine_sink_find(mr_str word);
/* Marks a row, unless it is marked already. */
static inline void engine_sink_refuse(struct engine_rows_bad *bad, uint32_t row, mr_str why)
{
    if (bad->bad[row])
        return;
    bad->bad[row] = 1;
    bad->why[row] = why;
    bad->count++;
}

#endif

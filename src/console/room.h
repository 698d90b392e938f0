/* console/room.h: the room's own view: what topics.c and tables.c share with console.c. */
#ifndef CONSOLE_ROOM_H
#define CONSOLE_ROOM_H

#include "console/console.h"

struct kafka_client;
struct schemas_client;
struct cql_client;
struct console_ask;
struct rows;

struct console {
    struct mr_loop *loop;
    struct mr_arena arena;
    struct console_options options;
    struct kafka_client *kafka; /* these three are opened when first needed */
    struct schemas_client *schemas;
    struct cql_client *cql;
    struct rows *waiting; /* tables.c: asks that the CQL client has not answered */
    bool closing;
    size_t open; /* asks that are not freed yet */
};
/* One question of a browser. `exchange` is NULL once it is answered or its client has gone; the ask is
 * freed when nothing is under way for it any more. */
struct console_ask {
    struct console *console;
    struct net_http_exchange *exchange;
    struct mr_arena arena;
    int under_way;                        /* calls whose callbacks are still to come */
    void (*end)(struct console_ask *ask); /* frees what the kind of ask holds, then itself */
};

/* console.c */
void console_ask_init(struct console_ask *ask, struct console *console,
                      struct net_http_exchange *exchange, void (*end)(struct console_ask *ask));
/* Answers if there is still someone to answer. */
void console_ask_reply(struct console_ask *ask, int status, mr_str json);
void console_ask_fail(struct console_ask *ask, mr_err err); /* the sentence is mr_why() */
/* One callback has come; frees the ask when it was the last and the answer is given.
 * True: the ask is answered or gone, do nothing more with it. */
bool console_ask_back(struct console_ask *ask);
void console_ask_done(struct console_ask *ask); /* after the answer: frees when it can */
mr_err console_kafka(struct console *console, struct kafka_client **out);
mr_err console_schemas(struct console *console, struct schemas_client **out);

/* topics.c, tables.c */
void console_topics_list(struct console *console, struct net_http_exchange *exchange);
void console_topics_records(struct console *console, struct net_http_exchange *exchange,
                            mr_str topic, int64_t count);
void console_tables_list(struct console *console, struct net_http_exchange *exchange);
void console_tables_rows(struct console *console, struct net_http_exchange *exchange,
                         mr_str keyspace, mr_str table, int64_t count);
void console_tables_close(struct console *console);

#endif

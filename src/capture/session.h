/* capture/session.h: private: a capture, and one attempt of it with all its peers.
 *
 * The files: capture.c (life and states), prepare.c (from nothing to a running stream), follow.c (the
 * stream to records and commits), snapshot.c (the rows that were there before). */
#ifndef CAPTURE_SESSION_H
#define CAPTURE_SESSION_H

#include "capture/capture.h"
#include "capture/pgoutput.h"
#include "capture/position.h"
#include "capture/table.h"
#include "kafka/kafka.h"
#include "schemas/schemas.h"

enum {
    CAPTURE_COMMIT_BYTES = 8 << 20, /* of records in one Kafka transaction */
    CAPTURE_TURN_BYTES = 256 << 10, /* of the stream in one turn of the loop */
    CAPTURE_TICK_US = 10000000,     /* status, lag, heartbeat: never in the data's way */
};

/* Why the stream is not read now; it goes on when none is left. */
enum capture_pause {
    CAPTURE_PAUSE_COMMIT = 1, /* a Kafka transaction is being committed */
    CAPTURE_PAUSE_CHUNK = 2,  /* a range of the snapshot is being read */
    CAPTURE_PAUSE_SCHEMA = 4, /* a new version of the table is being registered */
    CAPTURE_PAUSE_LOOKUP = 8, /* values that the stream left out are being read */
    CAPTURE_PAUSE_ROOM = 16,  /* the producer is full */
};

struct capture_headers {
    struct kafka_header list[4];
    size_t count;
    int64_t time_us;
    char lsn[CAPTURE_LSN_TEXT], ts_us[24], op[2];
    char run[128];
};

/* The PostgreSQL transaction that the stream is in or was in last. */
struct capture_transaction {
    bool inside;
    uint64_t commit_lsn;
    int64_t time_us;
    uint32_t xid;
    uint64_t index; /* its changes so far, those already done included */
    uint64_t done;  /* so many were done by an earlier attempt */
};

enum capture_chunk_state {
    CAPTURE_CHUNK_NONE,    /* no range under way */
    CAPTURE_CHUNK_READING, /* asked; the stream stands still */
    CAPTURE_CHUNK_WINDOW,  /* read; the stream goes on to the high watermark */
};
/* One range of the snapshot. */
struct capture_chunk {
    enum capture_chunk_state state;
    uint32_t version; /* of the table, when it was asked for */
    struct mr_arena arena;
    struct capture_visible visible; /* the moment it was read */
    const struct postgres_rows *rows;
    bool last;             /* reaches to the end of the table */
    mr_str *end;           /* key of its last row; NULL when it has none */
    struct mr_map overlay; /* by key: what the stream said of its rows since */
    size_t overlay_bytes;
    uint64_t high_lsn; /* the high watermark */
    uint32_t limit;    /* rows of the next range */
    uint32_t asked;    /* rows asked for */
    struct mr_timer again;
};

struct capture_session {
    struct capture *capture;
    struct mr_arena arena;
    bool dead;
    struct mr_task release;
    int calls; /* answers to come that cannot be called off */
    struct postgres_conn *sql, *stream;
    struct kafka_producer *producer;
    struct kafka_producer_topic *topic, *positions;
    struct schemas_request request;
    struct capture_table *table, *next_table;
    uint32_t version; /* counts the tables that this session has had */
    int32_t schema_id;
    mr_str system; /* PostgreSQL's system identifier */
    bool has_position;
    struct capture_position position; /* of all that is appended */
    struct mr_arena key_arena;        /* of position.snapshot_key */
    mr_str position_text;             /* as read at the start */

    struct capture_transaction transaction;
    struct capture_headers headers;
    uint64_t end_lsn;        /* behind the last whole transaction seen */
    uint64_t confirmed_lsn;  /* told to PostgreSQL */
    uint64_t commit_end_lsn; /* confirmed once the present commit is done */
    unsigned pauses;         /* enum capture_pause */
    size_t turn_bytes;
    bool begun; /* a Kafka transaction is open */
    size_t pending_bytes;
    uint64_t pending_records, commit_records;
    struct mr_arena scratch; /* of one message */
    mr_str *row, *key_row;   /* texts of one row; room for the table's columns */
    struct mr_buf key, value, out;
    struct mr_bytes *held; /* the message that waits for a lookup */
    struct capture_chunk chunk;
    struct mr_timer tick;
};

struct capture {
    struct mr_loop *loop;
    struct mr_arena arena; /* owns the spec */
    struct capture_spec spec;
    mr_str position_key;
    char slot[64]; /* and the publication's name */
    enum capture_state state;
    char sentence[512];
    struct kafka_client *kafka;
    struct schemas_client *schemas;
    struct capture_session *session; /* NULL while waiting */
    int session_count;               /* those not yet freed; an ended one may still owe an answer */
    struct mr_timer retry;
    int64_t retry_us;
    bool closing;
    struct mr_task *done;
    uint64_t changes, events;
    struct capture_position position; /* committed; texts not kept */
    int64_t slot_lag_bytes;
    struct mr_counter *changes_counter, *events_counter, *lag_counter;
};

/* capture.c */
void capture_session_free(struct capture_session *session);
/* Ends the attempt; another one follows after a while. The sentence is mr_why(). */
void capture_session_fail(struct capture_session *session, mr_err err);
/* Around answers that cannot be called off: begin before asking; end first thing in the answer, which
 * does nothing more when this is false. */
void capture_session_call(struct capture_session *session);
bool capture_session_answer(struct capture_session *session);
void capture_session_state(struct capture_session *session, enum capture_state state);
/* Slot and publication of a stream: lower case letters, digits and _, at most 63. */
void capture_session_slot(mr_str name, char out[64]);

/* prepare.c */
void capture_prepare_begin(struct capture_session *session);
/* Registers session->next_table and makes it the present one; `done` follows unless it fails. */
void capture_prepare_schema(struct capture_session *session,
                            void (*done)(struct schemas_request *request));
/* After the registry's answer: true when next_table is the present table now. */
bool capture_prepare_schema_answer(struct capture_session *session,
                                   void (*done)(struct schemas_request *request));

/* follow.c */
void capture_follow_start(struct capture_session *session);
void capture_follow_pause(struct capture_session *session, enum capture_pause why);
void capture_follow_resume(struct capture_session *session, enum capture_pause why);
void capture_follow_confirm(struct capture_session *session, uint64_t lsn);
/* What the records from here on say of their origin. */
void capture_follow_headers(struct capture_session *session, uint64_t lsn, int64_t time_us);
/* Adds a record to the open Kafka transaction; value with data NULL is a delete. */
bool capture_follow_append(struct capture_session *session, char op, mr_str key, mr_str value);
void capture_follow_commit(struct capture_session *session);

/* snapshot.c */
void capture_snapshot_init(struct capture_session *session);
void capture_snapshot_fini(struct capture_session *session);
/* Asks for the next range when none is under way. */
void capture_snapshot_next(struct capture_session *session);
/* What becomes of a change to this row: true when the stream appends it itself. */
bool capture_snapshot_route(struct capture_session *session, const mr_str *key_row, mr_str key,
                            mr_str value);
/* The stream has given out all that was committed up to this place in the log. */
void capture_snapshot_reached(struct capture_session *session, uint64_t lsn);
/* Forgets the present range and asks for it anew. */
void capture_snapshot_abandon(struct capture_session *session);

#endif

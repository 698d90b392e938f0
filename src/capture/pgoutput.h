/* capture/pgoutput.h: private: messages of logical replication, as PostgreSQL's manual, chapter
 * "Frontend/Backend Protocol", sections "Streaming Replication Protocol" and "Logical Replication
 * Message Formats", version 1, defines them. Pure functions on bytes; results are views. */
#ifndef CAPTURE_PGOUTPUT_H
#define CAPTURE_PGOUTPUT_H

#include "base/base.h"

/* ---- the stream's own messages ---- */
struct capture_frame {
    char kind;          /* 'w' data, 'k' keep-alive */
    uint64_t start_lsn; /* 'w' */
    uint64_t end_lsn;   /* the server's end of the log, or how far it has read it ('k') */
    int64_t sent_us;    /* since 1970 */
    bool reply;         /* 'k': it wants to hear of us now */
    mr_str payload;     /* 'w': one message of the output plugin */
};
/* Errors: MR_CORRUPT. */
mr_err capture_pgoutput_frame(mr_str bytes, struct capture_frame *out);
/* Standby status update: all before `lsn` is safe with us. */
void capture_pgoutput_status(struct mr_buf *out, uint64_t lsn, int64_t now_us);

/* ---- the plugin's messages ---- */
enum capture_message_kind {
    CAPTURE_MESSAGE_BEGIN = 'B',
    CAPTURE_MESSAGE_COMMIT = 'C',
    CAPTURE_MESSAGE_ORIGIN = 'O',
    CAPTURE_MESSAGE_RELATION = 'R',
    CAPTURE_MESSAGE_TYPE = 'Y',
    CAPTURE_MESSAGE_INSERT = 'I',
    CAPTURE_MESSAGE_UPDATE = 'U',
    CAPTURE_MESSAGE_DELETE = 'D',
    CAPTURE_MESSAGE_TRUNCATE = 'T',
    CAPTURE_MESSAGE_MESSAGE = 'M',
};
enum capture_value_kind {
    CAPTURE_VALUE_NULL = 'n',
    CAPTURE_VALUE_UNCHANGED = 'u', /* out of line and not touched: not sent */
    CAPTURE_VALUE_TEXT = 't',
    CAPTURE_VALUE_BINARY = 'b',
};
struct capture_value {
    char kind;
    mr_str text; /* NULL and UNCHANGED: no data */
};
struct capture_tuple {
    uint16_t count; /* 0: no such tuple */
    struct capture_value *values;
};
struct capture_relation_column {
    bool key; /* of the replica identity */
    mr_str name;
    uint32_t type_oid;
    int32_t type_modifier;
};
struct capture_message {
    enum capture_message_kind kind;
    uint64_t lsn;          /* BEGIN, COMMIT: of the commit; MESSAGE, ORIGIN: its own */
    uint64_t end_lsn;      /* COMMIT: behind it */
    int64_t time_us;       /* BEGIN, COMMIT: since 1970 */
    uint32_t xid;          /* BEGIN */
    uint32_t relation;     /* RELATION, INSERT, UPDATE, DELETE: oid of the table; TYPE: its oid */
    mr_str schema, name;   /* RELATION, TYPE; MESSAGE: name is the prefix; ORIGIN: name */
    char identity;         /* RELATION: 'd', 'n', 'f', 'i' */
    uint16_t column_count; /* RELATION */
    struct capture_relation_column *columns;
    char old_kind;                 /* UPDATE, DELETE: 'K' key columns only, 'O' whole row, 0 none */
    struct capture_tuple old, row; /* row: INSERT, UPDATE */
    uint32_t relation_count;       /* TRUNCATE */
    uint32_t *relations;
    bool transactional; /* MESSAGE */
    mr_str content;     /* MESSAGE */
};
/* Reads one message; lists are in the arena. Errors: MR_CORRUPT, MR_UNSUPPORTED (an unknown kind). */
mr_err capture_pgoutput_read(mr_str bytes, struct mr_arena *arena, struct capture_message *out);

#endif

/* pipeline/pipeline.h: a pipeline file as plain values, with every mistake it holds.
 *
 * The file is YAML 1.1 (libyaml); the keys are the rows of keys.def. Everything made here lives in the
 * caller's arena and is immutable. Thread: any; file reading blocks. */
#ifndef PIPELINE_PIPELINE_H
#define PIPELINE_PIPELINE_H

#include "base/base.h"

/* Where in the file: lines and columns count from 1. */
struct pipeline_place {
    uint32_t line, column;
};

/* ---- mistakes: all of them, in the order of the file ---- */
struct pipeline_mistake {
    struct pipeline_place place;
    mr_str text; /* what was found, what was expected */
};
struct pipeline_mistakes {
    struct mr_arena *arena;
    MR_ARRAY(struct pipeline_mistake) list;
};
void pipeline_mistake_add(struct pipeline_mistakes *mistakes, struct pipeline_place place,
                          const char *format, ...) __attribute__((format(printf, 3, 4)));
/* "file:line:column: text", one a line. */
void pipeline_mistakes_print(const struct pipeline_mistakes *mistakes, const char *path,
                             struct mr_buf *out);
void pipeline_mistakes_fini(struct pipeline_mistakes *mistakes);

/* ---- the file ---- */
struct pipeline_text {
    mr_str text;
    struct pipeline_place place; /* of its first character */
};
struct pipeline_texts {
    struct pipeline_text *items;
    size_t count;
};
struct pipeline_pair {
    struct pipeline_text name, value;
};
struct pipeline_pairs {
    struct pipeline_pair *items;
    size_t count;
};
/* A system outside: where it is, and what signs in there. Names are those of connections.def. */
struct pipeline_connection {
    struct pipeline_text name, address; /* address empty: not said here */
    struct pipeline_pairs settings;
};
struct pipeline_connections {
    struct pipeline_connection *items;
    size_t count;
};
enum pipeline_setting {
#define SETTING(connection, id, option, value, environment, about) \
    PIPELINE_SETTING_##connection##_##id,
#include "pipeline/connections.def"
    PIPELINE_SETTING_COUNT
};
/* The setting of this name of a connection; PIPELINE_SETTING_COUNT: there is none. */
enum pipeline_setting pipeline_setting_find(mr_str connection, mr_str name);
/* "postgres/raw.users": connection, then what it holds. */
struct pipeline_target {
    mr_str connection; /* postgres, cassandra, topic, file */
    mr_str container;  /* schema or keyspace; empty for a topic */
    mr_str name;
    struct pipeline_place place;
};
struct pipeline_retry {
    int64_t times;
    int64_t delay_us, delay_us_max;
};
enum pipeline_verb {
    PIPELINE_GET,
    PIPELINE_RUN,
    PIPELINE_SQL,
    PIPELINE_REQUIRE,
};
struct pipeline_step {
    mr_str name, about;
    struct pipeline_place place;
    enum pipeline_verb verb;
    struct pipeline_text work;   /* the URL, the program, the statement or the query */
    struct pipeline_text each;   /* empty: the whole response is one record */
    struct pipeline_target into; /* of a get; connection empty: nowhere */
    mr_str key;                  /* path inside the record; empty: none */
    int64_t timeout_us;
    struct pipeline_retry retry;
    size_t *after; /* indexes of steps that come before */
    size_t after_count;
};
struct pipeline_stream {
    mr_str name, about;
    struct pipeline_place place;
    struct pipeline_target capture; /* connection empty: not a capture */
    struct pipeline_text sql;       /* empty: a capture */
    struct pipeline_pairs types;
    mr_str watermark_column; /* empty: none */
    struct pipeline_place watermark_place;
    int64_t watermark_delay_us;
    struct pipeline_target *into;
    size_t into_count;
    struct pipeline_texts key;
    struct pipeline_pairs require;
    int64_t partitions; /* 0: the default */
    bool json;          /* format: json */
    bool update;        /* mode: update */
    bool update_given;
    bool compact;
    bool topic_none;
    size_t *inputs; /* indexes of the streams that its SQL reads; set by pipeline_check() */
    size_t input_count;
};
/* Rows of a test as JSON texts, one an element of the YAML list. */
struct pipeline_rows {
    mr_str stream;
    struct pipeline_place place;
    struct pipeline_text *rows;
    size_t count;
};
struct pipeline_test {
    mr_str name;
    struct pipeline_place place;
    struct pipeline_rows *given, *expect;
    size_t given_count, expect_count;
};
enum pipeline_overlap {
    PIPELINE_SKIP,
    PIPELINE_QUEUE,
    PIPELINE_ALLOW,
};
struct pipeline {
    mr_str name, about;
    mr_str text;                   /* the file as read */
    int64_t every_us;              /* 0: none */
    struct pipeline_text at;       /* empty: none */
    struct pipeline_text timezone; /* "UTC" by default */
    enum pipeline_overlap overlap;
    bool catchup;
    struct pipeline_connections connections;
    struct pipeline_step *steps; /* in the order of the file */
    size_t step_count;
    struct pipeline_stream *streams; /* inputs before their readers once checked */
    size_t stream_count;
    struct pipeline_test *tests;
    size_t test_count;
};

/* Reads a file, or a text that `path` only names in messages. MR_INVALID when there are mistakes
 * (`*out` is then what could be read, or NULL); MR_IO, MR_NOT_FOUND, MR_DENIED for the file itself. */
mr_err pipeline_load(struct mr_arena *arena, const char *path, struct pipeline **out,
                     struct pipeline_mistakes *mistakes);
mr_err pipeline_parse(struct mr_arena *arena, mr_str text, struct pipeline **out,
                      struct pipeline_mistakes *mistakes);

/* "10s", "1m30s", "250ms", "2h", "1d"; at least one part. MR_INVALID otherwise. */
mr_err pipeline_duration(mr_str text, int64_t *us);

/* The index of a stream by name, or -1. */
ptrdiff_t pipeline_stream_find(const struct pipeline *pipeline, mr_str name);
/* "randomuser/api/" with the connection's address put in front; a whole URL stays as it is. */
mr_str pipeline_url(struct mr_arena *arena, mr_str text, mr_str connection, mr_str address);
/* The page `docs/reference/pipeline.md`. */
void pipeline_print_docs(struct mr_buf *out);

#include "pipeline/check.h"

#endif

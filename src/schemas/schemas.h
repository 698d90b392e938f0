/* schemas/schemas.h: a schema registry (Confluent's REST interface) as its clients see it. Never blocks;
 * everything is called, and calls back, on the loop of schemas_client_new(). */
#ifndef SCHEMAS_SCHEMAS_H
#define SCHEMAS_SCHEMAS_H

#include "avro/avro.h"
#include "base/base.h"
#include "http/http.h"

struct schemas_client;
struct schemas_client_options {
    mr_str url; /* "http://127.0.0.1:8081"; several, separated by commas: tried in turn */
    mr_str user, password; /* basic authentication; empty: none */
    mr_str token;          /* a bearer token instead; empty: none */
    struct http_tls tls;
};
/* The same with its texts in `arena`. */
struct schemas_client_options
schemas_client_options_copy(struct mr_arena *arena, const struct schemas_client_options *options);
/* What the registry knows under an id. Kept for the client's life. */
struct schemas_schema {
    int32_t id;
    mr_str type; /* "AVRO", "JSON", "PROTOBUF" */
    mr_str text;
    const struct avro_schema *avro; /* parsed, references included; NULL for the other types */
};
/* One question, embedded in its asker's struct. `done` runs once, never inside the asking call; after
 * schemas_client_cancel() it does not run. A retriable err (mr_err_retriable) means that the registry
 * was not reached or is not ready: ask again later. Else MR_NOT_FOUND (no such id, subject or version),
 * MR_CONFLICT (incompatible with an earlier version), MR_INVALID (a schema it refuses), MR_AUTH. */
struct schemas_request {
    void (*done)(struct schemas_request *request);
    /* the answer */
    mr_err err;
    char why[512];                       /* the sentence when err is set */
    const struct schemas_schema *schema; /* get, latest; register: with the id given */
    int32_t version;                     /* latest */
    bool compatible;                     /* check; `why` has the registry's messages */
    /* the client's own */
    struct schemas_request *next;
    struct schemas_client *client; /* NULL: idle */
};

mr_err schemas_client_new(struct mr_loop *loop, const struct schemas_client_options *options,
                          struct schemas_client **out);
/* Open questions are answered MR_CANCELLED before it returns. Accepts NULL. Not from inside a `done`. */
void schemas_client_free(struct schemas_client *client);

/* The schema under this id, if it is known already: no waiting. NULL: ask by schemas_client_get(). */
const struct schemas_schema *schemas_client_known(const struct schemas_client *client, int32_t id);
/* The schema of an id. Answers are kept for ever; equal questions in flight become one. */
void schemas_client_get(struct schemas_client *client, int32_t id, struct schemas_request *request);
/* Registers a schema (`type` "AVRO") under a subject, or finds it there. */
void schemas_client_register(struct schemas_client *client, mr_str subject, mr_str schema,
                             mr_str type, struct schemas_request *request);
void schemas_client_latest(struct schemas_client *client, mr_str subject,
                           struct schemas_request *request);
/* Whether the schema may follow the subject's latest version. A subject without versions: yes. */
void schemas_client_check(struct schemas_client *client, mr_str subject, mr_str schema, mr_str type,
                          struct schemas_request *request);
void schemas_client_cancel(struct schemas_request *request); /* accepts an idle one */

#endif

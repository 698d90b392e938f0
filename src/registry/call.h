/* registry/call.h: one request of a client, from its arrival to its answer; and the handlers. */
#ifndef REGISTRY_CALL_H
#define REGISTRY_CALL_H

#include "net/net.h"
#include "registry/store.h"

enum registry_error {
#define ERROR_CODE(name, status, code) REGISTRY_ERROR_##name,
#include "registry/errors.def"
};
/* A record to be written to `_schemas`; no value: the key is deleted. */
struct registry_record {
    mr_str key, value;
};
struct registry_call;
/* Answers by an HTTP status, with call->out written; a handler of a route that writes may add records,
 * and is answered once they are acknowledged. Handlers never change the store. */
typedef int registry_handler(struct registry_call *call);

struct registry_call {
    const struct registry_store *store;
    mr_str kafka;                           /* the log's address */
    struct net_http_exchange *exchange;     /* NULL: the client has gone */
    const struct net_http_request *request; /* lives as long as the exchange */
    registry_handler *handler;
    bool writes;
    mr_str subject, version, number; /* of the path */
    const struct json_value *body;   /* NULL: none */
    struct mr_arena arena;
    struct mr_buf out;
    MR_ARRAY(struct registry_record) records;
    struct avro_schema *avro; /* of the body, freed with the call */
    int64_t deadline_us;      /* while the registry is not ready */
    struct registry_call *next;
    struct registry_server *server;
};

/* Writes the error and gives its status. */
int registry_call_fail(struct registry_call *call, enum registry_error error, const char *format,
                       ...) __attribute__((format(printf, 3, 4)));
bool registry_call_flag(const struct registry_call *call, const char *name); /* "?deleted=true" */
/* offset and limit of the query applied to a count of items; false: this one is left out. */
bool registry_call_page(const struct registry_call *call, size_t index);
/* The version in the path: a number, or -1 for the latest. 0 and the answer's status when it is neither. */
int64_t registry_call_version(struct registry_call *call, int *status);
void registry_call_record(struct registry_call *call, struct mr_buf *key, struct mr_buf *value);
enum registry_mode registry_call_mode(const struct registry_call *call); /* of its subject */
enum registry_level registry_call_level(const struct registry_call *call);
void registry_call_key(struct mr_buf *out, const char *type, mr_str subject, int magic);

/* What a body says about a schema. */
struct registry_candidate {
    mr_str type, text;                  /* the text as it is kept */
    mr_str references, metadata, rules; /* without white space, or empty */
    mr_str identity;
    const struct avro_schema *avro;
    int64_t id, version; /* -1: not said */
};
/* MR_OK is 0; else the status of the answer, which is written. */
int registry_candidate_read(struct registry_call *call, struct registry_candidate *out);
/* Whether the candidate may follow these versions (ascending) under the level. Messages, one JSON string
 * each, separated by commas, go to `messages`. */
bool registry_candidate_fits(struct registry_call *call, const struct registry_candidate *candidate,
                             enum registry_level level, struct registry_version *const *versions,
                             size_t count, struct mr_buf *messages);
/* {"subject":...,"version":...,"id":...,"schema":...} */
void registry_version_print(struct mr_buf *out, mr_str subject,
                            const struct registry_version *version);
/* ,"schemaType":...,"references":...: what is not usual. */
void registry_schema_extras(struct mr_buf *out, const struct registry_schema *schema);

#define ROUTE(method, path, handler, writes) registry_handler handler;
#include "registry/routes.def"

#endif

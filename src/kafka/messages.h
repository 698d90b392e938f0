/* kafka/messages.h: the messages of the Kafka protocol as C structs, their shapes, the APIs and the
 * error codes; all made from messages.def, apis.def and errors.def. Thread: any. */
#ifndef KAFKA_MESSAGES_H
#define KAFKA_MESSAGES_H

#include "wire/wire.h"

/* ---- structs: kafka_produce_request, ... ---- */
#define STRUCT(name) struct kafka_##name {
#define FIELD(type, name, since, until, about) wire_##type name;
#define DEFAULT(type, name, since, until, value, about) wire_##type name;
#define LIST(type, name, since, until, about) WIRE_ARRAY(wire_##type) name;
#define NLIST(type, name, since, until, about) WIRE_ARRAY(wire_##type) name;
#define ARRAY(row, name, since, until, about) WIRE_ARRAY(struct kafka_##row) name;
#define NARRAY(row, name, since, until, about) WIRE_ARRAY(struct kafka_##row) name;
#define STRUCT_FIELD(row, name, since, until, about) struct kafka_##row name;
#define NSTRUCT(row, name, since, until, about) struct kafka_##row *name;
#define TAGGED(type, name, tag, since, about) wire_##type name;
#define TAGGED_DEFAULT(type, name, tag, since, value, about) wire_##type name;
#define TAGGED_ARRAY(row, name, tag, since, about) WIRE_ARRAY(struct kafka_##row) name;
#define TAGGED_STRUCT(row, name, tag, since, about) struct kafka_##row name;
#define TAGGED_NSTRUCT(row, name, tag, since, about) struct kafka_##row *name;
#define END(name) \
    }             \
    ;
#include "kafka/messages.def"

/* ---- shapes: kafka_produce_request_shape(), ... ---- */
#define STRUCT(name) const struct wire_shape *kafka_##name##_shape(void);
#define FIELD(type, name, since, until, about)
#define DEFAULT(type, name, since, until, value, about)
#define LIST(type, name, since, until, about)
#define NLIST(type, name, since, until, about)
#define ARRAY(row, name, since, until, about)
#define NARRAY(row, name, since, until, about)
#define STRUCT_FIELD(row, name, since, until, about)
#define NSTRUCT(row, name, since, until, about)
#define TAGGED(type, name, tag, since, about)
#define TAGGED_DEFAULT(type, name, tag, since, value, about)
#define TAGGED_ARRAY(row, name, tag, since, about)
#define TAGGED_STRUCT(row, name, tag, since, about)
#define TAGGED_NSTRUCT(row, name, tag, since, about)
#define END(name)
#include "kafka/messages.def"

/* ---- APIs ---- */
enum {
#define API(key, name, file, oldest, newest, flexible) KAFKA_API_##name = (key),
#include "kafka/apis.def"
    KAFKA_API_KEY_MAX = 127,         /* no key of the protocol is above it */
    KAFKA_API_PRODUCE_ANNOUNCED = 0, /* oldest version of Produce that a broker says it has */
};
struct kafka_api {
    const char *name;
    int16_t key, oldest, newest, flexible;
    const struct wire_shape *(*request)(void);
    const struct wire_shape *(*response)(void);
};
/* The rows of apis.def, in their order. */
extern const struct kafka_api kafka_api_rows[];
extern const size_t kafka_api_count;
const struct kafka_api *kafka_api_find(int16_t key); /* NULL: not spoken */
/* Header versions (KIP-511: an ApiVersions response always has header 0). */
int16_t kafka_api_request_header(const struct kafka_api *api, int16_t version);
int16_t kafka_api_response_header(const struct kafka_api *api, int16_t version);
static inline bool kafka_api_is_flexible(const struct kafka_api *api, int16_t version)
{
    return version >= api->flexible;
}
/* Appends one frame with its length in front: header and body. `out` is for this API's version
 * (kafka_api_out); payload by reference stays in out->splices, counted in the length. */
struct wire_out kafka_api_out(struct mr_buf *buf, const struct kafka_api *api, int16_t version);
void kafka_api_write_request(struct wire_out *out, const struct kafka_api *api, int32_t correlation,
                             mr_str client_id, const void *request);
void kafka_api_write_response(struct wire_out *out, const struct kafka_api *api,
                              int32_t correlation, const void *response);
/* Reads the header of a request frame (without its length) and sets `body` to the rest. The API
 * may be one that we do not speak: then the header is read as version 1.
 * Errors: MR_CORRUPT. */
mr_err kafka_api_read_header(mr_str frame, struct mr_arena *arena,
                             struct kafka_request_header *header, mr_str *body);
/* Reads the body of a request, or a whole response frame (header, then body).
 * Errors: MR_CORRUPT. */
mr_err kafka_api_read_request(mr_str body, struct mr_arena *arena, const struct kafka_api *api,
                              int16_t version, void *request);
mr_err kafka_api_read_response(mr_str frame, struct mr_arena *arena, const struct kafka_api *api,
                               int16_t version, int32_t *correlation, void *response);

/* ---- error codes ---- */
enum {
#define ERROR(code, name, retriable, err, text) KAFKA_ERROR_##name = (code),
#include "kafka/errors.def"
};
const char *kafka_error_name(int16_t code); /* "UNKNOWN_TOPIC_OR_PARTITION"; "?" when unknown */
const char *kafka_error_text(int16_t code);
bool kafka_error_retriable(int16_t code);
mr_err kafka_error_to_err(int16_t code); /* 0: MR_OK */
/* mr_fail with "about: NAME (code): text", `code` != 0. */
mr_err kafka_error_fail(int16_t code, const char *about);

#endif

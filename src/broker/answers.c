/* broker/answers.c: how long requests took until their answer was there, and which errors answers had; by API, by the
 * names of Kafka's JMX exporter.
 *
 * A time goes into one of four buckets for each power of two of microseconds, so that a quantile is right to an
 * eighth; quantiles are of the present minute and the one before. Nothing is allocated but at the first request of an
 * API, when its answer's shape becomes a plan of where errors can stand. */
#include "broker/server.h"

#include <stdio.h>

enum {
    PERIOD_US = 60 * 1000 * 1000,
    BUCKETS = 36 * 4, /* up to 19 hours */
    PLAN_CODES_MAX = 4,
    PLAN_ROWS_MAX = 4,
};

/* Where a struct has errors: itself, and in lists of others. */
struct plan {
    size_t bytes, code_count, row_count;
    size_t codes[PLAN_CODES_MAX];
    size_t message; /* what says why, beside the error; 0: nothing does */
    struct plan_rows {
        size_t offset;
        struct plan *plan;
    } rows[PLAN_ROWS_MAX];
};
struct broker_answers {
    uint32_t buckets[2][BUCKETS]; /* of the period before, and of this one */
    int64_t period;               /* its number */
    int64_t count, sum_us;
    struct plan *plan; /* NULL: no errors there */
};

/* ---- errors ---- */

static void plan_free(struct plan *plan)
{
    if (plan == NULL)
        return;
    for (size_t i = 0; i < plan->row_count; i++)
        plan_free(plan->rows[i].plan);
    mr_free(plan);
}

static bool names_error(const struct wire_field *field)
{
    size_t length = strlen(field->name);

    return field->type == &wire_type_i16 && length >= 10 &&
           strcmp(field->name + length - 10, "error_code") == 0;
}

/* What an answer has of errors: each is counted once for a run of rows, the first refusal is logged. */
struct tally {
    const struct broker_request *request;
    int16_t code, refusal;
    size_t run, refusals;
    mr_str why;
};

/* Errors by which clients find their way are no refusals: they ask again, or elsewhere. */
static bool is_refusal(const struct kafka_api *api, int16_t code)
{
    switch (code) {
    case KAFKA_ERROR_REBALANCE_IN_PROGRESS:
    case KAFKA_ERROR_MEMBER_ID_REQUIRED:
    case KAFKA_ERROR_COORDINATOR_LOAD_IN_PROGRESS:
    case KAFKA_ERROR_COORDINATOR_NOT_AVAILABLE:
    case KAFKA_ERROR_NOT_CONTROLLER:
    case KAFKA_ERROR_LEADER_NOT_AVAILABLE:
    case KAFKA_ERROR_NOT_LEADER_OR_FOLLOWER:
    case KAFKA_ERROR_UNKNOWN_LEADER_EPOCH:
    case KAFKA_ERROR_CONCURRENT_TRANSACTIONS:
    case KAFKA_ERROR_UNSTABLE_OFFSET_COMMIT:
    case KAFKA_ERROR_FETCH_SESSION_ID_NOT_FOUND:
    case KAFKA_ERROR_INVALID_FETCH_SESSION_EPOCH:
    case KAFKA_ERROR_SHARE_SESSION_NOT_FOUND:
    case KAFKA_ERROR_INVALID_SHARE_SESSION_EPOCH:
    case KAFKA_ERROR_OPERATION_NOT_ATTEMPTED:
    case KAFKA_ERROR_ELECTION_NOT_NEEDED:
        return false;
    case KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION: /* asked for what is not made yet, or no longer there */
    case KAFKA_ERROR_UNKNOWN_TOPIC_ID:
    case KAFKA_ERROR_GROUP_ID_NOT_FOUND:
    case KAFKA_ERROR_TRANSACTIONAL_ID_NOT_FOUND:
        return api->key != KAFKA_API_metadata && strncmp(api->name, "describe", 8) != 0 &&
               strstr(api->name, "group_describe") == NULL;
    default:
        /* versions are agreed upon by an error, and who does not get in is told of where that is decided */
        return api->key != KAFKA_API_api_versions && api->key != KAFKA_API_sasl_handshake &&
               api->key != KAFKA_API_sasl_authenticate;
    }
}

static struct plan *plan_make(const struct wire_shape *shape)
{
    struct plan plan = {.bytes = shape->bytes};
    struct plan *made = NULL;

    for (const struct wire_field *field = shape->fields; field->name != NULL; field++) {
        bool list = field->type == &wire_type_array || field->type == &wire_type_narray;
        struct plan *rows = list ? plan_make(field->row()) : NULL;
        mr_assert(plan.code_count < PLAN_CODES_MAX && plan.row_count < PLAN_ROWS_MAX);
        if (names_error(field))
            plan.codes[plan.code_count++] = field->offset;
        else if (strcmp(field->name, "error_message") == 0)
            plan.message = field->offset;
        else if (rows != NULL)
            plan.rows[plan.row_count++] = (struct plan_rows){field->offset, rows};
    }
    if (plan.code_count + plan.row_count > 0) {
        made = mr_new(struct plan);
        *made = plan;
    }
    return made;
}

/* ListOffsets, as the protocol writes list_offsets. */
static void api_name(const struct kafka_api *api, struct mr_buf *out)
{
    bool begins = true;

    for (const char *name = api->name; *name != '\0'; name++) {
        if (*name != '_')
            mr_buf_u8(out, (uint8_t)(begins ? *name - 'a' + 'A' : *name));
        begins = *name == '_';
    }
}

static void error_count(const struct kafka_api *api, int16_t code, size_t count)
{
    struct mr_buf labels = {0};

    if (count == 0)
        return;
    mr_buf_cstr(&labels, "request=\"");
    api_name(api, &labels);
    mr_buf_printf(&labels, "\",error=\"%s\"", kafka_error_name(code));
    mr_counter_add(mr_counter_get(MR_METRIC_BROKER_ANSWER_ERRORS, mr_buf_as_str(&labels)),
                   (int64_t)count);
    mr_buf_fini(&labels);
}

static void error_note(struct tally *tally, int16_t code, mr_str why)
{
    if (code != tally->code) {
        error_count(tally->request->api, tally->code, tally->run);
        tally->code = code;
        tally->run = 0;
    }
    tally->run++;
    if (!is_refusal(tally->request->api, code))
        return;
    if (tally->refusals++ > 0)
        return;
    tally->refusal = code;
    tally->why = why.length > 0 ? why : mr_str_from(kafka_error_text(code));
}

static void errors_count(struct tally *tally, const struct plan *plan, const void *from)
{
    const char *bytes = from;

    for (size_t i = 0; i < plan->code_count; i++) {
        int16_t code;
        memcpy(&code, bytes + plan->codes[i], sizeof(code));
        if (code != KAFKA_ERROR_NONE)
            error_note(tally, code,
                       plan->message == 0 ? MR_STR_NULL
                                          : *(const mr_str *)(const void *)(bytes + plan->message));
    }
    for (size_t i = 0; i < plan->row_count; i++) {
        const struct wire_array *list = (const void *)(bytes + plan->rows[i].offset);
        const struct plan *rows = plan->rows[i].plan;
        for (int32_t k = 0; k < list->count; k++)
            errors_count(tally, rows, (const char *)list->items + (size_t)k * rows->bytes);
    }
}

/* Whom the request speaks of, when it is one: a group, a transaction. */
static mr_str subject_of(const struct broker_request *request)
{
    const struct wire_shape *shape = request->api->request();

    for (const struct wire_field *field = shape->fields; request->in != NULL && field->name != NULL;
         field++)
        if (strcmp(field->name, "group_id") == 0 || strcmp(field->name, "transactional_id") == 0)
            return *(const mr_str *)(const void *)((const char *)request->in + field->offset);
    return MR_STR_NULL;
}

/* Once for a request, and not again what has been told of where it was refused. */
static void refusal_tell(const struct tally *tally)
{
    const struct broker_request *request = tally->request;
    mr_str subject = subject_of(request);
    struct mr_buf why = {0};

    if (tally->refusals == 0 || request->refusal_told || request->conn == NULL)
        return;
    if (subject.length > 0)
        mr_buf_printf(&why, "%.*s: ", MR_STR_ARG(mr_str_slice(subject, 0, 255)));
    mr_buf_str(&why, mr_str_slice(tally->why, 0, 1000));
    if (tally->refusals > 1)
        mr_buf_printf(&why, " (and %zu rows more)", tally->refusals - 1);
    broker_server_refused(request, tally->refusal, mr_buf_as_str(&why));
    mr_buf_fini(&why);
}

/* ---- times ---- */

static size_t bucket_of(int64_t us)
{
    int power = us < 4 ? 0 : 63 - __builtin_clzll((unsigned long long)us);
    size_t bucket = us < 4 ? (size_t)(us < 0 ? 0 : us)
                           : (size_t)(power - 1) * 4 + (size_t)((us >> (power - 2)) & 3);

    return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

/* The middle of what the bucket takes. */
static double bucket_us(size_t bucket)
{
    return bucket < 4 ? (double)bucket
                      : ((double)(bucket % 4) + 4.5) * (double)(1ll << (bucket / 4 - 1));
}

static void period_reach(struct broker_answers *answers, int64_t now_us)
{
    int64_t period = now_us / PERIOD_US;

    if (period == answers->period)
        return;
    if (period == answers->period + 1)
        memcpy(answers->buckets[0], answers->buckets[1], sizeof(answers->buckets[0]));
    else
        memset(answers->buckets[0], 0, sizeof(answers->buckets[0]));
    memset(answers->buckets[1], 0, sizeof(answers->buckets[1]));
    answers->period = period;
}

void broker_answers_count(struct broker_request *request)
{
    struct broker_server *server = request->server;
    struct broker_answers **answers = &server->answers[request->api->key];
    int64_t now_us = mr_clock_mono_us(mr_loop_clock(server->loop));
    int64_t took_us = now_us - request->came_us;

    if (*answers == NULL) {
        *answers = mr_new(struct broker_answers);
        (*answers)->plan = plan_make(request->api->response());
    }
    period_reach(*answers, now_us);
    (*answers)->buckets[1][bucket_of(took_us)]++;
    (*answers)->count++;
    (*answers)->sum_us += took_us;
    if ((*answers)->plan != NULL && request->out != NULL && !request->silent) {
        struct tally tally = {.request = request};
        errors_count(&tally, (*answers)->plan, request->out);
        error_count(request->api, tally.code, tally.run);
        refusal_tell(&tally);
    }
}

void broker_answers_fini(struct broker_server *server)
{
    for (size_t i = 0; i <= KAFKA_API_KEY_MAX; i++) {
        if (server->answers[i] != NULL)
            plan_free(server->answers[i]->plan);
        mr_free(server->answers[i]);
    }
}

/* ---- telling ---- */

static void row_head(struct mr_buf *out, const struct kafka_api *api, const char *name,
                     const char *what)
{
    mr_buf_printf(out, "%s%s{request=\"", name, what);
    api_name(api, out);
    mr_buf_u8(out, '"');
}

static void quantiles_print(const struct broker_answers *answers, const struct kafka_api *api,
                            const char *name, struct mr_buf *out)
{
    static const struct {
        const char *word;
        double share;
    } quantiles[] = {{"0.50", 0.5},  {"0.75", 0.75}, {"0.95", 0.95},
                     {"0.98", 0.98}, {"0.99", 0.99}, {"0.999", 0.999}};
    uint64_t all = 0, seen = 0;
    size_t bucket = 0;

    for (size_t i = 0; i < BUCKETS; i++)
        all += (uint64_t)answers->buckets[0][i] + answers->buckets[1][i];
    for (size_t i = 0; all > 0 && i < mr_count_of(quantiles); i++) {
        while (bucket < BUCKETS &&
               (double)(seen + answers->buckets[0][bucket] + answers->buckets[1][bucket]) <
                   quantiles[i].share * (double)all) {
            seen += (uint64_t)answers->buckets[0][bucket] + answers->buckets[1][bucket];
            bucket++;
        }
        row_head(out, api, name, "");
        mr_buf_printf(out, ",quantile=\"%s\"} %.3f\n", quantiles[i].word, bucket_us(bucket) / 1000);
    }
}

void broker_answers_print(struct broker_server *server, const char *name, struct mr_buf *out)
{
    int64_t now_us = mr_loop_now_us(server->loop);

    for (int16_t key = 0; key <= KAFKA_API_KEY_MAX; key++) {
        struct broker_answers *answers = server->answers[key];
        const struct kafka_api *api = kafka_api_find(key);
        if (answers == NULL || api == NULL)
            continue;
        period_reach(answers, now_us);
        quantiles_print(answers, api, name, out);
        row_head(out, api, name, "_sum");
        mr_buf_printf(out, "} %.3f\n", (double)answers->sum_us / 1000);
        row_head(out, api, name, "_count");
        mr_buf_printf(out, "} %lld\n", (long long)answers->count);
    }
}

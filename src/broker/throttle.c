/* broker/throttle.c: what clients use of their quotas, and how long they wait when it is too much.
 *
 * A rate is taken over eleven windows of a second, of which the last one is not over (Kafka's SampledStat
 * with quota.window.num 11): what is too much fits again once the windows are longer by the wait. Changes of
 * partitions come out of a bucket that holds eleven seconds' worth (KIP-599). Who is counted together follows
 * from the row whose limit holds: its user, its client id or both. */
#include "broker/server.h"

#include <arpa/inet.h>
#include <math.h>
#include <stdio.h>

enum {
    WINDOWS = 11,
    WINDOW_US = 1000 * 1000,
    SWEEP_US = 1000 * 1000,
    SHORT_WAIT_MS = 1000,          /* the longest one for requests and connections: a window */
    LONG_WAIT_MS = 10 * 60 * 1000, /* Kafka closes a connection that was quiet for so long */
    NAME_BYTES_MAX = 255,          /* longer names are told apart by so much of them */
    DEBT_S_MAX = 24 * 3600,        /* the longest that a debt is remembered */
    TOLD_MAX = 1000,               /* counters in the metrics, which are never given back */
};

struct use {
    double windows[WINDOWS]; /* by the number of the second */
    int64_t window;          /* the latest one */
    double tokens;
    int64_t filled_us, used_us;
    struct mr_counter *told; /* NULL until somebody has waited */
};
/* Which row's limit holds for a request, and what was used of it. */
struct claim {
    double limit; /* 0: none */
    struct use *use;
};

void broker_throttle_fini(struct broker_quotas *quotas)
{
    struct mr_map_entry *entry;

    for (int key = 0; key < BROKER_QUOTA_COUNT; key++) {
        for (size_t i = 0; (entry = mr_map_next(&quotas->uses[key], &i)) != NULL;)
            mr_free(entry->value);
        mr_map_fini(&quotas->uses[key]);
    }
}

/* ---- rates ---- */

static void windows_pass(struct use *use, int64_t now_us)
{
    int64_t now = now_us / WINDOW_US;
    int64_t from = use->window < now - WINDOWS ? now - WINDOWS : use->window;

    while (from < now)
        use->windows[++from % WINDOWS] = 0;
    use->window = now;
    use->used_us = now_us;
}

static void rate_add(struct use *use, int64_t now_us, double value)
{
    windows_pass(use, now_us);
    use->windows[use->window % WINDOWS] += value;
}

static double windows_sum(struct use *use, int64_t now_us)
{
    double sum = 0;

    windows_pass(use, now_us);
    for (int i = 0; i < WINDOWS; i++)
        sum += use->windows[i];
    return sum;
}

/* How long to wait until the rate is at the limit; 0: it is not above it. */
static double rate_wait_ms(struct use *use, int64_t now_us, double limit)
{
    double seconds = WINDOWS - 1 + (double)(now_us % WINDOW_US) / WINDOW_US;
    double sum = windows_sum(use, now_us);

    return sum / seconds <= limit ? 0 : (sum / seconds - limit) / limit * seconds * 1000;
}

static int32_t bounded(double wait_ms, int32_t most)
{
    return wait_ms >= most ? most : (int32_t)lround(wait_ms);
}

/* ---- whose limit holds ---- */

/* What was not used for all windows is as if it had never been. It is looked for once a second at most: strangers
 * that fill the table are not to cost a walk each. */
static void uses_sweep(struct broker_quotas *quotas, enum broker_quota_key key, int64_t now_us)
{
    struct mr_map *uses = &quotas->uses[key];
    struct mr_map_entry *entry;

    if (quotas->swept_us[key] != 0 && now_us - quotas->swept_us[key] < SWEEP_US)
        return;
    quotas->swept_us[key] = now_us;
    for (size_t i = 0; (entry = mr_map_next(uses, &i)) != NULL;) {
        const struct use *use = entry->value;
        if (now_us - use->used_us > (int64_t)2 * WINDOWS * WINDOW_US)
            mr_free(mr_map_remove(uses, entry->key));
    }
}

static struct use *use_find(struct broker_quotas *quotas, enum broker_quota_key key,
                            const struct broker_quota_entity *who, int64_t now_us)
{
    struct mr_map *uses = &quotas->uses[key];
    struct mr_buf name = {0};
    struct use *use;

    broker_quotas_name(who, &name);
    use = mr_map_get(uses, mr_buf_as_str(&name));
    if (use == NULL) {
        if (uses->count >= MR_LIMIT_BROKER_QUOTA_USES)
            uses_sweep(quotas, key, now_us);
        if (uses->count >= MR_LIMIT_BROKER_QUOTA_USES)
            mr_buf_clear(&name); /* who comes now is counted together */
        use = mr_map_get(uses, mr_buf_as_str(&name));
    }
    if (use == NULL) {
        use = mr_new(struct use);
        use->window = now_us / WINDOW_US;
        use->filled_us = use->used_us = now_us;
        use->tokens = INFINITY; /* full, whatever that is */
        mr_map_put(uses, mr_buf_as_str(&name), use);
    }
    mr_buf_fini(&name);
    if (use->used_us < now_us)
        use->used_us = now_us;
    return use;
}

static double limit_of(const struct broker_quotas *quotas, enum broker_quota_key key,
                       const struct broker_quota_entity *entity, struct mr_buf *name)
{
    const struct broker_quota *row;

    mr_buf_clear(name);
    broker_quotas_name(entity, name);
    row = mr_map_get(&quotas->rows, mr_buf_as_str(name));
    return row == NULL ? 0 : row->limits[key];
}

/* The first row that has a limit, in Kafka's order; *who: those that are counted together. */
static double limit_find(const struct broker_quotas *quotas, enum broker_quota_key key, mr_str user,
                         mr_str client_id, struct broker_quota_entity *who)
{
    enum { NOBODY, DEFAULT, NAMED };
    static const uint8_t order[][2] = {{NAMED, NAMED},   {NAMED, DEFAULT},   {NAMED, NOBODY},
                                       {DEFAULT, NAMED}, {DEFAULT, DEFAULT}, {DEFAULT, NOBODY},
                                       {NOBODY, NAMED},  {NOBODY, DEFAULT}};
    mr_str names[2] = {user, client_id};
    struct mr_buf name = {0};
    double limit = 0;

    for (size_t i = 0; i < mr_count_of(order) && limit == 0; i++) {
        struct broker_quota_entity entity = {0};
        *who = (struct broker_quota_entity){0};
        for (int part = 0; part < 2; part++) {
            who->has[part] = entity.has[part] = order[i][part] != NOBODY;
            entity.names[part] = order[i][part] == NAMED ? names[part] : MR_STR_NULL;
            who->names[part] = who->has[part] ? mr_str_slice(names[part], 0, NAME_BYTES_MAX)
                                              : MR_STR_NULL;
        }
        limit = limit_of(quotas, key, &entity, &name);
    }
    mr_buf_fini(&name);
    return limit;
}

/* Quotas are for those who have come in. */
static bool is_counted(const struct broker_request *request)
{
    const struct broker_conn *conn = request->conn;

    return conn != NULL && request->api->key != KAFKA_API_sasl_handshake &&
           request->api->key != KAFKA_API_sasl_authenticate &&
           (conn->login.state == BROKER_LOGIN_FREE || conn->login.state == BROKER_LOGIN_DONE);
}

static double request_limit(const struct broker_request *request, enum broker_quota_key key,
                            struct broker_quota_entity *who)
{
    const struct broker_quotas *quotas = &request->server->security.quotas;
    mr_str user, client_id = request->header.client_id;

    if (quotas->row_counts[key] == 0 || !is_counted(request))
        return 0;
    user = mr_str_from(request->conn->login.principal);
    if (mr_str_starts(user, MR_STR("User:")))
        user = mr_str_slice(user, 5, user.length);
    if (client_id.data == NULL)
        client_id = MR_STR("");
    return limit_find(quotas, key, user, client_id, who);
}

static struct claim claim_find(struct broker_request *request, enum broker_quota_key key)
{
    struct broker_quota_entity who;
    struct claim claim = {request_limit(request, key, &who), NULL};

    if (claim.limit > 0)
        claim.use = use_find(&request->server->security.quotas, key, &who,
                             mr_loop_now_us(request->server->loop));
    return claim;
}

/* ---- waiting ---- */

static void label_add(struct mr_buf *labels, const char *name, mr_str value)
{
    mr_buf_printf(labels, ",%s=\"", name);
    for (size_t i = 0; i < value.length; i++) {
        char c = value.data[i];
        if (c == '\\' || c == '"')
            mr_buf_u8(labels, '\\');
        mr_buf_u8(labels, (uint8_t)((unsigned char)c < ' ' ? '?' : c));
    }
    mr_buf_u8(labels, '"');
}

/* The answer says so, and the connection is held back. Of two waits the longer one counts. */
static void wait_for(struct broker_request *request, enum broker_quota_key key, struct use *use,
                     int32_t wait_ms)
{
    struct broker_quotas *quotas = &request->server->security.quotas;
    struct broker_quota_entity who;
    struct mr_buf labels = {0};

    if (wait_ms <= 0)
        return;
    if (use->told == NULL) {
        mr_buf_printf(&labels, "quota=\"%s\"", broker_quotas_word(key));
        if (quotas->told_count < TOLD_MAX && request_limit(request, key, &who) > 0) {
            quotas->told_count++;
            label_add(&labels, "user", who.names[BROKER_QUOTA_USER]);
            label_add(&labels, "client_id", who.names[BROKER_QUOTA_CLIENT_ID]);
        }
        use->told = mr_counter_get(MR_METRIC_BROKER_THROTTLED, mr_buf_as_str(&labels));
        mr_buf_fini(&labels);
    }
    mr_counter_add(use->told, wait_ms);
    if (wait_ms > request->throttle_ms)
        request->throttle_ms = wait_ms;
}

static void count(struct broker_request *request, enum broker_quota_key key, double value,
                  int32_t wait_ms_max)
{
    int64_t now_us = mr_loop_now_us(request->server->loop);
    struct claim claim = claim_find(request, key);

    if (claim.use == NULL)
        return;
    rate_add(claim.use, now_us, value);
    wait_for(request, key, claim.use,
             bounded(rate_wait_ms(claim.use, now_us, claim.limit), wait_ms_max));
}

void broker_throttle_spent(struct broker_request *request, int64_t us)
{
    struct claim claim = claim_find(request, BROKER_QUOTA_REQUEST);

    if (claim.use != NULL)
        rate_add(claim.use, mr_loop_now_us(request->server->loop), (double)us * 100 / 1e6);
}

static void count_time(struct broker_request *request)
{
    struct broker_server *server = request->server;

    if (server->running == request) {
        request->spent_us += mr_clock_mono_us(mr_loop_clock(server->loop)) - server->running_us;
        server->running = NULL;
    }
    count(request, BROKER_QUOTA_REQUEST, (double)request->spent_us * 100 / 1e6, SHORT_WAIT_MS);
}

static void throttle_time_write(struct broker_request *request)
{
    for (const struct wire_field *field = request->api->response()->fields; field->name != NULL;
         field++)
        if (strcmp(field->name, "throttle_time_ms") == 0)
            memcpy((char *)request->out + field->offset, &request->throttle_ms,
                   sizeof(request->throttle_ms));
}

void broker_throttle_answer(struct broker_request *request)
{
    const struct kafka_produce_request *produce = request->in;
    bool unheard = request->api->key == KAFKA_API_produce && produce->acks == 0;

    if (request->in == NULL || request->raw) /* too new a version, or a token */
        return;
    if (request->api->key == KAFKA_API_produce)
        count(request, BROKER_QUOTA_PRODUCE, (double)request->frame.length, LONG_WAIT_MS);
    if (!request->time_counted && !unheard)
        count_time(request);
    if (request->throttle_ms == 0)
        return;
    throttle_time_write(request);
    if (request->conn != NULL)
        broker_server_hold_back(request->conn, request->throttle_ms);
}

/* ---- Fetch, ShareFetch ---- */

size_t broker_throttle_fetch_bytes_max(const struct broker_request *request)
{
    struct broker_quota_entity who;
    double limit = request_limit(request, BROKER_QUOTA_FETCH, &who) * (WINDOWS - 1);

    return limit > 0 && limit < INT32_MAX ? (size_t)limit : INT32_MAX;
}

bool broker_throttle_fetch(struct broker_request *request, size_t bytes)
{
    int64_t now_us = mr_loop_now_us(request->server->loop);
    struct claim claim;
    bool first;

    count_time(request);
    request->time_counted = true;
    claim = claim_find(request, BROKER_QUOTA_FETCH);
    if (claim.use == NULL)
        return request->throttle_ms > 0;
    /* The first one goes out: a batch above the limit would never come else. */
    first = request->throttle_ms == 0 && windows_sum(claim.use, now_us) <= 0;
    rate_add(claim.use, now_us, (double)bytes);
    wait_for(request, BROKER_QUOTA_FETCH, claim.use,
             bounded(rate_wait_ms(claim.use, now_us, claim.limit), LONG_WAIT_MS));
    if (first || request->throttle_ms == 0)
        return false;
    rate_add(claim.use, now_us, -(double)bytes); /* nothing of it goes out */
    return true;
}

/* ---- partitions that are made and deleted ---- */

bool broker_throttle_change(struct broker_request *request, int16_t strict_since,
                            int32_t partitions)
{
    int64_t now_us = mr_loop_now_us(request->server->loop);
    bool strict = request->header.request_api_version >= strict_since;
    struct claim claim = claim_find(request, BROKER_QUOTA_CHANGE);
    struct use *use = claim.use;
    double most = claim.limit * WINDOWS;
    bool taken;

    if (use == NULL)
        return true;
    use->tokens += (double)(now_us - use->filled_us) / 1e6 * claim.limit;
    use->tokens = use->tokens > most ? most : use->tokens;
    use->filled_us = now_us;
    taken = !strict || use->tokens >= 0;
    if (taken)
        use->tokens -= partitions;
    /* A debt is not forgotten before it is paid. */
    use->used_us = now_us + (int64_t)(fmin((most - use->tokens) / claim.limit, DEBT_S_MAX) * 1e6);
    if (!strict || !taken)
        wait_for(request, BROKER_QUOTA_CHANGE, use,
                 use->tokens >= 0 ? 0 : bounded(-use->tokens / claim.limit * 1000, LONG_WAIT_MS));
    return taken;
}

/* ---- connections ---- */

/* An IPv4 address is the IPv6 one that stands for it. */
static bool address_read(mr_str text, uint8_t out[16])
{
    char name[INET6_ADDRSTRLEN] = "";

    memset(out, 0, 16);
    memset(out + 10, 0xff, 2);
    snprintf(name, sizeof(name), "%.*s", MR_STR_ARG(text));
    return inet_pton(AF_INET, name, out + 12) == 1 || inet_pton(AF_INET6, name, out) == 1;
}

static double address_limit(const struct broker_quotas *quotas, const uint8_t peer[16])
{
    struct mr_map_entry *entry;
    double otherwise = 0;

    for (size_t i = 0; (entry = mr_map_next(&quotas->rows, &i)) != NULL;) {
        const struct broker_quota *row = entry->value;
        mr_str name = row->entity.names[BROKER_QUOTA_IP];
        uint8_t address[16];
        if (row->limits[BROKER_QUOTA_CONNECTION] == 0)
            continue;
        if (name.data == NULL)
            otherwise = row->limits[BROKER_QUOTA_CONNECTION];
        else if (address_read(name, address) && memcmp(address, peer, 16) == 0)
            return row->limits[BROKER_QUOTA_CONNECTION];
    }
    return otherwise;
}

bool broker_throttle_connection(struct broker_conn *conn, int32_t *wait_ms)
{
    struct broker_quotas *quotas = &conn->server->security.quotas;
    int64_t now_us = mr_loop_now_us(conn->server->loop);
    struct broker_quota_entity who = {0};
    uint8_t peer[16];
    struct use *use;
    double limit;

    if (!address_read(mr_str_from(conn->peer.host), peer))
        return false;
    limit = address_limit(quotas, peer);
    if (limit == 0)
        return false;
    who.has[BROKER_QUOTA_IP] = true;
    who.names[BROKER_QUOTA_IP] = mr_str_of(peer, sizeof(peer));
    use = use_find(quotas, BROKER_QUOTA_CONNECTION, &who, now_us);
    rate_add(use, now_us, 1);
    *wait_ms = bounded(rate_wait_ms(use, now_us, limit), SHORT_WAIT_MS);
    if (*wait_ms == 0)
        return false;
    rate_add(use, now_us, -1); /* it is not let in */
    if (use->told == NULL)
        use->told = mr_counter_get(MR_METRIC_BROKER_THROTTLED, MR_STR("quota=\"connection\""));
    mr_counter_add(use->told, *wait_ms);
    return true;
}

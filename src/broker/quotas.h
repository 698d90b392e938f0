/* broker/quotas.h: how much of the broker a client may use, and what becomes of one who uses more: it is told
 * how long, and not read from so long (KIP-219). Thread: the loop's. */
#ifndef BROKER_QUOTAS_H
#define BROKER_QUOTAS_H

#include "base/base.h"

struct broker_conn;
struct broker_request;
struct json_value;

enum broker_quota_key {
#define QUOTA(id, name, whole, parts, told, about) BROKER_QUOTA_##id,
#include "broker/quotas.def"
    BROKER_QUOTA_COUNT
};
enum broker_quota_part {
    BROKER_QUOTA_USER,
    BROKER_QUOTA_CLIENT_ID,
    BROKER_QUOTA_IP,
    BROKER_QUOTA_PARTS,
};
/* Whose a quota is. A part that it has and that has no name is the default. */
struct broker_quota_entity {
    bool has[BROKER_QUOTA_PARTS];
    mr_str names[BROKER_QUOTA_PARTS];
};
struct broker_quota {
    struct broker_quota_entity entity; /* its texts are its own */
    double limits[BROKER_QUOTA_COUNT]; /* 0: none */
};
struct broker_quotas {
    struct mr_map rows;                     /* by broker_quotas_name(): struct broker_quota */
    size_t row_counts[BROKER_QUOTA_COUNT];  /* rows that limit it; all 0: nothing is counted */
    struct mr_map uses[BROKER_QUOTA_COUNT]; /* throttle.c: what was used of each */
    int64_t swept_us[BROKER_QUOTA_COUNT];   /* when those not in use were last looked for */
    size_t told_count;                      /* of counters in the metrics */
};
void broker_quotas_fini(struct broker_quotas *quotas);
/* A text that no other entity has. */
void broker_quotas_name(const struct broker_quota_entity *entity, struct mr_buf *out);
/* Rows of the security file. */
void broker_quotas_print(const struct broker_quotas *quotas, struct mr_buf *out);
mr_err broker_quotas_read(struct broker_quotas *quotas, const struct json_value *row);
const char *broker_quotas_word(enum broker_quota_key key); /* in the metrics */
/* The answer to an AlterClientQuotas, with this code for every entity. */
void broker_quotas_lay_out(struct broker_request *request, int16_t code);

/* throttle.c. Each is called only when some row of `row_counts` says so. */
/* Before an answer goes: counts it, writes its throttle time and holds the connection back. */
void broker_throttle_answer(struct broker_request *request);
/* A Fetch or ShareFetch that would answer so many bytes: true when its client has to wait, and gets none. */
bool broker_throttle_fetch(struct broker_request *request, size_t bytes);
/* The most bytes of one Fetch that can ever be within the quota. */
size_t broker_throttle_fetch_bytes_max(const struct broker_request *request);
/* Partitions that are made or deleted: false when the quota is used up (KIP-599); versions that cannot be
 * told so, those before `strict_since`, only wait. */
bool broker_throttle_change(struct broker_request *request, int16_t strict_since,
                            int32_t partitions);
/* Time on the loop that the handler of this request did not see. */
void broker_throttle_spent(struct broker_request *request, int64_t us);
/* A fresh connection: true when its address makes too many. It is not read from and closed by and by. */
bool broker_throttle_connection(struct broker_conn *conn, int32_t *wait_ms);
void broker_throttle_fini(struct broker_quotas *quotas);

#endif

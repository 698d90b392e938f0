/* cql/cluster.c: see cluster.h. Hides how the system tables write addresses and tokens. */
#include "cql/cluster.h"

#include <arpa/inet.h>
#include <stdlib.h>

enum {
    WALK_MAX = 8
}; /* different members looked for around the ring; later ones are counted round */

void cql_cluster_init(struct cql_cluster *cluster)
{
    *cluster = (struct cql_cluster){.data_center = MR_STR_NULL};
    mr_arena_init(&cluster->arena);
}

void cql_cluster_fini(struct cql_cluster *cluster)
{
    mr_array_fini(&cluster->members);
    mr_array_fini(&cluster->ring);
    mr_arena_fini(&cluster->arena);
}

/* ---- reading rows ---- */

static mr_err columns_expect(const struct cql_result *result, const enum cql_type_id *types,
                             uint32_t count)
{
    const struct cql_metadata *metadata = &result->metadata;
    bool good = result->kind == CQL_RESULT_ROWS && metadata->column_count == count &&
                metadata->columns != NULL;
    for (uint32_t i = 0; good && i < count; i++)
        good = metadata->columns[i].type->id == types[i];
    return good ? MR_OK : mr_fail(MR_CORRUPT, "a system table has other columns than Cassandra's");
}

static bool address_read(struct cql_value value, uint16_t port, struct net_address *out)
{
    int family = value.length == 4 ? AF_INET : AF_INET6;
    if (value.length != 4 && value.length != 16)
        return false;
    out->port = port;
    return inet_ntop(family, value.data, out->host, sizeof out->host) != NULL;
}

static mr_err tokens_read(struct cql_cluster *cluster, const struct cql_type *type,
                          struct cql_value value, uint32_t member)
{
    struct cql_elements elements = cql_elements_of(type, value);
    struct cql_value token;
    while (cql_elements_next(&elements, &token)) {
        int64_t number;
        if (cluster->ring.count >= MR_LIMIT_CQL_TOKENS)
            return mr_fail(MR_LIMIT, "a ring: at most %d tokens", MR_LIMIT_CQL_TOKENS);
        if (mr_str_to_i64(cql_value_str(token), &number) != MR_OK)
            return mr_fail(MR_CORRUPT, "a token that is no number: %.*s",
                           MR_STR_ARG(cql_value_str(token)));
        *mr_array_add(&cluster->ring) = (struct cql_place){number, member};
    }
    return elements.in.err;
}

mr_err cql_cluster_local(struct cql_cluster *cluster, const struct cql_result *result,
                         const struct net_address *asked)
{
    static const enum cql_type_id types[] = {CQL_TYPE_TEXT, CQL_TYPE_SET, CQL_TYPE_TEXT};
    struct mr_in in = result->rows;
    mr_err err = columns_expect(result, types, mr_count_of(types));
    if (err != MR_OK)
        return err;
    if (result->row_count != 1)
        return mr_fail(MR_CORRUPT, "system.local has %u rows", result->row_count);
    mr_str data_center = cql_value_str(cql_read_value(&in));
    struct cql_value tokens = cql_read_value(&in);
    mr_str partitioner = cql_value_str(cql_read_value(&in));
    if (in.err != MR_OK)
        return in.err;
    cluster->data_center = mr_arena_str(&cluster->arena, data_center);
    cluster->murmur3 = mr_str_find(partitioner, MR_STR("Murmur3Partitioner")) >= 0;
    *mr_array_add(&cluster->members) = *asked;
    return cluster->murmur3 ? tokens_read(cluster, result->metadata.columns[1].type, tokens, 0)
                            : MR_OK;
}

mr_err cql_cluster_peers(struct cql_cluster *cluster, const struct cql_result *result,
                         const struct net_address *asked)
{
    static const enum cql_type_id types[] = {CQL_TYPE_TEXT, CQL_TYPE_SET, CQL_TYPE_INET,
                                             CQL_TYPE_INT};
    uint32_t columns = result->metadata.column_count == 4 ? 4 : 3; /* peers_v2, or peers */
    struct mr_in in = result->rows;
    mr_err err = columns_expect(result, types, columns);
    for (uint32_t i = 0; err == MR_OK && i < result->row_count; i++) {
        struct cql_value data_center = cql_read_value(&in), tokens = cql_read_value(&in);
        struct cql_value address = cql_read_value(&in), port = CQL_VALUE_NULL;
        struct net_address member;
        if (columns == 4)
            port = cql_read_value(&in);
        if (in.err != MR_OK)
            return in.err;
        uint16_t number = asked->port;
        if (port.length == 4) {
            struct mr_in bytes = mr_in_str(cql_value_str(port));
            number = (uint16_t)mr_in_be32(&bytes);
        }
        if (!mr_str_equal(cql_value_str(data_center), cluster->data_center) || tokens.length <= 0 ||
            !address_read(address, number, &member))
            continue;
        if (cluster->members.count >= MR_LIMIT_CQL_NODES)
            return mr_fail(MR_LIMIT, "a cluster: at most %d nodes", MR_LIMIT_CQL_NODES);
        *mr_array_add(&cluster->members) = member;
        if (cluster->murmur3)
            err = tokens_read(cluster, result->metadata.columns[1].type, tokens,
                              (uint32_t)cluster->members.count - 1);
    }
    return err;
}

/* ---- the ring ---- */

static int place_compare(const void *left, const void *right)
{
    const struct cql_place *a = left, *b = right;
    return a->token < b->token ? -1 : a->token > b->token;
}

void cql_cluster_sort(struct cql_cluster *cluster)
{
    if (cluster->ring.count > 0)
        qsort(cluster->ring.items, cluster->ring.count, sizeof(struct cql_place), place_compare);
}

/* The first place whose token is not below; after the last one comes the first. */
static size_t place_of(const struct cql_cluster *cluster, int64_t token)
{
    size_t low = 0, high = cluster->ring.count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (cluster->ring.items[middle].token < token)
            low = middle + 1;
        else
            high = middle;
    }
    return low == cluster->ring.count ? 0 : low;
}

uint32_t cql_cluster_owner(const struct cql_cluster *cluster, int64_t token, uint32_t nth)
{
    uint32_t seen[WALK_MAX], count = 0, wanted = nth % (uint32_t)cluster->members.count;
    size_t at = place_of(cluster, token);
    for (size_t i = 0; i < cluster->ring.count && count < WALK_MAX; i++) {
        uint32_t member = cluster->ring.items[(at + i) % cluster->ring.count].member;
        bool known = false;
        for (uint32_t k = 0; k < count; k++)
            known = known || seen[k] == member;
        if (known)
            continue;
        seen[count] = member;
        if (count++ == wanted)
            return member;
    }
    return (seen[0] + wanted) % (uint32_t)cluster->members.count;
}

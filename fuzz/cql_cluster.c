/* fuzz/cql_cluster.c: system tables that say anything at all about the cluster. The first byte says
 * which table; then comes the body of a RESULT of rows. */
#include "cql/cluster.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
    static const struct net_address asked = {"127.0.0.1", 9042};
    struct mr_in in = mr_in_str(mr_str_of(data, length));
    struct mr_arena arena = {0};
    struct cql_cluster cluster;
    struct cql_result result = {.kind = CQL_RESULT_ROWS};
    bool local = mr_in_u8(&in) % 2 == 0;
    cql_metadata_read(&in, &arena, false, &result.metadata);
    result.row_count = mr_in_be32(&in);
    result.rows = in;
    cql_cluster_init(&cluster);
    if (in.err == MR_OK && result.row_count < 1000) {
        cluster.murmur3 = true;
        if (!local)
            *mr_array_add(&cluster.members) = asked;
        mr_err err = local ? cql_cluster_local(&cluster, &result, &asked)
                           : cql_cluster_peers(&cluster, &result, &asked);
        cql_cluster_sort(&cluster);
        for (uint32_t i = 0; err == MR_OK && cluster.ring.count > 0 && i < 10; i++)
            mr_assert(cql_cluster_owner(&cluster, (int64_t)((uint64_t)i << 60), i) <
                      cluster.members.count);
    }
    cql_cluster_fini(&cluster);
    mr_arena_fini(&arena);
    return 0;
}

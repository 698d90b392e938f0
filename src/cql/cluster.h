/* cql/cluster.h: the nodes of a cluster as its system tables tell them, and whose a token is. Pure: no
 * connection is made here.
 *
 * Only the data centre of the node that was asked counts. A ring place says whose the tokens up to it are;
 * the first node of a data centre clockwise from a token holds the row under either replication strategy,
 * and the next ones are the likeliest to hold it too. */
#ifndef CQL_CLUSTER_H
#define CQL_CLUSTER_H

#include "cql/client.h"
#include "net/net.h"

struct cql_place {
    int64_t token;
    uint32_t member;
};
struct cql_cluster {
    struct mr_arena arena;
    mr_str data_center;
    bool murmur3;                         /* else tokens say nothing, and there is no ring */
    MR_ARRAY(struct net_address) members; /* the one that was asked is the first */
    MR_ARRAY(struct cql_place) ring;      /* in the order of tokens */
};
void cql_cluster_init(struct cql_cluster *cluster);
void cql_cluster_fini(struct cql_cluster *cluster);
/* The statements, and the answers to them: first the node's own row, whose address is `asked`, then its
 * peers, whose port is `asked`'s unless they tell another. Nodes without an address or tokens are not in
 * the ring yet. Errors: MR_CORRUPT, MR_LIMIT. */
#define CQL_CLUSTER_LOCAL \
    "SELECT data_center, tokens, partitioner FROM system.local WHERE key = 'local'"
#define CQL_CLUSTER_PEERS_V2 \
    "SELECT data_center, tokens, native_address, native_port FROM system.peers_v2"
#define CQL_CLUSTER_PEERS "SELECT data_center, tokens, rpc_address FROM system.peers"
mr_err cql_cluster_local(struct cql_cluster *cluster, const struct cql_result *result,
                         const struct net_address *asked);
mr_err cql_cluster_peers(struct cql_cluster *cluster, const struct cql_result *result,
                         const struct net_address *asked);
/* After both: puts the ring in order. */
void cql_cluster_sort(struct cql_cluster *cluster);
/* The nth different member clockwise from a token; nth counts round. The ring must not be empty. */
uint32_t cql_cluster_owner(const struct cql_cluster *cluster, int64_t token, uint32_t nth);

#endif

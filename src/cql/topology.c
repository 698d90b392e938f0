/* cql/topology.c: the nodes of a cluster, which of them has a request, and how much each is given.
 *
 *   nothing known --a contact link opens--> asking --local, peers--> known
 *   known --its control link closes--> another open link becomes it, and asks
 *   known --TOPOLOGY_CHANGE | STATUS_CHANGE--> asking again, after a moment
 *
 * Calls wait until something is known, so that the first ones go to the right node too. A server whose
 * system tables do not read is served by the contact links alone, as is one node without peers.
 *
 * The window of a node bounds the requests that it has at once: it doubles each round until trouble, and
 * then grows by one a round. Trouble is an answer that took long (a quarter less), or a timeout or
 * OVERLOADED (half). What has no room waits, and the caller's room ends: so overload becomes
 * back-pressure. */
#include "cql/session.h"

enum {
    WINDOW_MIN = 8,
    SLOW_US =
        1000000, /* an answer took long; at the server a write is given up after two of these */
    SHRINK_US = 200000,  /* a window shrinks once in so long: one trouble has many answers */
    TRIES_NEAR = 3,      /* nodes around a row's token that are tried in turn */
    REFRESH_US = 500000, /* from an event to the question: events come in swarms */
    REFRESH_AGAIN_US = 60000000, /* events can be missed */
    AGREE_US = 100000,           /* between two looks at the nodes' schema versions */
    AGREE_US_MAX = 10000000,     /* then the change is told all the same, with a line in the log */
};

/* ---- windows ---- */

void cql_topology_answered(struct cql_node *node, int64_t took_us, int64_t now_us)
{
    if (took_us > SLOW_US && now_us - node->shrunk_us > SHRINK_US) {
        node->shrunk_us = now_us;
        node->window = node->window * 3 / 4 < WINDOW_MIN ? WINDOW_MIN : node->window * 3 / 4;
        node->slow_start = node->window;
    } else if (took_us <= SLOW_US && node->window < (double)(CQL_STREAMS * node->link_count)) {
        node->window += node->window < node->slow_start ? 1 : 1 / node->window;
    }
}

void cql_topology_overwhelmed(struct cql_node *node, int64_t now_us)
{
    if (now_us - node->shrunk_us <= SHRINK_US)
        return;
    node->shrunk_us = now_us;
    node->window = node->window / 2 < WINDOW_MIN ? WINDOW_MIN : node->window / 2;
    node->slow_start = node->window;
}

/* ---- choosing ---- */

static bool is_open(const struct cql_node *node)
{
    for (size_t i = 0; i < node->link_count; i++)
        if (node->links[i]->state == CQL_LINK_OPEN)
            return true;
    return false;
}

/* A link of the node with a free stream, so many calls on one before the next. */
static struct cql_link *node_link(struct cql_node *node)
{
    if (node->link_count == 0 || (double)node->under_way >= node->window)
        return NULL;
    if (node->burst_left == 0) {
        node->burst_left = CQL_BURST;
        node->link_at = (node->link_at + 1) % node->link_count;
    }
    for (size_t i = 0; i < node->link_count; i++) {
        struct cql_link *link = node->links[(node->link_at + i) % node->link_count];
        if (link->state == CQL_LINK_OPEN && link->free_count > 0) {
            node->burst_left--;
            return link;
        }
    }
    return NULL;
}

/* A row's call waits for the first node around its token that is connected, even when others have room: a
 * node that passes it on would only add its own work. */
static struct cql_node *near_node(struct cql_client *client, const struct cql_call *call)
{
    const struct cql_cluster *cluster = &client->topology.cluster;
    if ((call->flags & CQL_CALL_ROUTED) == 0 || cluster->ring.count == 0)
        return NULL;
    for (uint32_t i = 0; i < TRIES_NEAR; i++) {
        uint32_t owner = cql_cluster_owner(cluster, call->token, (call->tries + i) % TRIES_NEAR);
        if (is_open(client->nodes.items[owner]))
            return client->nodes.items[owner];
    }
    return NULL;
}

struct cql_link *cql_topology_pick(struct cql_client *client, const struct cql_call *call)
{
    size_t count = client->nodes.count, first = count == 0 ? 0 : client->node_at++ % count;
    struct cql_link *link = NULL;
    bool open = false;
    if (!client->topology.known)
        return NULL;
    struct cql_node *near = near_node(client, call);
    if (near != NULL)
        return node_link(near);
    for (size_t i = 0; i < count && link == NULL; i++) {
        link = node_link(client->nodes.items[(first + i) % count]);
        open = open || is_open(client->nodes.items[(first + i) % count]);
    }
    return link != NULL || open ? link : node_link(&client->contact);
}

/* A routing key (section "token" of the drivers' handbooks): one value as it is, several each with a
 * length before and a zero behind. */
bool cql_topology_token(const struct cql_prepared *prepared, mr_str values, struct mr_buf *scratch,
                        int64_t *out)
{
    const struct cql_metadata *variables = &prepared->variables;
    struct cql_value key = CQL_VALUE_NULL;
    scratch->length = 0;
    for (uint16_t i = 0; i < variables->key_count; i++) {
        struct mr_in in = mr_in_str(values);
        for (uint32_t k = 0; k <= variables->key_indices[i] && in.err == MR_OK; k++)
            key = cql_read_value(&in);
        if (in.err != MR_OK || key.length < 0 || key.length > UINT16_MAX)
            return false;
        if (variables->key_count == 1)
            break;
        mr_buf_be16(scratch, (uint16_t)key.length);
        mr_buf_add(scratch, key.data, (size_t)key.length);
        mr_buf_u8(scratch, 0);
    }
    if (variables->key_count == 0)
        return false;
    *out = variables->key_count == 1 ? mr_murmur3_token(key.data, (size_t)key.length)
                                     : mr_murmur3_token(scratch->data, scratch->length);
    return true;
}

/* ---- news ---- */

static struct cql_node *node_find(struct cql_client *client, const struct net_address *address)
{
    for (size_t i = 0; i < client->nodes.count; i++) {
        struct cql_node *node = client->nodes.items[i];
        if (node->address.port == address->port && strcmp(node->address.host, address->host) == 0)
            return node;
    }
    return NULL;
}

static void node_free(struct cql_node *node)
{
    cql_client_links_free(node);
    mr_free(node);
}

/* The nodes become those of the news, in its order: a ring place's member is a node's index. */
static void nodes_set(struct cql_client *client, const struct cql_cluster *news)
{
    size_t count = news->members.count > 1 ? news->members.count : 0,
           old_count = client->nodes.count;
    struct cql_node **old = client->nodes.items;
    for (size_t i = 0; i < old_count; i++)
        old[i]->listed = false;
    struct cql_node **nodes = mr_alloc((count + 1) * sizeof *nodes);
    for (size_t i = 0; i < count; i++) {
        const struct net_address *address = &news->members.items[i];
        struct cql_node *node = node_find(client, address);
        if (node == NULL) {
            node = mr_new(struct cql_node);
            node->address = *address;
            node->window = CQL_WINDOW_FIRST;
            node->slow_start = CQL_STREAMS * CQL_LINKS_MAX;
            mr_log(MR_LOG_INFO, "cql", "the cluster has the node %s:%u", address->host,
                   address->port);
            cql_client_links_new(client, node, client->contact.link_count);
        }
        node->listed = true;
        nodes[i] = node;
    }
    client->nodes.items = nodes;
    client->nodes.count = count;
    client->nodes.capacity = count + 1;
    client->node_at = 0;
    for (size_t i = 0; i < old_count; i++)
        if (!old[i]->listed) {
            mr_log(MR_LOG_INFO, "cql", "the node %s:%u has left the cluster", old[i]->address.host,
                   old[i]->address.port);
            node_free(old[i]);
        }
    mr_free(old);
}

static void tell_waits(struct cql_client *client)
{
    struct cql_topology *topology = &client->topology;
    size_t nodes = topology->cluster.members.count > 0 ? topology->cluster.members.count : 1;
    while (topology->waits.count > 0) {
        struct cql_cluster_wait wait = topology->waits.items[--topology->waits.count];
        wait.done(wait.context, topology->cluster.data_center, nodes);
    }
}

/* The answers are in, or did not come: what they say is in force from here on. */
static void news_end(struct cql_client *client, mr_err err)
{
    struct cql_topology *topology = &client->topology;
    struct cql_cluster old = topology->cluster;
    topology->asking = false;
    mr_timer_start(client->loop, &topology->timer, REFRESH_AGAIN_US);
    if (err == MR_OK) {
        cql_cluster_sort(&topology->news);
        nodes_set(client, &topology->news);
        topology->cluster = topology->news;
        topology->news = old;
        if (client->nodes.count == 0)
            topology->cluster.ring.count = 0;
    } else {
        mr_log(MR_LOG_DEBUG, "cql", "the cluster's nodes are not known: %s", mr_why());
    }
    cql_cluster_fini(&topology->news);
    cql_cluster_init(&topology->news);
    topology->known = true;
    tell_waits(client);
    cql_client_pump(client);
}

static void on_peers(void *context, mr_err err, const struct cql_result *result)
{
    struct cql_client *client = context;
    struct cql_topology *topology = &client->topology;
    if (err == MR_OK)
        err = cql_cluster_peers(&topology->news, result, &topology->news.members.items[0]);
    news_end(client, err);
}

static void on_peers_v2(void *context, mr_err err, const struct cql_result *result)
{
    struct cql_client *client = context;
    if (err == MR_INVALID && client->topology.control != NULL) /* before Cassandra 4 */
        cql_client_ask(client->topology.control, CQL_OPCODE_QUERY, MR_STR(CQL_CLUSTER_PEERS),
                       on_peers, client);
    else
        on_peers(context, err, result);
}

static void on_local(void *context, mr_err err, const struct cql_result *result)
{
    struct cql_client *client = context;
    struct cql_topology *topology = &client->topology;
    if (err == MR_OK && topology->control == NULL)
        err = mr_fail(MR_CLOSED, "its connection has ended");
    if (err == MR_OK)
        err = cql_cluster_local(&topology->news, result,
                                cql_client_link_address(topology->control));
    if (err != MR_OK)
        news_end(client, err);
    else
        cql_client_ask(topology->control, CQL_OPCODE_QUERY, MR_STR(CQL_CLUSTER_PEERS_V2),
                       on_peers_v2, client);
}

static void refresh(struct cql_client *client)
{
    struct cql_topology *topology = &client->topology;
    if (topology->asking || topology->control == NULL)
        return;
    topology->asking = true;
    cql_client_ask(topology->control, CQL_OPCODE_QUERY, MR_STR(CQL_CLUSTER_LOCAL), on_local,
                   client);
}

static void refresh_due(struct mr_timer *timer)
{
    refresh(mr_container(timer, struct cql_client, topology.timer));
}

/* A call that has changed the schema, until all nodes have the change. */
struct cql_agreement {
    struct cql_agreement *next;
    struct cql_client *client;
    struct cql_link *link; /* that has made the change; NULL: it is closed */
    struct cql_call *call;
    struct mr_timer timer;
    struct mr_buf version; /* of the link's own node */
    int64_t since_us;
    bool asking;
};

/* ---- the control link ---- */

static void on_registered(void *context, mr_err err, const struct cql_result *result)
{
    (void)result;
    (void)context;
    if (err != MR_OK) /* the refresh by time remains */
        mr_log(MR_LOG_DEBUG, "cql", "no events of the cluster: %s", mr_why());
}

static void control_take(struct cql_link *link)
{
    struct cql_client *client = link->client;
    client->topology.control = link;
    client->topology.timer.run = refresh_due;
    cql_client_ask(link, CQL_OPCODE_REGISTER, MR_STR_NULL, on_registered, client);
    refresh(client);
}

void cql_topology_opened(struct cql_link *link)
{
    if (link->client->topology.control == NULL)
        control_take(link);
}

static struct cql_link *open_link(struct cql_node *node)
{
    for (size_t i = 0; i < node->link_count; i++)
        if (node->links[i]->state == CQL_LINK_OPEN)
            return node->links[i];
    return NULL;
}

void cql_topology_closed(struct cql_link *link)
{
    struct cql_client *client = link->client;
    struct cql_topology *topology = &client->topology;
    for (struct cql_agreement *one = topology->agreements; one != NULL; one = one->next)
        if (one->link == link)
            one->link = NULL;
    if (topology->control != link)
        return;
    topology->control = NULL;
    mr_timer_stop(&topology->timer);
    if (client->freed)
        return;
    struct cql_link *other = open_link(&client->contact);
    for (size_t i = 0; i < client->nodes.count && other == NULL; i++)
        other = open_link(client->nodes.items[i]);
    if (other != NULL)
        control_take(other);
}

void cql_topology_event(struct cql_link *link, struct mr_in *in)
{
    struct cql_topology *topology = &link->client->topology;
    mr_str kind = cql_read_string(in);
    if (!mr_str_equal(kind, MR_STR("TOPOLOGY_CHANGE")) &&
        !mr_str_equal(kind, MR_STR("STATUS_CHANGE")))
        return;
    mr_timer_stop(&topology->timer);
    mr_timer_start(link->client->loop, &topology->timer, REFRESH_US);
}

/* ---- agreement on a schema ---- */

static void agreement_free(struct cql_agreement *agreement)
{
    mr_timer_stop(&agreement->timer);
    mr_buf_fini(&agreement->version);
    mr_free(agreement);
}

static void agreement_end(struct cql_agreement *agreement)
{
    struct cql_client *client = agreement->client;
    struct cql_call *call = agreement->call;
    struct cql_agreement **link = &client->topology.agreements;
    const struct cql_result changed = {.kind = CQL_RESULT_SCHEMA_CHANGE};
    while (*link != agreement)
        link = &(*link)->next;
    *link = agreement->next;
    agreement_free(agreement);
    cql_client_tell(client, call, MR_OK, &changed);
}

static void agreement_look_again(struct cql_agreement *agreement)
{
    struct mr_loop *loop = agreement->client->loop;
    agreement->asking = false;
    if (mr_loop_now_us(loop) - agreement->since_us > AGREE_US_MAX) {
        mr_log(MR_LOG_WARN, "cql", "the nodes do not agree on the schema after %d s",
               AGREE_US_MAX / 1000000);
        agreement_end(agreement);
        return;
    }
    mr_timer_start(loop, &agreement->timer, AGREE_US);
}

/* Peers of which nothing is known yet have no version. */
static void on_versions(void *context, mr_err err, const struct cql_result *result)
{
    struct cql_agreement *agreement = context;
    struct mr_in in = err == MR_OK ? result->rows : mr_in_str(MR_STR_NULL);
    bool agreed = err == MR_OK && result->metadata.column_count == 1;
    for (uint32_t i = 0; agreed && i < result->row_count; i++) {
        struct cql_value version = cql_read_value(&in);
        agreed = version.length < 0 ||
                 mr_str_equal(cql_value_str(version), mr_buf_as_str(&agreement->version));
    }
    if (agreed)
        agreement_end(agreement);
    else
        agreement_look_again(agreement);
}

static void on_version(void *context, mr_err err, const struct cql_result *result)
{
    struct cql_agreement *agreement = context;
    if (err != MR_OK || result->row_count != 1 || result->metadata.column_count != 1 ||
        agreement->link == NULL) {
        agreement_look_again(agreement);
        return;
    }
    struct mr_in in = result->rows;
    agreement->version.length = 0;
    mr_buf_str(&agreement->version, cql_value_str(cql_read_value(&in)));
    cql_client_ask(agreement->link, CQL_OPCODE_QUERY,
                   MR_STR("SELECT schema_version FROM system.peers"), on_versions, agreement);
}

static void agreement_due(struct mr_timer *timer)
{
    struct cql_agreement *agreement = mr_container(timer, struct cql_agreement, timer);
    if (agreement->link == NULL) { /* whom else to ask: the change itself has been acknowledged */
        agreement_end(agreement);
        return;
    }
    agreement->asking = true;
    cql_client_ask(agreement->link, CQL_OPCODE_QUERY,
                   MR_STR("SELECT schema_version FROM system.local WHERE key = 'local'"),
                   on_version, agreement);
}

void cql_topology_agree(struct cql_link *link, struct cql_call *call)
{
    struct cql_client *client = link->client;
    struct cql_agreement *agreement = mr_new(struct cql_agreement);
    *agreement = (struct cql_agreement){.next = client->topology.agreements,
                                        .client = client,
                                        .link = link,
                                        .call = call,
                                        .since_us = mr_loop_now_us(client->loop)};
    agreement->timer.run = agreement_due;
    client->topology.agreements = agreement;
    mr_timer_start(client->loop, &agreement->timer, 0);
}

/* ---- what the world sees ---- */

void cql_topology_tell(struct cql_client *client)
{
    if (client->topology.known)
        tell_waits(client);
}

void cql_client_cluster(struct cql_client *client, cql_cluster_done *done, void *context)
{
    *mr_array_add(&client->topology.waits) = (struct cql_cluster_wait){done, context};
    client->cluster_waits = true;
    mr_loop_at_turn_end(client->loop, &client->turn_end);
}

void cql_topology_fini(struct cql_client *client)
{
    struct cql_topology *topology = &client->topology;
    while (topology->agreements != NULL) {
        struct cql_agreement *agreement = topology->agreements;
        topology->agreements = agreement->next;
        mr_bytes_unref(agreement->call->chunk);
        mr_free(agreement->call);
        agreement_free(agreement);
    }
    mr_timer_stop(&topology->timer);
    topology->control = NULL;
    for (size_t i = 0; i < client->nodes.count; i++)
        node_free(client->nodes.items[i]);
    mr_array_fini(&client->nodes);
    mr_array_fini(&topology->waits);
    cql_cluster_fini(&topology->cluster);
    cql_cluster_fini(&topology->news);
}

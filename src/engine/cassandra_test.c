/* engine/cassandra_test.c: how a keyspace that we make is replicated. */
#include "story.h"

#include "engine/cassandra.h"

static void expect_replication(const char *words, size_t nodes, const char *wanted)
{
    struct mr_buf text = {0};
    expect_ok(engine_cassandra_replication(&text, mr_str_from(words), MR_STR("east"), nodes));
    expect_str(mr_buf_as_str(&text), mr_str_from(wanted));
    mr_buf_fini(&text);
}

STORY("a keyspace is copied to up to three nodes, or as the user says")
{
    expect_replication("", 1, "{'class': 'SimpleStrategy', 'replication_factor': 1}");
    expect_replication("", 2, "{'class': 'NetworkTopologyStrategy', 'east': 2}");
    expect_replication("", 9, "{'class': 'NetworkTopologyStrategy', 'east': 3}");
    expect_replication("2", 9, "{'class': 'NetworkTopologyStrategy', 'east': 2}");
    expect_replication("east:3, west:2", 3,
                       "{'class': 'NetworkTopologyStrategy', 'east': 3, 'west': 2}");
}

STORY("words that say no number of copies are refused")
{
    static const char *const wrong[] = {"none", "0", "east:", "east:x", "a'b:1", "65", ":2"};
    for (size_t i = 0; i < mr_count_of(wrong); i++) {
        struct mr_buf text = {0};
        expect_err(engine_cassandra_replication(&text, mr_str_from(wrong[i]), MR_STR("east"), 3),
                   MR_INVALID);
        mr_buf_fini(&text);
    }
}

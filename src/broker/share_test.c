/* broker/share_test.c: share groups: what becomes of records, alone; members, locks and restarts over a
 * socket on a test's clock. */
#include "broker_peer.h"

/* ---- one partition, alone ---- */

static struct broker_share_partition given_partition(int64_t start)
{
    struct broker_share_partition partition = {0};
    broker_share_partition_begin(&partition, start);
    return partition;
}

struct wish {
    uint64_t owner;
    int64_t records, at;
    bool strict;
};

/* Shows the batches of two offsets each, "first-last:deliveries" of what was acquired. */
static const char *takes(struct broker_share_partition *partition, struct wish wish, int64_t end)
{
    static char told[400];
    struct broker_share_take take = {.owner = wish.owner,
                                     .lock_us = 1000,
                                     .records_max = wish.records,
                                     .batch_size = 4,
                                     .in_flight_max = 20,
                                     .strict = wish.strict,
                                     .at = wish.at};
    size_t length = 0;

    for (int64_t base = wish.at / 2 * 2; base < end; base += 2)
        broker_share_partition_acquire(partition, &take, base, base + 1, false);
    told[0] = '\0';
    for (size_t i = 0; i < take.acquired.count; i++)
        length += (size_t)snprintf(told + length, sizeof(told) - length, "%s%lld-%lld:%d",
                                   i > 0 ? " " : "", (long long)take.acquired.items[i].first_offset,
                                   (long long)take.acquired.items[i].last_offset,
                                   take.acquired.items[i].delivery_count);
    mr_array_fini(&take.acquired);
    return told;
}

static int16_t says(struct broker_share_partition *partition, uint64_t owner, int64_t first,
                    int64_t last, const char *verdicts)
{
    int8_t types[32];
    struct kafka_share_acknowledgement batch = {first, last, {types, (int32_t)strlen(verdicts)}};

    for (size_t i = 0; verdicts[i] != '\0'; i++)
        types[i] = (int8_t)(verdicts[i] - '0');
    return broker_share_partition_acknowledge(partition, owner, &batch, 1, 5, 2000);
}

STORY("members of a share group get records that nobody else has, whole batches at a time")
{
    struct broker_share_partition partition = given_partition(0);
    expect_str(mr_str_from(takes(&partition, (struct wish){1, 3, 0, false}, 12)), MR_STR("0-3:1"));
    expect_int(broker_share_partition_next(&partition), 4);
    expect_str(mr_str_from(takes(&partition, (struct wish){2, 100, 4, false}, 12)),
               MR_STR("4-7:1 8-11:1"));
    expect_str(mr_str_from(takes(&partition, (struct wish){2, 100, 12, false}, 12)), MR_STR(""));
    expect_int(says(&partition, 1, 4, 5, "1"), KAFKA_ERROR_INVALID_RECORD_STATE);
    expect_int(says(&partition, 2, 10, 12, "1"), KAFKA_ERROR_INVALID_RECORD_STATE);
    expect_int(says(&partition, 2, 4, 11, "1"), 0);
    expect_int(partition.start, 0);
    expect_int(broker_share_partition_done(&partition), 8);
    expect_int(says(&partition, 1, 0, 3, "1123"), 0);
    expect_int(partition.start, 2);
    expect_str(mr_str_from(takes(&partition, (struct wish){3, 100, 2, false}, 12)),
               MR_STR("2-2:2"));
    expect_int(says(&partition, 3, 2, 2, "0"), 0);
    expect_int(partition.start, 12);
    expect_int((int64_t)partition.count, 0);
    expect_int(says(&partition, 3, 2, 2, "1"), 0); /* long over */
    broker_share_partition_fini(&partition);
}

STORY("a batch that claims many records is given out as far as there may be some in flight")
{
    struct broker_share_partition partition = given_partition(0);
    struct broker_share_take take = {
        .owner = 1, .lock_us = 1000, .records_max = 5, .batch_size = 4, .in_flight_max = 20};
    expect_int(broker_share_partition_acquire(&partition, &take, 0, 999999999, false), 20);
    expect_int(broker_share_partition_end(&partition), 20);
    expect_int(take.records_max, 0);
    mr_array_fini(&take.acquired);
    broker_share_partition_fini(&partition);
}

STORY("verdicts on records that went with the power are not those of the next ones")
{
    struct broker_share_partition partition = given_partition(0);
    expect_str(mr_str_from(takes(&partition, (struct wish){1, 100, 0, false}, 12)),
               MR_STR("0-3:1 4-7:1 8-11:1"));
    expect_int(says(&partition, 1, 4, 11, "1"), 0);
    expect(!broker_share_partition_trim(&partition, 12));
    expect(broker_share_partition_trim(&partition, 6));
    expect_int(broker_share_partition_end(&partition), 6);
    expect_str(mr_str_from(takes(&partition, (struct wish){2, 100, 6, false}, 10)),
               MR_STR("6-9:1"));
    expect(broker_share_partition_trim(&partition, 0));
    expect_int(partition.start, 0);
    expect_int((int64_t)partition.count, 0);
    broker_share_partition_fini(&partition);
}

STORY("a member that wants few records gets no more, where it is strict")
{
    struct broker_share_partition partition = given_partition(0);
    expect_str(mr_str_from(takes(&partition, (struct wish){1, 3, 0, true}, 12)), MR_STR("0-2:1"));
    expect_str(mr_str_from(takes(&partition, (struct wish){2, 2, 3, true}, 12)), MR_STR("3-4:1"));
    expect(broker_share_partition_release(&partition, 1, 5));
    expect_str(mr_str_from(takes(&partition, (struct wish){2, 2, 0, true}, 12)), MR_STR("0-1:1"));
    broker_share_partition_fini(&partition);
}

STORY("nothing new is given out while too much is in flight, but what comes back is")
{
    struct broker_share_partition partition = given_partition(0);
    expect_str(mr_str_from(takes(&partition, (struct wish){1, 100, 0, false}, 60)),
               MR_STR("0-3:1 4-7:1 8-11:1 12-15:1 16-19:1"));
    expect(!broker_share_partition_gives(&partition, 20));
    expect_int(says(&partition, 1, 8, 9, "2"), 0);
    expect(broker_share_partition_gives(&partition, 20));
    expect_str(mr_str_from(takes(&partition, (struct wish){2, 100, 8, false}, 60)),
               MR_STR("8-9:2"));
    expect_int(says(&partition, 1, 0, 7, "1"), 0);
    expect_str(mr_str_from(takes(&partition, (struct wish){2, 100, 20, false}, 60)),
               MR_STR("20-23:1 24-27:1"));
    broker_share_partition_fini(&partition);
}

STORY("locks end, and a record that came too often does not come again")
{
    struct broker_share_partition partition = given_partition(10);
    for (int delivery = 1; delivery <= 5; delivery++) {
        char wanted[20];
        snprintf(wanted, sizeof(wanted), "10-11:%d", delivery);
        expect_str(mr_str_from(takes(&partition, (struct wish){1, 2, 10, false}, 12)),
                   mr_str_from(wanted));
        expect(!broker_share_partition_expire(&partition, 999, 5));
        expect(broker_share_partition_expire(&partition, 1000, 5));
    }
    expect_int(partition.start, 12);
    expect_str(mr_str_from(takes(&partition, (struct wish){1, 2, 12, false}, 14)),
               MR_STR("12-13:1"));
    expect_int(says(&partition, 1, 12, 13, "4"), 0); /* renewed until 2000 */
    expect(!broker_share_partition_expire(&partition, 1999, 5));
    expect_int(broker_share_partition_lock_us(&partition), 2000);
    broker_share_partition_fini(&partition);
}

STORY("offsets without records, markers and a log that begins later hold nobody up")
{
    struct broker_share_partition partition = given_partition(0);
    struct broker_share_take take = {
        .owner = 1, .records_max = 100, .batch_size = 100, .in_flight_max = 100};
    expect_int(broker_share_partition_acquire(&partition, &take, 0, 4, false), 5);
    expect_int(broker_share_partition_acquire(&partition, &take, 5, 5, true), 0);
    expect_int(broker_share_partition_acquire(&partition, &take, 10, 12, false), 3);
    expect_int((int64_t)take.acquired.count, 2);
    expect_int(take.acquired.items[1].first_offset, 10);
    expect_int(says(&partition, 1, 0, 4, "1"), 0);
    expect_int(partition.start, 10);
    broker_share_partition_cut(&partition, 11);
    expect_int(partition.start, 11);
    expect_int(says(&partition, 1, 10, 12, "1"), 0);
    expect_int(partition.start, 13);
    broker_share_partition_cut(&partition, 50);
    expect_int(broker_share_partition_next(&partition), 50);
    mr_array_fini(&take.acquired);
    broker_share_partition_fini(&partition);
}

/* Against a record at a time: whatever is asked in whatever order, each record is in one state. */
STORY("runs say of each record what became of it, whatever becomes of its neighbours")
{
    enum { RECORDS = 64 };
    struct mr_random random;
    mr_random_init(&random, 11);
    for (int round = 0; round < 200; round++) {
        struct broker_share_partition partition = given_partition(0);
        uint64_t owner[RECORDS] = {0};
        bool over[RECORDS] = {false};
        for (int step = 0; step < 60; step++) {
            int64_t first = (int64_t)mr_random_below(&random, RECORDS);
            int64_t last = first + (int64_t)mr_random_below(&random, RECORDS - (uint64_t)first);
            uint64_t who = 1 + mr_random_below(&random, 3);
            if (mr_random_below(&random, 2) == 0) {
                struct broker_share_take take = {.owner = who,
                                                 .records_max = 1 + last - first,
                                                 .batch_size = 1000,
                                                 .in_flight_max = 1000,
                                                 .strict = true,
                                                 .at = broker_share_partition_next(&partition)};
                broker_share_partition_acquire(&partition, &take, take.at & ~7, RECORDS - 1, false);
                for (size_t i = 0; i < take.acquired.count; i++)
                    for (int64_t at = take.acquired.items[i].first_offset;
                         at <= take.acquired.items[i].last_offset; at++) {
                        expect(owner[at] == 0 && !over[at]);
                        owner[at] = who;
                    }
                mr_array_fini(&take.acquired);
            } else {
                char verdict[2] = {(char)('1' + mr_random_below(&random, 3)), '\0'};
                bool mine = true;
                for (int64_t at = first; at <= last; at++)
                    mine = mine && (at < partition.start || owner[at] == who);
                expect(mine == (says(&partition, who, first, last, verdict) == 0));
                for (int64_t at = first; at <= last && mine; at++) {
                    over[at] = over[at] || (owner[at] == who && verdict[0] != '2');
                    owner[at] = 0;
                }
            }
            for (int64_t at = 0; at < partition.start; at++)
                expect(over[at] || owner[at] == 0);
        }
        broker_share_partition_fini(&partition);
    }
}

/* ---- members over a socket ---- */

struct member {
    struct peer *peer;
    const char *id;
    int32_t epoch, session_epoch;
    int64_t first, last; /* of what it was given last; -1: nothing */
    int16_t deliveries;
    mr_uuid topic;
};

static int16_t beats(struct member *member, const char *topic, int32_t epoch)
{
    mr_str name = mr_str_from(topic);
    struct kafka_share_group_heartbeat_request request = {.group_id = MR_STR("jobs"),
                                                          .member_id = mr_str_from(member->id),
                                                          .member_epoch = epoch,
                                                          .rack_id = MR_STR_NULL};
    struct kafka_share_group_heartbeat_response response;

    request.subscribed_topic_names.count = -1;
    if (topic != NULL) {
        request.subscribed_topic_names.items = &name;
        request.subscribed_topic_names.count = 1;
    }
    calls(member->peer, share_group_heartbeat, 1, &request, &response);
    if (response.error_code == 0)
        member->epoch = response.member_epoch;
    if (response.assignment != NULL && response.assignment->topic_partitions.count > 0)
        member->topic = response.assignment->topic_partitions.items[0].topic_id;
    return response.error_code;
}

static struct member joins(struct broker *b, const char *id, const char *topic)
{
    struct member member = {.peer = given_peer(b), .id = id};
    expect_int(beats(&member, topic, 0), 0);
    expect(member.epoch > 0);
    return member;
}

/* Fetches, and tells before what became of what it has ('1', '2', ...; 0: nothing). */
static int16_t fetches(struct member *member, char verdict)
{
    int8_t type = (int8_t)(verdict - '0');
    struct kafka_share_acknowledgement batch = {member->first, member->last, {&type, 1}};
    struct kafka_share_request_partition row = {0, {&batch, verdict != 0}};
    struct kafka_share_request_topic topic = {member->topic, {&row, 1}};
    struct kafka_share_fetch_request request = {.group_id = MR_STR("jobs"),
                                                .member_id = mr_str_from(member->id),
                                                .share_session_epoch = member->session_epoch,
                                                .max_bytes = 1 << 20,
                                                .max_records = 100,
                                                .batch_size = 100,
                                                .topics = {&topic, 1}};
    struct kafka_share_fetch_response response;
    const struct kafka_share_fetch_response_partition *told;

    calls(member->peer, share_fetch, 2, &request, &response);
    member->first = member->last = -1;
    if (response.error_code != 0)
        return response.error_code;
    member->session_epoch++;
    expect_int(response.acquisition_lock_timeout_ms, 30000);
    if (response.responses.count == 0)
        return 0;
    told = &response.responses.items[0].partitions.items[0];
    if (told->acquired_records.count > 0) {
        member->first = told->acquired_records.items[0].first_offset;
        member->last = told->acquired_records.items[told->acquired_records.count - 1].last_offset;
        member->deliveries = told->acquired_records.items[0].delivery_count;
    }
    return told->error_code != 0 ? told->error_code : told->acknowledge_error_code;
}

static void begins_at_the_beginning(struct peer *peer)
{
    struct kafka_incremental_alter_configs_config row = {.name = MR_STR("share.auto.offset.reset"),
                                                         .value = MR_STR("earliest")};
    struct kafka_incremental_alter_configs_resource resource = {
        .resource_type = 32, .resource_name = MR_STR("jobs"), .configs = {&row, 1}};
    struct kafka_incremental_alter_configs_request request = {.resources = {&resource, 1}};
    struct kafka_incremental_alter_configs_response response;

    calls(peer, incremental_alter_configs, 1, &request, &response);
    expect_int(response.responses.items[0].error_code, 0);
}

STORY("a record comes back when its lock ends, and whoever had it cannot acknowledge it any more")
{
    struct broker b;
    given_broker(t, &b);
    struct peer *peer = given_peer(&b);
    has_topic(peer, "work", 1);
    begins_at_the_beginning(peer);
    puts_records(peer, "work", 0, "v", 10);
    struct member ann = joins(&b, "ann", "work"), bob = joins(&b, "bob", "work");
    expect_int(fetches(&ann, 0), 0);
    expect_int(ann.first, 0);
    expect_int(ann.last, 9);
    expect_int(fetches(&bob, 0), 0);
    expect_int(bob.first, -1);
    passes(&b, 31000);
    expect_int(fetches(&bob, 0), 0);
    expect_int(bob.last, 9);
    expect_int(bob.deliveries, 2);
    ann.first = 0, ann.last = 9;
    expect_int(fetches(&ann, '1'), KAFKA_ERROR_INVALID_RECORD_STATE);
    expect_int(fetches(&bob, '1'), 0);
    expect_int(fetches(&ann, 0), 0);
    expect_int(ann.first, -1);
    stops(&b);
}

STORY("what was acknowledged stays so over a kill, and all else comes again")
{
    struct broker b;
    given_broker(t, &b);
    struct peer *peer = given_peer(&b);
    has_topic(peer, "work", 1);
    begins_at_the_beginning(peer);
    puts_records(peer, "work", 0, "v", 10);
    struct member ann = joins(&b, "ann", "work");
    expect_int(fetches(&ann, 0), 0);
    ann.last = 4;
    expect_int(fetches(&ann, '1'), 0);
    struct broker other = b;
    is_killed(&other);
    struct member bob = joins(&other, "bob", "work");
    expect_int(fetches(&bob, 0), 0);
    expect_int(bob.first, 5);
    expect_int(bob.last, 9);
    expect_int(bob.deliveries, 1);
    struct member late = {.peer = given_peer(&other), .id = "ann", .topic = ann.topic};
    expect_int(beats(&late, NULL, ann.epoch), 0); /* the member is known, its session is not */
    late.session_epoch = 3;
    expect_int(fetches(&late, 0), KAFKA_ERROR_SHARE_SESSION_NOT_FOUND);
    stops(&other);
    stops(&b);
}

STORY("members and sessions of a share group are known by their epochs, and silent ones go")
{
    struct broker b;
    given_broker(t, &b);
    struct peer *peer = given_peer(&b);
    has_topic(peer, "work", 2);
    struct member ann = joins(&b, "ann", "work"), bob = {.peer = peer, .id = "bob"};
    expect_int(beats(&bob, NULL, 0), KAFKA_ERROR_INVALID_REQUEST);
    expect_int(beats(&bob, NULL, 3), KAFKA_ERROR_UNKNOWN_MEMBER_ID);
    expect_int(beats(&ann, NULL, ann.epoch + 1), KAFKA_ERROR_FENCED_MEMBER_EPOCH);
    expect_int(fetches(&ann, '1'), KAFKA_ERROR_INVALID_REQUEST); /* nothing before the session */
    expect_int(fetches(&ann, 0), 0);
    ann.session_epoch = 7;
    expect_int(fetches(&ann, 0), KAFKA_ERROR_INVALID_SHARE_SESSION_EPOCH);
    ann.session_epoch = 0;
    expect_int(fetches(&ann, 0), 0);
    passes(&b, 46000);
    expect_int(beats(&ann, NULL, ann.epoch), KAFKA_ERROR_UNKNOWN_MEMBER_ID);
    stops(&b);
}

/* ---- several partitions, and what a fetch asks for ---- */

struct ask {
    int32_t partitions, records, bytes, wait_ms; /* bytes 0: many */
    bool strict;
};

/* Its fetch is on its way; without a session before it, the partitions are told. */
static void sends_fetch(struct member *member, struct ask ask)
{
    struct kafka_share_request_partition rows[4] = {{0}};
    struct kafka_share_request_topic topic = {member->topic, {rows, ask.partitions}};
    struct kafka_share_fetch_request request = {.group_id = MR_STR("jobs"),
                                                .member_id = mr_str_from(member->id),
                                                .share_session_epoch = member->session_epoch++,
                                                .max_wait_ms = ask.wait_ms,
                                                .min_bytes = ask.wait_ms > 0,
                                                .max_bytes = ask.bytes > 0 ? ask.bytes : 1 << 20,
                                                .max_records = ask.records,
                                                .batch_size = ask.records,
                                                .share_acquire_mode = ask.strict};

    for (int32_t i = 0; i < ask.partitions; i++)
        rows[i].partition_index = i;
    request.topics = (typeof(request.topics)){&topic, ask.partitions > 0};
    asks(member->peer, KAFKA_API_share_fetch, 2, &request);
}

/* "partition:first-last*deliveries" of what was acquired. */
static mr_str hears_fetch(struct member *member, int32_t *throttle_ms)
{
    struct kafka_share_fetch_response response;
    char *told = mr_arena_alloc(&member->peer->arena, 400);
    size_t length = 0;

    hears(member->peer, KAFKA_API_share_fetch, 2, &response);
    expect_int(response.error_code, 0);
    if (throttle_ms != NULL)
        *throttle_ms = response.throttle_time_ms;
    for (int32_t i = 0; i < response.responses.count; i++)
        for (int32_t k = 0; k < response.responses.items[i].partitions.count; k++) {
            const struct kafka_share_fetch_response_partition *row =
                &response.responses.items[i].partitions.items[k];
            expect_int(row->error_code, 0);
            for (int32_t n = 0; n < row->acquired_records.count; n++)
                length += (size_t)snprintf(told + length, 400 - length, "%s%d:%lld-%lld*%d",
                                           length > 0 ? " " : "", row->partition_index,
                                           (long long)row->acquired_records.items[n].first_offset,
                                           (long long)row->acquired_records.items[n].last_offset,
                                           row->acquired_records.items[n].delivery_count);
        }
    return mr_str_of(told, length);
}

static mr_str gets(struct member *member, struct ask ask)
{
    sends_fetch(member, ask);
    return hears_fetch(member, NULL);
}

STORY("a partition of which enough is in flight keeps nobody from the others")
{
    struct broker b;
    given_broker(t, &b);
    struct peer *peer = given_peer(&b);
    has_topic(peer, "work", 2);
    begins_at_the_beginning(peer);
    for (int i = 0; i < 21; i++)
        puts_records(peer, "work", 0, "v", 100);
    puts_records(peer, "work", 1, "v", 10);
    struct member ann = joins(&b, "ann", "work");
    expect_str(gets(&ann, (struct ask){.partitions = 2, .records = 5000}),
               MR_STR("0:0-1999*1 1:0-9*1"));
    stops(&b);
}

static void sleeps(struct mr_job *job)
{
    (void)job;
    usleep(50000);
}

/* The end of the read and the end of the patience come in one turn of the loop. */
STORY("a fetch whose patience ends as the disk has been read is answered once")
{
    struct broker b;
    struct mr_job slow[2] = {{.work = sleeps}, {.work = sleeps}};
    given_broker(t, &b);
    struct peer *peer = given_peer(&b);
    has_topic(peer, "work", 1);
    begins_at_the_beginning(peer);
    puts_records(peer, "work", 0, "v", 10);
    struct member ann = joins(&b, "ann", "work"), bob = joins(&b, "bob", "work");
    expect_str(gets(&ann, (struct ask){.partitions = 1, .records = 100}), MR_STR("0:0-9*1"));
    sends_fetch(&bob, (struct ask){.partitions = 1, .records = 100, .wait_ms = 1000});
    expect(!has_answer(bob.peer, 5));
    struct broker_log *log = broker_topics_partition(&b.server->topics, MR_STR("work"), 0)->log;
    while (log->recent_count > 0)
        broker_log_evict(log);
    mr_disk_submit(b.disk, &slow[0]); /* the read waits behind them */
    mr_disk_submit(b.disk, &slow[1]);
    leaves(ann.peer);
    usleep(200000);
    mr_clock_pass(&b.clock, 1100000);
    expect_str(hears_fetch(&bob, NULL), MR_STR("0:0-9*1"));
    passes(&b, 2000);
    stops(&b);
}

static void may_consume(struct peer *peer, double bytes_a_second)
{
    struct kafka_alter_client_quotas_part user = {.entity_type = MR_STR("user")};
    struct kafka_alter_client_quotas_op rate = {.key = MR_STR("consumer_byte_rate"),
                                                .value = bytes_a_second};
    struct kafka_alter_client_quotas_entry entry = {.entity = {&user, 1}, .ops = {&rate, 1}};
    struct kafka_alter_client_quotas_request request = {.entries = {&entry, 1}};
    struct kafka_alter_client_quotas_response response;

    calls(peer, alter_client_quotas, 1, &request, &response);
    expect_int(response.entries.items[0].error_code, 0);
}

STORY("what a share group reads counts in a quota, and what is held back comes later as new")
{
    struct broker b;
    char value[1000];
    int32_t wait_ms;
    given_broker(t, &b);
    struct peer *peer = given_peer(&b);
    memset(value, 'v', sizeof(value));
    value[sizeof(value) - 1] = '\0';
    has_topic(peer, "work", 1);
    begins_at_the_beginning(peer);
    for (int i = 0; i < 3; i++)
        puts_records(peer, "work", 0, value, 10);
    may_consume(peer, 2500);
    struct member ann = joins(&b, "ann", "work"), bob = joins(&b, "bob", "work");
    struct ask ask = {.partitions = 1, .records = 10};
    sends_fetch(&ann, ask);
    expect_str(hears_fetch(&ann, &wait_ms), MR_STR("0:0-9*1"));
    expect_int(wait_ms, 0);
    expect_str(gets(&ann, ask), MR_STR("0:10-19*1"));
    sends_fetch(&ann, ask);
    expect_str(hears_fetch(&ann, &wait_ms), MR_STR(""));
    expect(wait_ms > 0);
    passes(&b, 12000);
    expect_str(gets(&bob, ask), MR_STR("0:20-29*1"));
    stops(&b);
}

STORY("share groups are no more than there may be, and one that stands nowhere is forgotten")
{
    struct broker b;
    given_broker(t, &b);
    struct peer *peer = given_peer(&b);
    struct broker_groups *groups = &b.server->groups;
    size_t others = MR_LIMIT_BROKER_SHARE_GROUPS - 1;
    has_topic(peer, "work", 2);
    struct member ann = joins(&b, "ann", "no such topic");
    expect_int((int64_t)groups->share_count, 1);
    expect_int(beats(&ann, NULL, -1), 0);
    passes(&b, 8LL * 24 * 3600 * 1000);
    expect_int((int64_t)groups->share_count, 0);
    groups->share_count += others + 1;
    struct member bob = {.peer = given_peer(&b), .id = "bob"}; /* the first one was idle for long */
    expect_int(beats(&bob, "work", 0), KAFKA_ERROR_GROUP_MAX_SIZE_REACHED);
    groups->share_count--;
    groups->share_partition_count = MR_LIMIT_BROKER_SHARE_PARTITIONS - 1;
    expect_int(beats(&bob, "work", 0), 0);
    expect_int((int64_t)groups->share_partition_count, MR_LIMIT_BROKER_SHARE_PARTITIONS);
    groups->share_count -= others;
    groups->share_partition_count = 1;
    expect_int(beats(&bob, NULL, -1), 0);
    passes(&b, 8LL * 24 * 3600 * 1000);
    expect_int((int64_t)groups->share_count, 1); /* it stands in one partition */
    stops(&b);
}

/* Says something of offsets that it has; `renews`: as version 2 tells it. */
static int16_t acknowledges(struct member *member, int64_t first, int64_t last, char verdict,
                            bool renews)
{
    int8_t type = (int8_t)(verdict - '0');
    struct kafka_share_acknowledgement batch = {first, last, {&type, 1}};
    struct kafka_share_request_partition row = {0, {&batch, 1}};
    struct kafka_share_request_topic topic = {member->topic, {&row, 1}};
    struct kafka_share_acknowledge_request request = {
        .group_id = MR_STR("jobs"),
        .member_id = mr_str_from(member->id),
        .share_session_epoch = member->session_epoch++,
        .is_renew_ack = renews,
        .topics = {&topic, 1}};
    struct kafka_share_acknowledge_response response;

    calls(member->peer, share_acknowledge, 2, &request, &response);
    expect_int(response.error_code, 0);
    expect_int(response.acquisition_lock_timeout_ms, 30000);
    return response.responses.items[0].partitions.items[0].error_code;
}

STORY("a member that is strict gets as many records as it asked for, and renews what takes it long")
{
    struct broker b;
    given_broker(t, &b);
    struct peer *peer = given_peer(&b);
    has_topic(peer, "work", 1);
    begins_at_the_beginning(peer);
    puts_records(peer, "work", 0, "v", 10);
    struct member ann = joins(&b, "ann", "work"), bob = joins(&b, "bob", "work");
    struct ask four = {.partitions = 1, .records = 4, .strict = true};
    expect_str(gets(&ann, four), MR_STR("0:0-3*1"));
    expect_str(gets(&bob, (struct ask){.partitions = 1, .records = 3}), MR_STR("0:4-9*1"));
    passes(&b, 20000);
    expect_int(acknowledges(&ann, 0, 1, '4', false), KAFKA_ERROR_INVALID_REQUEST);
    expect_int(acknowledges(&ann, 0, 1, '4', true), 0);
    expect_int(acknowledges(&ann, 4, 4, '4', true), KAFKA_ERROR_INVALID_RECORD_STATE);
    passes(&b, 20000);
    expect_str(gets(&bob, four), MR_STR("0:2-5*2")); /* the lock of 0 and 1 was renewed */
    expect_int(acknowledges(&ann, 0, 1, '1', false), 0);
    expect_int(acknowledges(&ann, 2, 2, '4', true), KAFKA_ERROR_INVALID_RECORD_STATE);
    stops(&b);
}

STORY("a share group that nobody has been in is put somewhere, and stands there after a kill")
{
    struct broker b;
    struct kafka_alter_share_group_offsets_request_partition row = {0, 8};
    struct kafka_alter_share_group_offsets_request_topic topic = {MR_STR("work"), {&row, 1}};
    struct kafka_alter_share_group_offsets_request request = {.group_id = MR_STR("jobs"),
                                                              .topics = {&topic, 1}};
    struct kafka_alter_share_group_offsets_response response;
    given_broker(t, &b);
    struct peer *peer = given_peer(&b);
    has_topic(peer, "work", 1);
    puts_records(peer, "work", 0, "v", 10);
    calls(peer, alter_share_group_offsets, 0, &request, &response);
    expect_int(response.error_code, 0);
    expect_int(response.responses.items[0].partitions.items[0].error_code, 0);
    struct broker other = b;
    is_killed(&other);
    expect_int((int64_t)other.server->groups.share_count, 1);
    struct member ann = joins(&other, "ann", "work");
    expect_str(gets(&ann, (struct ask){.partitions = 1, .records = 100, .strict = true}),
               MR_STR("0:8-9*1"));
    stops(&other);
    stops(&b);
}

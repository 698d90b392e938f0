"""Groups that change between the classic and the consumer protocol while they have members (KIP-848). A genuine Kafka
needs 4.1."""
import threading
import time
import uuid

import pytest
from confluent_kafka import Consumer, ConsumerGroupState, ConsumerGroupType, TopicPartition
from broker_stories import PEER, stories
from raw_groups import Classic, Modern, assignment, subscription

REBALANCE, GENERATION, UNKNOWN, INCONSISTENT = 27, 22, 25, 23
FENCED_INSTANCE, NOT_FOUND, UNSUPPORTED = 82, 69, 35


def a_topic(log, partitions):
    """A genuine Kafka's coordinator hears of it a moment later than who made it."""
    name = log.topic(partitions=partitions)
    time.sleep(1 if PEER else 0)
    return name


def a_group():
    return f"g-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def group(log):
    """Its name, once the coordinator is there."""
    name = a_group()
    consumer = log.consumer(group=name)

    def there():
        try:
            return consumer.committed([TopicPartition("none", 0)], 10)
        except Exception:  # noqa: BLE001 (a genuine Kafka makes its topic first)
            return None
    stories.wait_for(there, 60)
    consumer.close()
    return name


@pytest.fixture
def port(log):
    return int(log.address.rsplit(":", 1)[1])


def leader(port, group, topic, partitions=4, user_data=b"", **config):
    """The one member of a classic group, who has all of it."""
    ann = Classic(port, group, topic, **config)
    assert ann.join() == 0 and ann.leads
    assert ann.sync({ann.id: assignment([(topic, p) for p in range(partitions)], user_data)}) == 0
    return ann


def kinds(member):
    return sorted(kind for _, kind in member.described()[3].values())


# ---- codes, by hand ----

def test_what_each_member_hears_when_a_consumer_joins_a_classic_group_and_leaves_it(log, group, port):
    topic = a_topic(log, 4)
    ann, bob = leader(port, group, topic), Modern(port, group, topic)
    assert bob.beat() == 0 and bob.epoch == 2 and bob.has == []
    code, state, epoch, members = bob.described()
    assert (code, state, epoch) == (0, "Reconciling", 2)
    assert members == {ann.id: (1, 0), bob.id: (2, 1)}
    assert ann.commit(topic, 3) == 0 and ann.commit(topic, 3, generation=9) == GENERATION
    assert (ann.beat(), ann.beat(9), ann.sync(), ann.sync(generation=9)) == (REBALANCE, GENERATION, REBALANCE, GENERATION)
    assert (ann.join(), ann.generation, ann.protocol, ann.leads, ann.others) == (0, 1, "cooperative-sticky", False, [])
    assert ann.sync() == 0 and len(ann.has) == 2       # what it may keep
    assert ann.beat() == REBALANCE                     # to say that it gave the others back
    assert bob.beat() == 0 and bob.has == []
    assert (ann.join(), ann.generation, ann.sync(), len(ann.has), ann.beat()) == (0, 2, 0, 2, 0)
    assert bob.beat() == 0 and len(bob.has) == 2
    assert bob.described()[1] == "Stable"
    as_bob = Classic(port, group, topic)
    as_bob.id, as_bob.generation = bob.id, bob.epoch
    assert (as_bob.beat(), as_bob.sync(), as_bob.commit(topic, 1)) == (UNKNOWN, UNKNOWN, UNSUPPORTED)
    nobody = Classic(port, group, topic)
    nobody.id, nobody.generation = "nobody", 1
    assert (nobody.beat(), nobody.sync(), nobody.leave(), nobody.commit(topic, 1)) == (UNKNOWN,) * 4
    other = Classic(port, group, topic, strategies=("range",))
    assert other.join() == INCONSISTENT
    other = Classic(port, group, topic)
    other.type = "connect"
    assert other.join() == INCONSISTENT
    cat = Classic(port, group, topic)
    assert (cat.join(), cat.generation, cat.sync(), cat.has) == (0, 3, 0, [])
    assert cat.leave() == 0 and ann.beat() == REBALANCE
    assert bob.beat(-1) == 0
    assert ann.beat() == GENERATION                    # the group has been two epochs further
    assert bob.described()[0] == NOT_FOUND
    listed = {row.group_id: row for row in log.admin.list_consumer_groups().result(10).valid}[group]
    assert listed.type == ConsumerGroupType.CLASSIC
    assert (ann.join(), ann.generation, ann.leads) == (0, 5, True)
    assert ann.sync({ann.id: assignment([(topic, 0)])}) == 0 and ann.has == [(topic, 0)]


def test_groups_that_stay_classic(log, group, port):
    topic = a_topic(log, 4)
    ann, bob = leader(port, group, topic, user_data=b"mine"), Modern(port, group, topic)
    assert bob.beat() == NOT_FOUND and "custom assignor" in bob.message
    assert ann.beat() == 0
    bob.group = a_group()
    ann = Classic(port, bob.group, topic)
    ann.type = "connect"
    assert ann.join() == 0 and ann.sync({ann.id: b""}) == 0
    assert bob.beat() == NOT_FOUND and "consumer embedded protocol" in bob.message
    bob.group = leader(port, a_group(), topic).group
    assert (bob.beat(3), bob.beat(-1)) == (NOT_FOUND, NOT_FOUND)
    ann = Classic(port, a_group(), topic)
    ann.metadata = subscription([topic], user_data=b"that of the sticky assignor")
    assert ann.join() == 0 and ann.sync({ann.id: assignment([(topic, 0)])}) == 0
    bob.group = ann.group
    assert bob.beat() == 0


def test_a_group_in_the_middle_of_a_rebalance_goes_over_too(log, group, port):
    topic = a_topic(log, 4)
    ann, bob = Classic(port, group, topic), Modern(port, group, topic)
    assert ann.join() == 0                             # nothing is assigned yet
    assert bob.beat() == 0
    assert (ann.sync(), ann.beat(), ann.join(), ann.sync(), len(ann.has)) == (REBALANCE, REBALANCE, 0, 0, 2)
    ann = leader(port, a_group(), topic)
    cat, bob.group = Classic(port, ann.group, topic), ann.group
    cat.send_join()
    assert cat.hear_join() == 79
    cat.send_join()                                    # is held until ann has joined
    stories.wait_for(lambda: ann.beat() == REBALANCE, 10)
    assert bob.beat(0) == 0
    assert cat.hear_join() == REBALANCE
    assert (cat.join(), cat.generation, ann.join(), ann.generation) == (0, 2, 0, 1)


def test_a_classic_member_joins_a_consumer_group_and_no_member_changes_its_strategy_alone(log, group, port):
    topic = a_topic(log, 4)
    bob = Modern(port, group, topic)
    assert bob.beat() == 0 and len(bob.has) == 4
    ann = Classic(port, group, topic, strategies=("range",))
    assert (ann.join(), ann.protocol, ann.sync(), ann.has) == (0, "range", 0, [])
    assert bob.beat() == 0 and len(bob.has) == 2
    assert bob.beat() == 0
    assert (ann.beat(), ann.join(), ann.sync(), len(ann.has)) == (REBALANCE, 0, 0, 2)
    cat = Classic(port, group, topic, strategies=("roundrobin", "range"))
    assert (cat.join(), cat.protocol) == (0, "roundrobin")
    ann.strategies = ("sticky",)
    assert ann.join() == INCONSISTENT
    assert kinds(bob) == [0, 0, 1]
    remover = Classic(port, group, topic)
    remover.id = bob.id
    assert remover.leave() == 0                        # the last consumer is put out, as a tool does it
    assert bob.beat() == NOT_FOUND
    assert ann.beat() in (REBALANCE, GENERATION)


def test_static_members_replace_one_another_across_the_protocols(log, group, port):
    topic = a_topic(log, 4)
    ann, bob = leader(port, group, topic, instance="desk"), Modern(port, group, topic, instance="desk")
    assert (bob.beat(), bob.epoch, len(bob.has)) == (0, 1, 4)
    assert ann.beat() == FENCED_INSTANCE and kinds(bob) == [1]
    cat = Classic(port, group, topic, instance="desk")
    assert (cat.join(), cat.generation, cat.leads, cat.sync(), len(cat.has), cat.beat()) == (0, 1, False, 0, 4, 0)
    assert bob.beat() == NOT_FOUND
    mixed = a_group()
    bob, dan = Modern(port, mixed, topic, instance="desk"), Modern(port, mixed, topic)
    assert bob.beat() == 0 and dan.beat() == 0
    ann = Classic(port, mixed, topic, instance="desk")
    assert (ann.join(), ann.generation, ann.sync(), len(ann.has), ann.beat()) == (0, 2, 0, 2, 0)
    assert bob.beat() == FENCED_INSTANCE
    other = Classic(port, mixed, topic, instance="desk")
    other.id, other.generation = "another", 2
    assert (other.join(), other.beat(), other.sync(), other.leave()) == (FENCED_INSTANCE,) * 4
    other.instance = "nowhere"
    assert other.join() == UNKNOWN
    other.instance, other.id = "desk", ""
    assert other.leave() == 0
    assert ann.beat() == UNKNOWN


# ---- clients ----

class Member:
    """A consumer in a thread of its own that commits what it has read."""

    def __init__(self, log, group, topic, values, **config):
        self.consumer = Consumer({"bootstrap.servers": log.address, "group.id": group, "auto.offset.reset": "earliest",
                                  "enable.auto.commit": True, "auto.commit.interval.ms": 200, **log.client,
                                  **{key.replace("_", "."): value for key, value in config.items()}})
        self.consumer.subscribe([topic])
        self.values, self.ends, self.has = values, False, []
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.ends:
            for message in self.consumer.consume(1000, 0.05):
                if not message.error():
                    self.values.append(message.value().decode())
            self.has = sorted(p.partition for p in self.consumer.assignment())
        self.has = []
        self.consumer.close()

    def close(self):
        self.ends = True
        self.thread.join()


CONSUMER = {"group_protocol": "consumer"}


def classic(strategy):
    return {"partition_assignment_strategy": strategy, "session_timeout_ms": 10000, "heartbeat_interval_ms": 500}


def is_stable(log, group):
    told = log.admin.describe_consumer_groups([group])[group].result(10)
    return told if told.state == ConsumerGroupState.STABLE else None


def shared(members, partitions):
    return sorted(p for member in members for p in member.has) == list(range(partitions))


def rolls(log, members, starts, partitions, topic, sent):
    """Each member is replaced by another; after each, all is shared again and records still flow."""
    for index, start in enumerate(starts):
        members[index].close()
        members[index] = start()
        stories.wait_for(lambda: shared(members, partitions), 90)
        log.produces(topic, range(len(sent), len(sent) + 60))
        sent += [str(n) for n in range(len(sent), len(sent) + 60)]


@pytest.mark.parametrize("strategy", ["cooperative-sticky", "range"])
def test_a_group_is_rolled_to_the_consumer_protocol_and_back_member_by_member(log, group, strategy):
    topic, values, sent = a_topic(log, 6), [], []
    old, new = [lambda: Member(log, group, topic, values, **classic(strategy))] * 3, \
        [lambda: Member(log, group, topic, values, **CONSUMER)] * 3
    members = [start() for start in old]
    try:
        stories.wait_for(lambda: shared(members, 6), 90)
        rolls(log, members, new, 6, topic, sent)
        told = stories.wait_for(lambda: is_stable(log, group), 30)
        assert told.type == ConsumerGroupType.CONSUMER
        rolls(log, members, old, 6, topic, sent)
        listed = {row.group_id: row for row in log.admin.list_consumer_groups().result(10).valid}[group]
        assert listed.type == ConsumerGroupType.CLASSIC
        stories.wait_for(lambda: set(values) >= set(sent), 60)
    finally:
        for member in members:
            member.close()
    committed = log.consumer(group=group).committed([TopicPartition(topic, p) for p in range(6)], 10)
    assert sum(p.offset for p in committed if p.offset > 0) == len(sent)


def test_kafka_python_goes_on_beside_consumers(log, group):
    from kafka import KafkaConsumer
    topic, values = a_topic(log, 4), []
    ann = KafkaConsumer(topic, bootstrap_servers=log.address, group_id=group, auto_offset_reset="earliest",
                        session_timeout_ms=10000, heartbeat_interval_ms=500)

    def polls():
        for records in ann.poll(100).values():
            values.extend(record.value.decode() for record in records)
        return len(ann.assignment())
    stories.wait_for(lambda: polls() == 4, 60, 0)
    bob = Member(log, group, topic, values, **CONSUMER)
    try:
        stories.wait_for(lambda: polls() == 2 and len(bob.has) == 2, 60, 0)
        log.produces(topic, range(200))
        stories.wait_for(lambda: polls() and set(values) == set(map(str, range(200))), 60, 0)
        bob.close()
        stories.wait_for(lambda: polls() == 4, 60, 0)
        log.produces(topic, range(200, 300))
        stories.wait_for(lambda: polls() and set(values) == set(map(str, range(300))), 60, 0)
    finally:
        bob.close()
        ann.close()


def test_a_group_is_rolled_while_the_broker_is_killed_again_and_again(broker):
    topic, values, sent, group = a_topic(broker, 6), [], [], a_group()
    broker.client = {"log_level": 0}                   # about connections that a kill breaks
    old, new = [lambda: Member(broker, group, topic, values, **classic("cooperative-sticky"))] * 3, \
        [lambda: Member(broker, group, topic, values, **CONSUMER)] * 3
    members, ends = [start() for start in old], threading.Event()

    def kills():
        while not ends.wait(2.5):
            broker.kill()
            broker.start()
    killer = threading.Thread(target=kills)
    try:
        stories.wait_for(lambda: shared(members, 6), 90)
        killer.start()
        rolls(broker, members, new, 6, topic, sent)
        rolls(broker, members, old, 6, topic, sent)
        ends.set()
        killer.join()
        stories.wait_for(lambda: set(values) >= set(sent), 60)
    finally:
        ends.set()
        for member in members:
            member.close()

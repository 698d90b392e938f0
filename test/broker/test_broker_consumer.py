"""Groups of the consumer protocol (KIP-848): librdkafka's group.protocol=consumer. A genuine Kafka needs 4.0."""
import time
import uuid

import pytest
from confluent_kafka import Consumer, ConsumerGroupState, ConsumerGroupType, KafkaException, TopicPartition
from confluent_kafka.admin import NewPartitions
from broker_stories import stories, take


class Member:
    """A consumer that is polled by hand, and the partitions that it has been given."""

    def __init__(self, log, group, *topics, **config):
        self.consumer = Consumer({"bootstrap.servers": log.address, "group.id": group, "group.protocol": "consumer",
                                  "auto.offset.reset": "earliest", "enable.auto.commit": False,
                                  **{key.replace("_", "."): value for key, value in config.items()}})
        self.values = []
        self.consumer.subscribe(list(topics))

    def poll(self):
        for message in self.consumer.consume(1000, 0.05):
            if not message.error():
                self.values.append(message.value().decode())

    @property
    def has(self):
        return sorted((p.topic, p.partition) for p in self.consumer.assignment())


def settle(members, enough, seconds=60):
    """Polls all members until what they have is enough."""
    def look():
        for member in members:
            member.poll()
        return enough()
    stories.wait_for(look, seconds, 0)


def shared(members, topic, partitions):
    all_of_them = sorted(place for member in members for place in member.has)
    counts = [len(member.has) for member in members]
    return all_of_them == [(topic, p) for p in range(partitions)] and max(counts) - min(counts) <= 1


@pytest.mark.parametrize("assignor", [None, "range"])
def test_members_share_a_topic_and_take_over_from_those_that_leave(log, assignor):
    name, group = log.topic(partitions=6), f"g-{uuid.uuid4().hex[:12]}"
    config = {"group_remote_assignor": assignor} if assignor else {}
    ann = Member(log, group, name, **config)
    settle([ann], lambda: shared([ann], name, 6))
    bob, cat = Member(log, group, name, **config), Member(log, group, name, **config)
    settle([ann, bob, cat], lambda: shared([ann, bob, cat], name, 6))
    log.produces(name, range(300))
    settle([ann, bob, cat], lambda: sum(len(m.values) for m in (ann, bob, cat)) >= 300)
    assert sorted(int(v) for m in (ann, bob, cat) for v in m.values) == list(range(300))
    bob.consumer.close()
    settle([ann, cat], lambda: shared([ann, cat], name, 6))
    ann.consumer.close()
    cat.consumer.close()


def test_tools_see_a_consumer_group(log):
    name, group = log.topic(partitions=2), f"g-{uuid.uuid4().hex[:12]}"
    ann = Member(log, group, name)
    settle([ann], lambda: shared([ann], name, 2))
    ann.consumer.commit(offsets=[TopicPartition(name, 0, 5)], asynchronous=False)
    told = log.admin.describe_consumer_groups([group])[group].result(10)
    assert told.state == ConsumerGroupState.STABLE and told.type == ConsumerGroupType.CONSUMER
    assert told.partition_assignor == "uniform"
    assert sorted(p.partition for p in told.members[0].assignment.topic_partitions) == [0, 1]
    listed = log.admin.list_consumer_groups(types={ConsumerGroupType.CONSUMER}).result(10)
    assert group in [row.group_id for row in listed.valid]
    with pytest.raises(KafkaException):  # it has members
        log.admin.delete_consumer_groups([group])[group].result(10)
    ann.consumer.close()
    back = Member(log, group, name)
    settle([back], lambda: shared([back], name, 2))
    assert back.consumer.committed([TopicPartition(name, 0)], 10)[0].offset == 5
    back.consumer.close()
    log.admin.delete_consumer_groups([group])[group].result(10)


def test_a_pattern_follows_topics_that_come_and_grow(log):
    prefix, group = f"p{uuid.uuid4().hex[:10]}", f"g-{uuid.uuid4().hex[:12]}"
    from confluent_kafka.admin import NewTopic
    for made in log.admin.create_topics([NewTopic(f"{prefix}-a", 2, 1)]).values():
        made.result(10)
    ann = Member(log, group, f"^{prefix}-.*")
    settle([ann], lambda: len(ann.has) == 2)
    for made in log.admin.create_topics([NewTopic(f"{prefix}-b", 1, 1)]).values():
        made.result(10)
    settle([ann], lambda: len(ann.has) == 3)
    for grown in log.admin.create_partitions([NewPartitions(f"{prefix}-a", 4)]).values():
        grown.result(10)
    settle([ann], lambda: len(ann.has) == 5)
    ann.consumer.close()


def test_a_static_consumer_comes_back_to_what_it_had(log):
    name, group = log.topic(partitions=4), f"g-{uuid.uuid4().hex[:12]}"
    ann, bob = (Member(log, group, name, group_instance_id=who) for who in ("ann", "bob"))
    settle([ann, bob], lambda: shared([ann, bob], name, 4))
    had, others = bob.has, ann.has
    bob.consumer.close()
    bob = Member(log, group, name, group_instance_id="bob")
    settle([ann, bob], lambda: len(bob.has) == 2)
    assert bob.has == had and ann.has == others
    ann.consumer.close()
    bob.consumer.close()


def test_an_empty_classic_group_goes_on_as_a_consumer_group_and_back(log):
    name, group = log.topic(), f"g-{uuid.uuid4().hex[:12]}"
    log.produces(name, range(10))
    old = log.consumer(name, group=group)
    assert take(old, 10) == [str(i) for i in range(10)]
    old.commit(offsets=[TopicPartition(name, 0, 4)], asynchronous=False)
    old.close()
    new = Member(log, group, name)
    settle([new], lambda: len(new.values) >= 6)
    assert new.values == [str(i) for i in range(4, 10)]
    new.consumer.commit(offsets=[TopicPartition(name, 0, 8)], asynchronous=False)
    new.consumer.close()
    old = log.consumer(name, group=group)
    assert take(old, 2) == ["8", "9"]
    old.close()


def test_a_consumer_group_outlives_kills_of_the_broker(broker):
    name, group = broker.topic(partitions=4), f"g-{uuid.uuid4().hex[:12]}"
    ann, bob = Member(broker, group, name), Member(broker, group, name)
    settle([ann, bob], lambda: shared([ann, bob], name, 4))
    for round_ in range(3):
        broker.kill()
        time.sleep(0.2)
        broker.start()
        broker.produces(name, range(round_ * 50, round_ * 50 + 50))
        settle([ann, bob], lambda: len(set(ann.values) | set(bob.values)) == round_ * 50 + 50)
        settle([ann, bob], lambda: shared([ann, bob], name, 4))
    ann.consumer.close()
    bob.consumer.close()

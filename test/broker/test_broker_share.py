"""Share groups (KIP-932): members read partitions together; a record comes back until somebody is done with it.
Told by librdkafka's share consumer."""
import os
import time
import uuid

import pytest
from confluent_kafka import AcknowledgeType, KafkaException, ShareConsumer
from confluent_kafka.admin import (AclBinding, AclOperation, AclPermissionType, AlterConfigOpType, ConfigEntry,
                                   ConfigResource, ResourcePatternType, ResourceType)

import story as stories
from broker_stories import PEER, Broker, Log, tool
from test_broker_quotas import Asks


class Member:
    """One share consumer in explicit mode; it remembers what it was given last."""

    def __init__(self, log, group, *topics, **config):
        self.consumer = ShareConsumer({"bootstrap.servers": log.address, "group.id": group, **log.client,
                                       "share.acknowledgement.mode": "explicit",
                                       **{key.replace("_", "."): value for key, value in config.items()}})
        self.consumer.subscribe(list(topics))

    def takes(self, count, seconds=20):
        """At least so many records, acquired and not acknowledged."""
        taken = []

        def enough():
            for message in self.consumer.poll(0.2):
                assert not message.error(), message.error()
                taken.append(message)
            return len(taken) >= count or None if count else True
        stories.wait_for(enough, seconds, 0)
        return taken

    def says(self, messages, verdict=AcknowledgeType.ACCEPT):
        for message in messages:
            self.consumer.acknowledge(message, verdict)
        return self.commits()

    def commits(self):
        for part, trouble in self.consumer.commit_sync(20).items():
            assert trouble is None, (part, trouble)

    def drains(self, count, seconds=30):
        """Accepts records until it has this many, each poll acknowledged at once."""
        values = []

        def enough():
            messages = list(self.consumer.poll(0.2))
            if messages:
                self.says(messages)
                values.extend(text(messages))
            return len(values) >= count
        stories.wait_for(enough, seconds, 0)
        return values

    def stays_empty(self):
        for _ in range(3):
            assert text(self.consumer.poll(0.2)) == []

    def leaves(self):
        self.consumer.close()


def text(messages):
    return [message.value().decode() for message in messages]


def sets(log, group, **config):
    resource = ConfigResource(ResourceType.GROUP, group, incremental_configs=[
        ConfigEntry(name.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
        for name, value in config.items()])
    for done in log.admin.incremental_alter_configs([resource]).values():
        done.result(10)


@pytest.fixture
def group(log):
    """A share group that begins at the beginning."""
    name = f"s-{uuid.uuid4().hex[:12]}"
    sets(log, name, share_auto_offset_reset="earliest")
    return name


def test_a_share_group_reads_each_record_once(log, group):
    topic = log.topic(3)
    log.produces(topic, range(300))
    ann = Member(log, group, topic)
    assert sorted(map(int, ann.drains(300))) == list(range(300))
    ann.stays_empty()
    ann.leaves()


def test_two_members_share_one_partition(log, group):
    topic = log.topic(1)
    ann, bob = Member(log, group, topic), Member(log, group, topic)
    ann.takes(0), bob.takes(0)
    seen = {ann: [], bob: []}
    sent = 0

    def both():
        nonlocal sent
        log.produces(topic, range(sent, sent + 20))
        sent += 20
        for member, values in seen.items():
            messages = list(member.consumer.poll(0.2))
            if messages:
                member.says(messages)
                values.extend(map(int, text(messages)))
        return all(seen.values()) and len(seen[ann]) + len(seen[bob]) == sent
    stories.wait_for(both, 60, 0)
    assert sorted(seen[ann] + seen[bob]) == list(range(sent))
    ann.leaves(), bob.leaves()


def test_released_records_come_again_and_rejected_ones_do_not(log, group):
    topic = log.topic(1)
    log.produces(topic, range(10))
    ann = Member(log, group, topic)
    first = ann.takes(10)
    for message in first:
        number = int(message.value())
        ann.consumer.acknowledge(message, (AcknowledgeType.ACCEPT, AcknowledgeType.RELEASE,
                                           AcknowledgeType.REJECT)[number % 3])
    ann.commits()
    assert sorted(ann.drains(3)) == ["1", "4", "7"]
    ann.stays_empty()
    ann.leaves()


def test_a_record_is_delivered_five_times_and_then_left_out(log, group):
    topic = log.topic(1)
    log.produces(topic, ["poison"])
    ann = Member(log, group, topic)
    for _ in range(5):
        taken = ann.takes(1)
        assert text(taken) == ["poison"]
        ann.says(taken, AcknowledgeType.RELEASE)
    log.produces(topic, ["good"])
    assert ann.drains(1) == ["good"]
    ann.leaves()


def test_what_a_member_has_when_it_leaves_comes_back(log, group):
    topic = log.topic(1)
    log.produces(topic, range(10))
    ann = Member(log, group, topic)
    assert len(ann.takes(10)) == 10
    bob = Member(log, group, topic)
    bob.stays_empty()
    ann.leaves()
    assert sorted(map(int, bob.drains(10))) == list(range(10))
    bob.leaves()


def test_aborted_records_are_nobodys_work(log, group):
    sets(log, group, share_isolation_level="read_committed")
    topic = log.topic(1)
    producer = log.producer(transactional_id=f"x-{uuid.uuid4().hex[:8]}")
    producer.init_transactions(20)
    for round in range(4):
        producer.begin_transaction()
        for number in range(5):
            producer.produce(topic, f"{'no' if round % 2 else 'yes'} {round} {number}".encode())
        producer.flush(20)
        if round % 2:
            producer.abort_transaction(20)
        else:
            producer.commit_transaction(20)
    ann = Member(log, group, topic)
    values = ann.drains(10)
    assert sorted(values) == sorted(f"yes {round} {number}" for round in (0, 2) for number in range(5))
    ann.stays_empty()
    ann.leaves()


def test_a_new_group_begins_with_what_comes_unless_it_is_told_otherwise(log):
    topic, name = log.topic(1), f"s-{uuid.uuid4().hex[:12]}"
    log.produces(topic, ["early"])
    ann = Member(log, name, topic)
    ann.stays_empty()

    def comes():
        log.produces(topic, ["late"])
        messages = list(ann.consumer.poll(0.2))
        if messages:
            ann.says(messages)
        assert "early" not in text(messages)
        return messages
    stories.wait_for(comes, 30, 0)
    ann.leaves()
    time_reader = f"s-{uuid.uuid4().hex[:12]}"
    sets(log, time_reader, share_auto_offset_reset="by_duration:PT1H")
    bob = Member(log, time_reader, topic)
    assert bob.drains(1)[0] == "early"
    bob.leaves()


def test_settings_of_a_group_are_checked_and_told(log, group):
    with pytest.raises(KafkaException):
        sets(log, group, share_record_lock_duration_ms="14999")
    with pytest.raises(KafkaException):
        sets(log, group, share_auto_offset_reset="by_duration:soon")
    with pytest.raises(KafkaException):
        sets(log, group, no_such_setting="1")
    sets(log, group, share_record_lock_duration_ms="20000")
    resource = ConfigResource(ResourceType.GROUP, group)
    told = {name: row.value for name, row in log.admin.describe_configs([resource])[resource].result(10).items()}
    assert told["share.record.lock.duration.ms"] == "20000" and told["share.auto.offset.reset"] == "earliest"
    assert told["share.isolation.level"] == "read_uncommitted" and told["share.session.timeout.ms"] == "45000"


def test_what_a_member_reads_counts_in_its_quota(log, group):
    """15 MB at 1 MB a second: what is above ten seconds' worth is waited for."""
    topic, name = log.topic(1), f"q-{uuid.uuid4().hex[:8]}"
    for _ in range(25):
        log.produces(topic, [os.urandom(300_000).hex() for _ in range(1)])
    asks = Asks(log)
    assert asks.alters(({"client-id": name}, {"consumer_byte_rate": 1_000_000})) == [(0, "")]
    stories.wait_for(lambda: asks.describes(("client-id", 0, name)), 10)
    ann = Member(log, group, topic, client_id=name, fetch_max_bytes="3000000")
    began = time.monotonic()
    assert len(ann.drains(25, 90)) == 25
    assert time.monotonic() - began > 3
    ann.leaves()
    assert asks.alters(({"client-id": name}, {"consumer_byte_rate": None})) == [(0, "")]


@pytest.mark.skipif(bool(PEER), reason="our own commands")
def test_our_commands_tell_of_share_groups(log, group):
    topic = log.topic(1)
    log.produces(topic, range(10))
    ann = Member(log, group, topic)
    ann.says(ann.takes(10)[:4])
    assert [group, "share", "Stable"] in [row.split() for row in tool(log, "group", "--list", "--state").splitlines()]
    rows = [row.split() for row in tool(log, "group", "--describe", "--group", group).splitlines()]
    assert rows[-1] == [group, topic, "0", "4", "6"], rows
    rows = [row.split() for row in tool(log, "group", "--describe", "--members", "--group", group).splitlines()]
    assert rows[-1][0] == group and rows[-1][-1] == "1", rows
    tool(log, "group", "--delete", "--group", group, status=1)
    ann.leaves()
    tool(log, "group", "--delete", "--group", group)
    assert group not in tool(log, "group", "--list")


def test_what_was_acknowledged_stays_so_when_the_log_is_killed(broker):
    name = f"s-{uuid.uuid4().hex[:12]}"
    sets(broker, name, share_auto_offset_reset="earliest")
    topic = broker.topic(1)
    broker.produces(topic, range(60))
    done = set()
    for round in range(3):
        ann = Member(broker, name, topic)
        taken = ann.takes(60 - len(done))
        assert not done & set(text(taken))
        kept = [message for message in taken if int(message.value()) % 3 == round]
        ann.says(kept)
        done |= set(text(kept))
        broker.kill()
        broker.start()
        ann.leaves()
    assert len(done) == 60
    broker.produces(topic, ["more"])
    ann = Member(broker, name, topic)
    assert ann.drains(1) == ["more"]
    ann.leaves()


def test_who_may_not_read_the_group_or_the_topic_gets_nothing(tmp_path):
    if PEER:
        pytest.skip("a log with access rules of the story's own")
    (tmp_path / "users").write_text("root:secret\nann:secret\n")
    ruled = Broker(tmp_path, arguments=("--sasl", "PLAIN", "--acls", "--super-users", "User:root",
                                        "--users", tmp_path / "users"))
    ruled.client = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": "root",
                    "sasl.password": "secret"}
    ruled.start()
    try:
        sets(ruled, "jobs", share_auto_offset_reset="earliest")
        topic = ruled.topic(1)
        ruled.produces(topic, ["work"])
        refused, ann = [], Log(ruled.address)
        ann.client = {**ruled.client, "sasl.username": "ann"}
        member = Member(ann, "jobs", topic)

        def refuses():
            try:
                messages = list(member.consumer.poll(0.2))
            except KafkaException as trouble:
                refused.append(trouble.args[0].name())
                messages = []
            refused.extend(message.error().name() for message in messages if message.error())
            assert not [message for message in messages if not message.error()]
            return any("AUTHORIZATION_FAILED" in name for name in refused)
        stories.wait_for(refuses, 30, 0)
        member.leaves()
        allow(ruled, "ann", group="jobs", topic=topic)
        member = Member(ann, "jobs", topic)
        assert member.drains(1) == ["work"]
        member.leaves()
    finally:
        ruled.end()


def allow(log, name, group, topic):
    rules = [AclBinding(kind, what, ResourcePatternType.LITERAL, f"User:{name}", "*", AclOperation.READ,
                        AclPermissionType.ALLOW) for kind, what in ((ResourceType.GROUP, group), (ResourceType.TOPIC, topic))]
    for done in log.admin.create_acls(rules).values():
        done.result(10)

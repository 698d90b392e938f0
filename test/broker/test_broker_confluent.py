"""confluent-kafka (librdkafka): idempotence, transactions, groups, admin."""
import socket
import time
import uuid

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, OFFSET_BEGINNING, TopicPartition
from confluent_kafka.admin import (AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic,
                                   OffsetSpec)
from broker_stories import stories, take


def test_a_client_is_told_where_to_come_back_to(broker):
    """Who is on this machine comes by loopback and goes on by it; another network has a port of its own."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        try:
            one.connect(("192.0.2.1", 9))   # nothing is sent; the system chooses our address
        except OSError:
            pytest.skip("this machine has no address but loopback")
        outside = one.getsockname()[0]
    inside = stories.PORTS["registry"] + broker.offset    # free, and nobody's here
    broker.kill()
    broker.arguments = ["--host", "0.0.0.0", "--insecure", "--advertise", "log.example:19092", "--inside-port", inside]
    broker.start()

    def told(host, port):
        brokers = AdminClient({"bootstrap.servers": f"{host}:{port}"}).list_topics(timeout=10).brokers.values()
        return [(one.host, one.port) for one in brokers]
    assert told("127.0.0.1", broker.port) == [("127.0.0.1", broker.port)]
    assert told(outside, broker.port) == [("log.example", 19092)]
    assert told(outside, inside) == [(outside, inside)]


def test_an_idempotent_producer_keeps_order(log):
    name = log.topic()
    log.produces(name, range(20000), enable_idempotence=True, linger_ms=1)
    assert log.reads(name, 20000) == [str(i) for i in range(20000)]


@pytest.mark.parametrize("acks", [0, 1, -1])
def test_every_acks_arrives(log, acks):
    name = log.topic()
    log.produces(name, range(100), acks=acks)
    assert log.reads(name, 100) == [str(i) for i in range(100)]


def test_read_committed_sees_whole_transactions_only(log):
    name = log.topic(partitions=2)
    producer = log.producer(transactional_id=f"x-{uuid.uuid4().hex[:8]}")
    producer.init_transactions(20)
    for i in range(10):
        producer.begin_transaction()
        for partition in (0, 1):
            producer.produce(name, value=f"{i}{'-gone' if i % 2 else ''}".encode(), partition=partition)
        producer.flush(20)  # an abort would drop what was not sent yet
        (producer.abort_transaction if i % 2 else producer.commit_transaction)(20)
    log.produces(name, ["plain"])
    expected = sorted([str(i) for i in range(0, 10, 2)] * 2 + ["plain"])
    assert sorted(log.reads(name, 11, isolation_level="read_committed")) == expected
    assert len(log.reads(name, 21, isolation_level="read_uncommitted")) == 21


def test_an_open_transaction_holds_readers_back(log):
    name = log.topic()
    producer = log.producer(transactional_id=f"x-{uuid.uuid4().hex[:8]}")
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(name, b"in")
    producer.flush(20)
    log.produces(name, ["behind"])
    reader = log.consumer(name, isolation_level="read_committed")
    assert [m for m in reader.consume(10, 1.5) if not m.error()] == []
    producer.commit_transaction(20)
    assert take(reader, 2) == ["in", "behind"]
    reader.close()


def test_what_was_deleted_of_an_open_transaction_holds_nobody_back(log):
    name = log.topic()
    producer = log.producer(transactional_id=f"x-{uuid.uuid4().hex[:8]}")
    producer.init_transactions(20)
    producer.begin_transaction()
    for i in range(3):
        producer.produce(name, str(i).encode())
    producer.flush(20)
    part = TopicPartition(name, 0, 2)
    log.admin.delete_records([part])[part].result(20)
    reader = log.consumer(isolation_level="read_committed", auto_offset_reset="error")
    assert reader.get_watermark_offsets(part, 20, cached=False) == (2, 2)
    reader.assign([part])
    producer.commit_transaction(20)
    assert take(reader, 1) == ["2"]
    reader.close()


def test_a_newer_producer_of_the_same_name_locks_the_older_out(log):
    name, identity = log.topic(), f"x-{uuid.uuid4().hex[:8]}"
    old, new = log.producer(transactional_id=identity), log.producer(transactional_id=identity)
    old.init_transactions(20)
    old.begin_transaction()
    old.produce(name, b"old")
    old.flush(20)
    new.init_transactions(20)
    with pytest.raises(KafkaException) as trouble:
        old.produce(name, b"older")
        old.commit_transaction(20)
    assert trouble.value.args[0].fatal() or trouble.value.args[0].code() in (KafkaError._FENCED, KafkaError._STATE)
    new.begin_transaction()
    new.produce(name, b"new")
    new.commit_transaction(20)
    assert log.reads(name, 1, isolation_level="read_committed") == ["new"]


def test_a_transaction_that_takes_too_long_is_aborted(log):
    name = log.topic()
    slow = log.producer(transactional_id=f"x-{uuid.uuid4().hex[:8]}", transaction_timeout_ms=1500, message_timeout_ms=1400)
    slow.init_transactions(20)
    slow.begin_transaction()
    slow.produce(name, b"slow")
    slow.flush(20)
    log.produces(name, ["behind"])
    assert log.reads(name, 1, seconds=30, isolation_level="read_committed") == ["behind"]
    with pytest.raises(KafkaException):
        slow.commit_transaction(20)


def test_consumed_offsets_commit_with_the_transaction(log):
    source, target, group = log.topic(), log.topic(), f"g-{uuid.uuid4().hex[:8]}"
    log.produces(source, range(5))
    consumer = log.consumer(source, group=group)
    producer = log.producer(transactional_id=f"x-{uuid.uuid4().hex[:8]}")
    producer.init_transactions(20)
    take(consumer, 5)
    for end, committed in (("abort", -1001), ("commit", 5)):
        producer.begin_transaction()
        producer.produce(target, end.encode())
        producer.send_offsets_to_transaction(consumer.position(consumer.assignment()),
                                             consumer.consumer_group_metadata(), 20)
        (producer.commit_transaction if end == "commit" else producer.abort_transaction)(20)
        assert consumer.committed([TopicPartition(source, 0)], 20)[0].offset == committed
    consumer.close()
    assert log.reads(target, 1, isolation_level="read_committed") == ["commit"]


def owners(consumers, seconds=30):
    """Polls all until the partitions are spread and still; the count of each."""
    last, since = None, time.monotonic()
    deadline = since + seconds
    while time.monotonic() < deadline:
        for consumer in consumers:
            consumer.poll(0.05)
        now = [len(consumer.assignment()) for consumer in consumers]
        if now != last:
            last, since = now, time.monotonic()
        if time.monotonic() - since > 1.5 and sum(now) > 0:
            return now
    return last


@pytest.mark.parametrize("strategy", ["range", "roundrobin", "cooperative-sticky"])
def test_a_group_shares_partitions_and_rebalances(log, strategy):
    name, group = log.topic(partitions=4), f"g-{uuid.uuid4().hex[:8]}"
    settings = {"group": group, "partition_assignment_strategy": strategy, "session_timeout_ms": 6000,
                "heartbeat_interval_ms": 300}
    ann = log.consumer(name, **settings)
    assert owners([ann]) == [4]
    bob = log.consumer(name, **settings)
    assert owners([ann, bob]) == [2, 2]
    ann.close()
    assert owners([bob]) == [4]
    bob.close()


def test_a_static_member_comes_back_without_a_rebalance(log):
    name, group = log.topic(partitions=2), f"g-{uuid.uuid4().hex[:8]}"
    settings = {"group": group, "session_timeout_ms": 10000, "heartbeat_interval_ms": 300}
    ann = log.consumer(name, group_instance_id="ann", **settings)
    bob = log.consumer(name, group_instance_id="bob", **settings)
    assert owners([ann, bob]) == [1, 1]
    mine = bob.assignment()
    revoked = []
    ann.subscribe([name], on_revoke=lambda *_: revoked.append(1))
    assert owners([ann, bob]) == [1, 1]
    del revoked[:]
    bob.close()  # a static member does not leave
    again = log.consumer(name, group_instance_id="bob", **settings)
    assert owners([ann, again]) == [1, 1]
    assert [(p.topic, p.partition) for p in again.assignment()] == [(p.topic, p.partition) for p in mine]
    assert revoked == []
    ann.close()
    again.close()


def test_commits_are_kept_and_told(log):
    name, group = log.topic(partitions=2), f"g-{uuid.uuid4().hex[:8]}"
    consumer = log.consumer(group=group)
    consumer.commit(offsets=[TopicPartition(name, 0, 7, "a note"), TopicPartition(name, 1, 9)], asynchronous=False)
    told = consumer.committed([TopicPartition(name, 0), TopicPartition(name, 1)], 20)
    assert [(p.offset, p.metadata) for p in told] == [(7, "a note"), (9, None)]
    groups = log.admin.list_consumer_groups().result(20).valid
    assert group in [g.group_id for g in groups]
    log.admin.delete_consumer_groups([group])[group].result(20)
    assert consumer.committed([TopicPartition(name, 0)], 20)[0].offset == -1001
    consumer.close()


def test_topics_are_made_grown_and_deleted_at_once(log):
    admin, name = log.admin, f"t-{uuid.uuid4().hex[:12]}"
    admin.create_topics([NewTopic(name, 2, 1)])[name].result(10)
    with pytest.raises(KafkaException) as trouble:
        admin.create_topics([NewTopic(name, 2, 1)])[name].result(10)
    assert trouble.value.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS
    admin.create_partitions([NewPartitions(name, 5)])[name].result(10)
    assert len(admin.list_topics(timeout=10).topics[name].partitions) == 5
    admin.delete_topics([name])[name].result(10)
    stories.wait_for(lambda: name not in admin.list_topics(timeout=10).topics, 10)
    stories.wait_for(lambda: admin.create_topics([NewTopic(name, 1, 1)])[name].result(10) is None, 30, 0.2)
    assert log.reads(name, 0) == []
    for bad, code in ((NewTopic("no/slash", 1, 1), KafkaError.TOPIC_EXCEPTION),
                      (NewTopic("many-copies", 1, 3), KafkaError.INVALID_REPLICATION_FACTOR),
                      (NewTopic("bad-setting", 1, 1, config={"cleanup.policy": "burn"}), KafkaError.INVALID_CONFIG)):
        with pytest.raises(KafkaException) as trouble:
            admin.create_topics([bad])[bad.topic].result(10)
        assert trouble.value.args[0].code() == code


def test_settings_are_told_and_changed(log):
    name = log.topic(retention_ms=1234567)
    resource = ConfigResource(ConfigResource.Type.TOPIC, name)
    told = log.admin.describe_configs([resource])[resource].result(10)
    assert told["retention.ms"].value == "1234567" and not told["retention.ms"].is_default
    assert told["max.message.bytes"].value == "1048588" and told["max.message.bytes"].is_default
    resource.add_incremental_config(ConfigEntry("cleanup.policy", "compact",
                                                incremental_operation=AlterConfigOpType.APPEND))
    resource.add_incremental_config(ConfigEntry("retention.ms", None,
                                                incremental_operation=AlterConfigOpType.DELETE))
    log.admin.incremental_alter_configs([resource])[resource].result(10)
    again = ConfigResource(ConfigResource.Type.TOPIC, name)
    told = log.admin.describe_configs([again])[again].result(10)
    assert told["cleanup.policy"].value == "delete,compact"
    assert told["retention.ms"].value == "604800000"


def test_a_batch_that_is_too_large_is_refused(log):
    name = log.topic(max_message_bytes=2000)
    producer, errors = log.producer(message_max_bytes=10000000), []
    producer.produce(name, b"x" * 5000, on_delivery=lambda error, _: errors.append(error))
    producer.flush(20)
    assert errors[0].code() == KafkaError.MSG_SIZE_TOO_LARGE


def test_a_compacted_topic_wants_keys(log):
    name, errors = log.topic(cleanup_policy="compact"), []
    producer = log.producer()
    producer.produce(name, b"no key", on_delivery=lambda error, _: errors.append(error))
    producer.flush(20)
    assert errors[0].code() == KafkaError.INVALID_RECORD


def test_offsets_are_found_by_time_and_deleted_before_one(log):
    name = log.topic()
    producer = log.producer()
    start = int(time.time() * 1000) - 100000
    for i in range(10):
        producer.produce(name, str(i).encode(), timestamp=start + i * 1000)
        producer.flush(20)
    partition = TopicPartition(name, 0)

    def offset(spec):
        return log.admin.list_offsets({partition: spec})[partition].result(10).offset
    assert offset(OffsetSpec.for_timestamp(start + 3500)) == 4
    assert offset(OffsetSpec.max_timestamp()) == 9
    assert offset(OffsetSpec.latest()) == 10
    log.admin.delete_records([TopicPartition(name, 0, 6)])[TopicPartition(name, 0, 6)].result(10)
    assert offset(OffsetSpec.earliest()) == 6
    assert log.reads(name, 4) == ["6", "7", "8", "9"]


def test_log_append_time(log):
    name = log.topic(message_timestamp_type="LogAppendTime")
    before = int(time.time() * 1000)
    producer = log.producer()
    producer.produce(name, b"x", timestamp=1000)
    producer.flush(20)
    consumer = log.consumer(name)
    message = stories.wait_for(lambda: consumer.poll(1), 20)
    assert message.timestamp()[0] == 2 and message.timestamp()[1] >= before
    consumer.close()


def test_an_offset_out_of_range_is_an_error(log):
    name = log.topic()
    log.produces(name, range(3))
    consumer = log.consumer(auto_offset_reset="error")
    consumer.assign([TopicPartition(name, 0, 1000)])
    message = stories.wait_for(lambda: consumer.poll(1), 20)
    assert message.error().code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)
    consumer.assign([TopicPartition(name, 0, OFFSET_BEGINNING)])
    assert take(consumer, 3) == ["0", "1", "2"]
    consumer.close()

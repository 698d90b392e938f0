"""Quotas: told, changed, kept and obeyed. Clients of today's Python have no words for them, so they are set by
kafka-python's messages; who obeys them are ordinary clients."""
import pathlib
import socket
import time
import uuid

import pytest
from broker_stories import stories
from confluent_kafka import Consumer, Producer
from kafka import KafkaAdminClient
from kafka.protocol.admin.client_quotas import AlterClientQuotasRequest, DescribeClientQuotasRequest
from kafka.protocol.admin.topics import CreateTopicsRequest
from kafka.protocol.metadata import MetadataRequest

INVALID, UNSUPPORTED, USED_UP = 42, 35, 89


class Asks:
    """One connection that sends messages as they are."""

    def __init__(self, log, client_id="stories", **more):
        self.admin = KafkaAdminClient(bootstrap_servers=log.address, client_id=client_id, **more)

    def __call__(self, message):
        async def send():
            return await self.admin._manager.send(message)
        return self.admin._manager.run(send)

    def alters(self, *entries, validate_only=False):
        """Entries: ({"user": "ann", ...}, {"producer_byte_rate": 1024 or None}); the codes and sentences."""
        Entry = AlterClientQuotasRequest.EntryData
        answer = self(AlterClientQuotasRequest(validate_only=validate_only, entries=[
            Entry(entity=[Entry.EntityData(entity_type=kind, entity_name=name) for kind, name in pairs(entity)],
                  ops=[Entry.OpData(key=key, value=value or 0.0, remove=value is None) for key, value in pairs(ops)])
            for entity, ops in entries]))
        return [(row.error_code, row.error_message or "") for row in answer.entries]

    def describes(self, *components, strict=False):
        """Components: (type, match type, match); what is told, or the code."""
        Component = DescribeClientQuotasRequest.ComponentData
        answer = self(DescribeClientQuotasRequest(strict=strict, components=[
            Component(entity_type=kind, match_type=how, match=match) for kind, how, match in components]))
        if answer.error_code:
            assert answer.entries is None and answer.error_message
            return answer.error_code
        return {tuple(sorted((part.entity_type, part.entity_name or "-") for part in row.entity)):
                {value.key: value.value for value in row.values} for row in answer.entries}

    def forgets(self):
        for kinds in (["user", "client-id"], ["user"], ["client-id"], ["ip"]):
            for entity, limits in self.describes(*[(kind, 2, None) for kind in kinds], strict=True).items():
                names = {kind: None if name == "-" else name for kind, name in entity}
                assert self.alters((names, {key: None for key in limits})) == [(0, "")]


def pairs(what):
    return what.items() if isinstance(what, dict) else what


@pytest.fixture
def asks(log):
    asks = Asks(log)
    asks.forgets()
    yield asks
    asks.forgets()
    asks.admin.close()


def name():
    return f"q-{uuid.uuid4().hex[:8]}"


def test_quotas_are_told_by_whom_they_are_for(asks):
    assert asks.alters(({"user": "ann"}, {"producer_byte_rate": 1000, "request_percentage": 12.5}),
                       ({"user": "ann", "client-id": "app"}, {"consumer_byte_rate": 2000}),
                       ({"user": None, "client-id": None}, {"controller_mutation_rate": 1.5}),
                       ({"client-id": None}, {"producer_byte_rate": 4000}),
                       ({"ip": "10.1.2.3"}, {"connection_creation_rate": 7})) == [(0, "")] * 5
    ann, both = (("user", "ann"),), (("client-id", "app"), ("user", "ann"))
    settled(asks, 5)
    assert asks.describes(("user", 0, "ann")) == {ann: {"producer_byte_rate": 1000, "request_percentage": 12.5},
                                                  both: {"consumer_byte_rate": 2000}}
    assert list(asks.describes(("user", 0, "ann"), strict=True)) == [ann]
    assert asks.describes(("user", 2, None), ("client-id", 0, "app")) == {both: {"consumer_byte_rate": 2000}}
    assert asks.describes(("client-id", 1, None), strict=True) == {(("client-id", "-"),): {"producer_byte_rate": 4000}}
    assert asks.describes(("user", 1, None)) == {(("client-id", "-"), ("user", "-")): {"controller_mutation_rate": 1.5}}
    assert asks.describes(("ip", 2, None)) == {(("ip", "10.1.2.3"),): {"connection_creation_rate": 7}}
    assert asks.describes(("user", 0, "bob")) == {} and asks.describes(strict=True) == {}
    assert asks.alters(({"user": "ann"}, {"request_percentage": None, "consumer_byte_rate": None})) == [(0, "")]
    stories.wait_for(lambda: asks.describes(("user", 0, "ann"), strict=True) == {ann: {"producer_byte_rate": 1000}}, 10)


def settled(asks, count):
    """A genuine Kafka hears of them a moment later."""
    stories.wait_for(lambda: len(asks.describes()) == count, 10)


def test_what_is_wrong_with_a_quota_is_told(asks):
    def refused(entity, ops, part):
        [(code, why)] = asks.alters((entity, ops))
        assert code == INVALID and part in why, (code, why)
    refused({}, {"producer_byte_rate": 1}, "empty client quota entity")
    refused({"user": ""}, {"producer_byte_rate": 1}, "Empty user not supported")
    refused({"dog": "rex"}, {"producer_byte_rate": 1}, "Unhandled client quota entity type: dog")
    refused({"user": "ann", "ip": "10.0.0.1"}, {"producer_byte_rate": 1}, "be combined with User or ClientId")
    refused({"ip": "10.0.0.1"}, {"producer_byte_rate": 1}, "Invalid configuration key producer_byte_rate")
    refused({"user": "ann"}, {"connection_creation_rate": 1}, "Invalid configuration key")
    refused({"ip": "not an address"}, {"connection_creation_rate": 1}, "is not a valid IP")
    refused({"user": "ann"}, {"bytes": 1}, "Invalid configuration key bytes")
    refused({"user": "ann"}, {"producer_byte_rate": -1}, "must be greater than 0")
    refused({"user": "ann"}, {"producer_byte_rate": 1.5}, "cannot be a fractional value")
    refused({"user": "ann"}, {"producer_byte_rate": 1e30}, "too large")
    refused({"ip": "10.0.0.1"}, {"connection_creation_rate": 3e9}, "too large")
    refused({"user": "ann"}, [("producer_byte_rate", 1), ("producer_byte_rate", 2)], "uplicate")
    [(code, why)] = asks.alters(({"user": "ann"}, {"producer_byte_rate": 1}), ({"user": "ann"}, {"producer_byte_rate": 2}))
    assert code == INVALID and "uplicate" in why
    asks.forgets()
    assert asks.alters(({"user": "ann"}, {"producer_byte_rate": 1}), validate_only=True) == [(0, "")]
    assert asks.describes() == {}
    assert asks.describes(("dog", 0, "rex")) == UNSUPPORTED
    for component in (("user", 0, None), ("user", 1, "ann"), ("user", 2, "ann"), ("user", 7, None)):
        assert asks.describes(component) == INVALID
    assert asks.describes(("user", 0, "ann"), ("user", 0, "bob")) == INVALID
    assert asks.describes(("user", 0, "ann"), ("ip", 0, "10.0.0.1")) == INVALID


def produces_for(log, topic, client_id, records, size=50_000):
    """How long it took, and the longest throttle time that the client was told."""
    told = []
    producer = Producer({"bootstrap.servers": log.address, "client.id": client_id, "batch.num.messages": 1, "linger.ms": 0,
                         "max.in.flight.requests.per.connection": 1,
                         "throttle_cb": lambda event: told.append(event.throttle_time)})
    began = time.monotonic()
    for _ in range(records):
        producer.produce(topic, bytes(size))
    assert producer.flush(60) == 0
    return time.monotonic() - began, max(told, default=0)


def test_a_producer_over_its_quota_is_held_back(log, asks):
    topic, slow = log.topic(), name()
    assert asks.alters(({"client-id": slow}, {"producer_byte_rate": 200_000})) == [(0, "")]
    settled(asks, 1)
    seconds, told = produces_for(log, topic, slow, 60)
    # Ten to eleven seconds' worth is free (eleven windows, one of them not over); the rest takes its time.
    assert seconds > 2 and told > 0
    assert produces_for(log, topic, name(), 60)[1] == 0
    assert asks.alters(({"client-id": slow}, {"producer_byte_rate": None})) == [(0, "")]


def test_a_reader_over_its_quota_waits_and_loses_nothing(log, asks):
    topic, slow = log.topic(), name()
    produces_for(log, topic, name(), 60)
    told = []
    assert asks.alters(({"client-id": None}, {"consumer_byte_rate": 150_000})) == [(0, "")]
    consumer = Consumer({"bootstrap.servers": log.address, "client.id": slow, "group.id": name(),
                         "auto.offset.reset": "earliest", "fetch.max.bytes": 200_000, "message.max.bytes": 100_000,
                         "max.partition.fetch.bytes": 100_000,
                         "throttle_cb": lambda event: told.append(event.throttle_time)})
    consumer.subscribe([topic])
    count = 0
    deadline = time.monotonic() + 90
    while count < 60 and time.monotonic() < deadline:
        message = consumer.poll(0.5)
        if message is not None:
            assert not message.error(), message.error()
            count += 1
    consumer.close()
    assert count == 60 and max(told) > 0


def creates(asks, version, topics, partitions):
    Topic = CreateTopicsRequest.CreatableTopic
    message = CreateTopicsRequest(version=version, timeout_ms=10000, validate_only=False, topics=[
        Topic(name=topic, num_partitions=partitions, replication_factor=1, assignments=[], configs=[]) for topic in topics])
    answer = asks(message)
    return [row.error_code for row in answer.topics], answer.throttle_time_ms


def test_changes_of_partitions_have_a_quota(log, asks):
    app = Asks(log, client_id=name())
    client_id = app.admin.config["client_id"]
    assert asks.alters(({"client-id": client_id}, {"controller_mutation_rate": 1})) == [(0, "")]
    stories.wait_for(lambda: creates(app, 6, [name()], 40)[0] == [0], 10, 0)
    codes, wait_ms = creates(app, 6, [name()], 1)
    assert codes == [USED_UP] and 1000 < wait_ms < 120_000
    app.admin.close()
    asks.alters(({"client-id": client_id}, {"controller_mutation_rate": None}))


def test_a_client_that_takes_too_much_time_is_held_back(log, asks):
    app = Asks(log, client_id=name())
    assert asks.alters(({"client-id": app.admin.config["client_id"]}, {"request_percentage": 0.001})) == [(0, "")]
    waits = []

    def waited():
        waits.append(app(MetadataRequest(version=5, topics=None, allow_auto_topic_creation=False)).throttle_time_ms)
        return waits[-1] > 0
    stories.wait_for(waited, 30, 0)
    assert max(waits) <= 1000
    app.admin.close()


def test_an_address_that_connects_too_often_is_turned_away(broker):
    asks = Asks(broker)
    assert asks.alters(({"ip": "127.0.0.1"}, {"connection_creation_rate": 1})) == [(0, "")]
    host, port = broker.address.split(":")

    def turned_away():
        with socket.create_connection((host, int(port)), 5) as other:
            other.settimeout(3)
            other.sendall(b"\0\0\0\x0e\0\x12\0\0\0\0\0\1\0\4oops")  # ApiVersions
            try:
                return other.recv(4) == b""
            except ConnectionResetError:
                return True
            except TimeoutError:
                return False
    stories.wait_for(turned_away, 30, 0)
    assert asks.alters(({"ip": "127.0.0.1"}, {"connection_creation_rate": None})) == [(0, "")]
    stories.wait_for(lambda: not turned_away(), 30, 0)
    asks.admin.close()


def open_files(log):
    return len(list(pathlib.Path(f"/proc/{log.process.process.pid}/fd").iterdir()))


def test_who_is_held_back_and_goes_leaves_nothing_open(broker):
    asks, before = Asks(broker), 0
    assert asks.alters(({"client-id": "held"}, {"request_percentage": 0.001}),
                       ({"ip": "127.0.0.1"}, {"connection_creation_rate": 5})) == [(0, "")] * 2
    before = open_files(broker)
    peak = 0
    for _ in range(200):
        with socket.create_connection(broker.address.split(":"), 5) as other:
            other.sendall(b"\0\0\0\x0e\0\x12\0\0\0\0\0\1\0\4held")
        peak = max(peak, open_files(broker) - before)
    assert peak < 60, peak   # a second at a time; without a look at the end all 200
    stories.wait_for(lambda: open_files(broker) <= before, 5)
    asks.admin.close()


def test_quotas_outlive_a_kill(broker):
    asks = Asks(broker)
    assert asks.alters(({"user": 'an"n', "client-id": None}, {"producer_byte_rate": 1000, "request_percentage": 0.1}),
                       ({"ip": None}, {"connection_creation_rate": 1000})) == [(0, "")] * 2
    told = asks.describes()
    asks.admin.close()
    broker.kill()
    broker.start()
    asks = Asks(broker)
    assert asks.describes() == told and len(told) == 2
    asks.admin.close()

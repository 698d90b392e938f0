"""`millrace topic|group|config|produce|consume`: the log's everyday tools. With PEER they speak to a genuine Kafka."""
import json
import subprocess
import time
import uuid

import confluent_kafka
import pytest
import requests
from confluent_kafka import Consumer
from confluent_kafka.admin import ConfigResource
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from broker_stories import PEER, Broker, tool
from story import BINARY, Millrace, free_offset, wait_for


def table(text):
    """Rows of a printed table as dicts."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    return [dict(zip(lines[0], line)) for line in lines[1:]]


def test_a_topic_from_its_making_to_its_end(log):
    name = f"tool-{uuid.uuid4().hex[:8]}"
    assert tool(log, "topic", "--create", "--topic", name, "--partitions", 3, "--replication-factor", 1,
                "--config", "retention.ms=100000", "--config=cleanup.policy=delete") == f"Created topic {name}.\n"
    assert f"topic {name}: " in tool(log, "topic", "--create", "--topic", name, status=1)
    tool(log, "topic", "--create", "--topic", name, "--if-not-exists")
    assert name in tool(log, "topic", "--list").split()
    assert name in tool(log, "topic", "--list", "--exclude-internal").split()
    head, *lines = tool(log, "topic", "--describe", "--topic", name).splitlines()
    assert f"Topic: {name}\t" in head and "PartitionCount: 3\tReplicationFactor: 1\t" in head
    assert "retention.ms=100000" in head
    assert [line.split("\t")[2] for line in lines] == [f"Partition: {i}" for i in range(3)]
    tool(log, "topic", "--alter", "--topic", name, "--partitions", 5)
    assert len(log.admin.list_topics(name, timeout=10).topics[name].partitions) == 5
    assert "topic" in tool(log, "topic", "--alter", "--topic", name, "--partitions", 2, status=2)
    tool(log, "topic", "--delete", "--topic", name)
    wait_for(lambda: name not in log.admin.list_topics(timeout=10).topics, 20)
    assert "there is none of this name" in tool(log, "topic", "--delete", "--topic", name, status=1)
    tool(log, "topic", "--delete", "--topic", name, "--if-exists")


def test_topics_are_named_by_patterns_too(log):
    tag = uuid.uuid4().hex[:8]
    for name in (f"{tag}.a", f"{tag}-a", f"{tag}-b"):
        tool(log, "topic", "--create", "--topic", name, "--replica-assignment", "1,1")
    assert tool(log, "topic", "--list", "--topic", f"{tag}.*").split() == [f"{tag}-a", f"{tag}-b", f"{tag}.a"]
    assert f"PartitionCount: 2\t" in tool(log, "topic", "--describe", "--topic", f"{tag}-b")
    assert tool(log, "topic", "--list", "--topic", f"none-{tag}") == ""
    assert "none of this name" in tool(log, "topic", "--describe", "--topic", f"none-{tag}", status=1)
    assert "no pattern" in tool(log, "topic", "--list", "--topic", f"{tag}[", status=2)
    assert tool(log, "topic", "--describe", "--under-replicated-partitions", "--unavailable-partitions") == ""
    tool(log, "config", "--alter", "--topic", f"{tag}-b", "--add-config", "retention.ms=70000")
    wait_for(lambda: "retention.ms=70000" in tool(log, "topic", "--describe", "--topic", f"{tag}-b"), 20)
    told = tool(log, "topic", "--describe", "--topic", f"{tag}-.", "--topics-with-overrides").splitlines()
    assert PEER or [line.split("\t")[0] for line in told] == [f"Topic: {tag}-b"]
    tool(log, "topic", "--delete", "--topic", f"{tag}.a")      # a name that is there is no pattern
    wait_for(lambda: tool(log, "topic", "--list", "--topic", f"{tag}.*").split() == [f"{tag}-a", f"{tag}-b"], 20)
    tool(log, "topic", "--delete", "--topic", f"{tag}-[ab]")
    assert "1:x" in tool(log, "topic", "--create", "--topic", tag, "--replica-assignment", "1:x", status=2)
    assert "both" in tool(log, "topic", "--create", "--topic", tag, "--replica-assignment", "1", "--partitions", 2, status=2)


def test_settings_of_kafkas_clients_on_the_command_line(log):
    name, group = log.topic(), f"tool-{uuid.uuid4().hex[:8]}"
    tool(log, "produce", "--topic", name, "--producer-property", "compression.type=zstd", "--producer-property", "acks=1",
         "--producer-property", "linger.ms=5", "--request-required-acks", 1, "--sync", given="one\ntwo\n")
    assert tool(log, "consume", "--topic", name, "--consumer-property", f"group.id={group}", "--consumer-property",
                "auto.offset.reset=earliest", "--consumer-property", "isolation.level=read_committed",
                "--max-messages", 2) == "one\ntwo\n"
    rows = table(tool(log, "group", "--describe", "--group", group, "--offsets"))
    assert [row["CURRENT-OFFSET"] for row in rows] == ["2"]
    assert "NAME=VALUE" in tool(log, "produce", "--topic", name, "--producer-property", "compression.type", status=2)
    assert "isolation" in tool(log, "consume", "--topic", name, "--consumer-property", "isolation.level=what", status=2)


def test_settings_are_changed_shown_and_taken_back(log):
    name = log.topic()
    tool(log, "config", "--alter", "--entity-type", "topics", "--entity-name", name,
         "--add-config", "cleanup.policy=[compact,delete],segment.bytes=1048576")
    told = tool(log, "config", "--describe", "--topic", name)
    assert "  cleanup.policy=compact,delete sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:cleanup.policy=compact,delete" in told
    resource = ConfigResource(confluent_kafka.admin.RESOURCE_TOPIC, name)
    settings = log.admin.describe_configs([resource])[resource].result(10)
    assert settings["segment.bytes"].value == "1048576"
    assert "Completed" in tool(log, "config", "--alter", "--topic", name, "--delete-config", "segment.bytes")
    assert "segment.bytes" not in tool(log, "config", "--describe", "--topic", name)
    assert "segment.bytes=1073741824" in tool(log, "config", "--describe", "--topic", name, "--all")
    assert "nonsense" in tool(log, "config", "--alter", "--topic", name, "--add-config", "nonsense=1", status=2)
    node = next(iter(log.admin.list_topics(timeout=10).brokers))
    assert "log.retention" in tool(log, "config", "--describe", "--broker", node, "--all")
    assert "there is no node 4711" in tool(log, "config", "--describe", "--broker", 4711, status=1)


def test_settings_of_the_broker_as_kafka_configs_shows_them(log):
    node = str(next(iter(log.admin.list_topics(timeout=10).brokers)))

    def told(*arguments):
        return tool(log, "config", "--describe", *arguments)
    assert tool(log, "config", "--alter", "--broker", node, "--add-config", "log.roll.ms=70000,log.cleanup.policy=[compact,delete]") \
        == f"Completed updating config for broker {node}.\n"
    assert tool(log, "config", "--alter", "--entity-type", "brokers", "--entity-default", "--add-config", "log.roll.ms=80000") \
        == "Completed updating default config for brokers in the cluster.\n"
    try:
        wait_for(lambda: "log.roll.ms=70000" in told("--broker", node) and "80000" in told("--broker-defaults"), 15)
        one = told("--broker", node)
        assert one.startswith(f"Dynamic configs for broker {node} are:\n  log.cleanup.policy=compact,delete sensitive=false ")
        assert ("  log.roll.ms=70000 sensitive=false synonyms={DYNAMIC_BROKER_CONFIG:log.roll.ms=70000, "
                "DYNAMIC_DEFAULT_BROKER_CONFIG:log.roll.ms=80000") in one
        assert "log.dirs" not in one and "log.dirs" in told("--broker", node, "--all")
        both = told("--entity-type", "brokers")
        assert one in both and "Default configs for brokers in the cluster are:\n" in both and "  log.roll.ms=80000 " in both
        assert "log.dirs" in tool(log, "config", "--alter", "--broker", node, "--add-config", "log.dirs=/x", status=2)
    finally:
        tool(log, "config", "--alter", "--broker", node, "--delete-config", "log.roll.ms,log.cleanup.policy")
        tool(log, "config", "--alter", "--broker-defaults", "--delete-config", "log.roll.ms")
    wait_for(lambda: "log.roll.ms" not in told("--entity-type", "brokers"), 15)


def test_quotas_and_passwords_as_kafka_configs_shows_them(log):
    ann = f"ann-{uuid.uuid4().hex[:6]}"

    def changes(*arguments, **more):
        return tool(log, "config", "--alter", *arguments, **more)

    def told(*arguments):
        return tool(log, "config", "--describe", *arguments)
    assert changes("--user", ann, "--client", "app", "--add-config", "producer_byte_rate=1024,request_percentage=20.5") \
        == f"Completed updating config for user {ann}.\n"
    changes("--entity-type", "users", "--entity-name", ann, "--entity-type", "clients", "--entity-default",
            "--add-config", "consumer_byte_rate=99")
    changes("--user", ann, "--add-config", "SCRAM-SHA-256=[iterations=4096,password=pw]")
    changes("--user", ann, "--add-config", "producer_byte_rate=5000")
    assert changes("--ip-defaults", "--add-config", "connection_creation_rate=9000") \
        == "Completed updating default config for ips in the cluster.\n"
    rows = [f"Quota configs for user-principal '{ann}', client-id 'app' are producer_byte_rate=1024.0, request_percentage=20.5\n",
            f"Quota configs for user-principal '{ann}', the default client-id are consumer_byte_rate=99.0\n"]
    own = (f"Quota configs for user-principal '{ann}' are producer_byte_rate=5000.0\n"
           f"SCRAM credential configs for user-principal '{ann}' are SCRAM-SHA-256=iterations=4096\n")
    wait_for(lambda: told("--user", ann) == own, 15)
    wait_for(lambda: all(row in told("--entity-type", "users", "--entity-type", "clients") for row in rows), 15)
    wait_for(lambda: "Quota configs for the default ip are connection_creation_rate=9000.0\n" in told("--entity-type", "ips"), 15)
    assert "number" in changes("--user", ann, "--add-config", "producer_byte_rate=much", status=2)
    assert "must be greater than 0" in changes("--user", ann, "--add-config", "producer_byte_rate=0", status=2)
    assert "one go" in changes("--user", ann, "--add-config", "producer_byte_rate=1,SCRAM-SHA-256=[password=a]", status=2)
    assert "go together" in changes("--user", ann, "--topic", "t", "--add-config", "a=1", status=2)
    changes("--user", ann, "--delete-config", "producer_byte_rate")
    changes("--user", ann, "--delete-config", "SCRAM-SHA-256")
    changes("--user", ann, "--client", "app", "--delete-config", "producer_byte_rate,request_percentage")
    changes("--user", ann, "--client-defaults", "--delete-config", "consumer_byte_rate")
    changes("--ip-defaults", "--delete-config", "connection_creation_rate")
    wait_for(lambda: ann not in told("--entity-type", "users") + told("--entity-type", "users", "--entity-type", "clients"), 15)


def test_settings_of_a_group_as_kafka_configs_shows_them(log):
    group = f"g-{uuid.uuid4().hex[:6]}"
    try:
        tool(log, "config", "--alter", "--group", group, "--add-config", "consumer.session.timeout.ms=46000")
    except AssertionError as refused:
        if PEER and "Unknown resource type" in str(refused):
            pytest.skip("a log from before Kafka 4.0")
        raise
    expected = (f"Dynamic configs for group {group} are:\n  consumer.session.timeout.ms=46000 sensitive=false "
                "synonyms={DYNAMIC_GROUP_CONFIG:consumer.session.timeout.ms=46000")
    wait_for(lambda: tool(log, "config", "--describe", "--group", group).startswith(expected), 15)
    assert expected in tool(log, "config", "--describe", "--entity-type", "groups")
    assert "consumer.heartbeat.interval.ms=5000" in tool(log, "config", "--describe", "--group", group, "--all")
    tool(log, "config", "--alter", "--group", group, "--delete-config", "consumer.session.timeout.ms")
    wait_for(lambda: "46000" not in tool(log, "config", "--describe", "--group", group), 15)


def test_lines_become_records_and_records_lines(log):
    name = log.topic(partitions=2)
    lines = "".join(f"h{i}:x,from:story\tk{i}|v{i}\n" for i in range(1000)) + "a:b\tgone|NULL\n"
    tool(log, "produce", "--topic", name, "--property", "parse.key=true", "--property", "key.separator=|",
         "--property", "parse.headers=true", "--property", "null.marker=NULL", "--compression-codec", "zstd", given=lines)
    told = tool(log, "consume", "--topic", name, "--from-beginning", "--max-messages", 1001, "--property", "print.key=true",
                "--property", "print.headers=true", "--property", "print.partition=true", "--property", "print.offset=true",
                "--property", "key.separator=|", "--property", "null.literal=NIL").splitlines()
    rows = [line.split("|") for line in told]
    assert sorted(row[2:] for row in rows) == sorted([[f"h{i}:x,from:story", f"k{i}", f"v{i}"] for i in range(1000)] +
                                                     [["a:b", "gone", "NIL"]])
    for partition in range(2):
        offsets = [int(row[1].split(":")[1]) for row in rows if row[0] == f"Partition:{partition}"]
        assert offsets == list(range(len(offsets))) and len(offsets) > 100
    assert "line 1: no key separator" in tool(log, "produce", "--topic", name, "--property", "parse.key=true",
                                              given="nothing\n", status=2)


def test_what_is_read_begins_where_it_is_wished(log):
    name = log.topic()
    tool(log, "produce", "--topic", name, given="".join(f"{i}\n" for i in range(10)))
    assert tool(log, "consume", "--topic", name, "--partition", 0, "--offset", 7, "--timeout-ms", 2000).split() == ["7", "8", "9"]
    assert tool(log, "consume", "--topic", name, "--partition", 0, "--offset", "earliest", "--max-messages", 2).split() == ["0", "1"]
    assert "partition 3" in tool(log, "consume", "--topic", name, "--partition", 3, "--offset", 0, status=1)
    assert "absent" in tool(log, "consume", "--topic", f"absent-{uuid.uuid4().hex}", "--timeout-ms", 100, status=1)


def test_a_new_topic_is_made_by_the_first_line(log):
    name = f"first-{uuid.uuid4().hex[:8]}"
    tool(log, "produce", "--topic", name, given="one\n")
    assert tool(log, "consume", "--topic", name, "--from-beginning", "--max-messages", 1) == "one\n"


def test_a_line_that_is_typed_is_acknowledged_before_the_next(log):
    name = log.topic()
    typing = subprocess.Popen([BINARY, "produce", "--topic", name, "--bootstrap-server", log.address], stdin=subprocess.PIPE)
    reading = subprocess.Popen([BINARY, "consume", "--topic", name, "--from-beginning", "--bootstrap-server", log.address],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for i in range(3):
        typing.stdin.write(f"typed {i}\n".encode())
        typing.stdin.flush()
        assert reading.stdout.readline() == f"typed {i}\n"
    typing.stdin.close()
    assert typing.wait(20) == 0
    reading.terminate()
    assert reading.wait(20) == 0 and "Processed a total of 3 messages" in reading.stderr.read()


def test_a_group_is_described_moved_and_deleted(log):
    name, group = log.topic(partitions=2), f"tool-{uuid.uuid4().hex[:8]}"
    producer = log.producer()
    for i in range(10):
        producer.produce(name, value=b"x", partition=i % 2, timestamp=1000 * (i + 1))
    assert producer.flush(20) == 0
    consumer = Consumer({"bootstrap.servers": log.address, "group.id": group, "auto.offset.reset": "earliest",
                         "client.id": "reader", "enable.auto.commit": False})
    consumer.subscribe([name])
    read = []
    wait_for(lambda: read.extend(consumer.consume(10, 1)) or len(read) >= 10, 30)
    consumer.commit(asynchronous=False)
    assert group in tool(log, "group", "--list").split()
    row = next(row for row in table(tool(log, "group", "--list", "--state")) if row["GROUP"] == group)
    assert row["STATE"] == "Stable"
    rows = table(tool(log, "group", "--describe", "--group", group))
    assert [(row["PARTITION"], row["CURRENT-OFFSET"], row["LOG-END-OFFSET"], row["LAG"], row["CLIENT-ID"]) for row in rows] == \
        [("0", "5", "5", "0", "reader"), ("1", "5", "5", "0", "reader")]
    assert table(tool(log, "group", "--describe", "--group", group, "--members"))[0]["#PARTITIONS"] == "2"
    assert "members" in tool(log, "group", "--reset-offsets", "--group", group, "--topic", name, "--to-earliest", "--execute",
                             status=1)
    consumer.close()

    def planned(*wish, topic=name):
        told = tool(log, "group", "--reset-offsets", "--group", group, "--topic", topic, *wish)
        return {int(row["PARTITION"]): int(row["NEW-OFFSET"]) for row in table(told)}
    assert planned("--to-earliest") == {0: 0, 1: 0}
    assert planned("--to-datetime", "1970-01-01T00:00:06Z") == {0: 3, 1: 2}
    assert planned("--to-offset", 99) == {0: 5, 1: 5}
    assert planned("--shift-by", -2, topic=f"{name}:1") == {1: 3}
    assert planned("--by-duration", "PT1H") == {0: 5, 1: 5}
    assert planned("--to-current") == {0: 5, 1: 5}
    assert "expected exactly one of" in tool(log, "group", "--reset-offsets", "--group", group, "--topic", name, status=2)
    assert planned("--shift-by", -2, "--execute") == {0: 3, 1: 3}
    assert tool(log, "consume", "--topic", name, "--group", group, "--timeout-ms", 2000).split() == ["x"] * 4
    rows = table(tool(log, "group", "--describe", "--group", group))
    assert [row["CURRENT-OFFSET"] for row in rows] == ["5", "5"]
    tool(log, "group", "--delete-offsets", "--group", group, "--topic", f"{name}:0")
    assert [row["PARTITION"] for row in table(tool(log, "group", "--describe", "--group", group))] == ["1"]
    tool(log, "group", "--delete", "--group", group)
    assert group not in tool(log, "group", "--list").split()


def test_a_group_in_which_the_broker_assigns_is_described(log):
    name, group = log.topic(partitions=2), f"tool-{uuid.uuid4().hex[:8]}"
    log.produces(name, range(10))
    consumer = Consumer({"bootstrap.servers": log.address, "group.id": group, "group.protocol": "consumer",
                         "auto.offset.reset": "earliest", "client.id": "reader", "enable.auto.commit": False})
    consumer.subscribe([name])
    try:
        read = []
        wait_for(lambda: read.extend(consumer.consume(10, 1)) or len([m for m in read if not m.error()]) >= 10, 30)
    except AssertionError:
        if PEER:
            pytest.skip("a log from before Kafka 4.0")
        raise
    consumer.commit(asynchronous=False)
    row = next(row for row in table(tool(log, "group", "--list", "--state")) if row["GROUP"] == group)
    assert (row["TYPE"].lower(), row["STATE"]) == ("consumer", "Stable")
    rows = table(tool(log, "group", "--describe", "--group", group))
    assert [(row["PARTITION"], row["LAG"], row["CLIENT-ID"]) for row in rows] == [("0", "0", "reader"), ("1", "0", "reader")]
    assert table(tool(log, "group", "--describe", "--group", group, "--members"))[0]["#PARTITIONS"] == "2"
    assert table(tool(log, "group", "--describe", "--group", group, "--state"))[0]["ASSIGNMENT-STRATEGY"] == "uniform"
    consumer.close()
    tool(log, "group", "--delete", "--group", group)


class Reading:
    """`millrace consume` as a member of a group, and what it has printed: (partition, value)."""

    def __init__(self, log, tmp_path, name, group):
        self.path = tmp_path / f"read-{uuid.uuid4().hex[:8]}"
        with open(self.path, "wb") as out:
            self.process = subprocess.Popen([BINARY, "consume", "--topic", name, "--group", group, "--from-beginning", "--property",
                                             "print.partition=true", "--bootstrap-server", log.address], stdout=out)

    def printed(self):
        return [tuple(line.split("\t")) for line in self.path.read_text().splitlines()]

    def ends(self):
        self.process.terminate()
        assert self.process.wait(30) == 0


def shared(log, group, *counts):
    """Waits until the members hold so many partitions each."""
    def look():
        rows = table(tool(log, "group", "--describe", "--group", group, "--members"))
        return sorted(int(row["#PARTITIONS"]) for row in rows) == sorted(counts)
    wait_for(look, 60, 0.2)


def test_who_consumes_in_a_group_shares_its_partitions(log, tmp_path):
    name, group = log.topic(partitions=3), f"tool-{uuid.uuid4().hex[:8]}"
    one, two = Reading(log, tmp_path, name, group), Reading(log, tmp_path, name, group)
    shared(log, group, 1, 2)
    log.produces(name, range(300))
    wait_for(lambda: len(one.printed()) + len(two.printed()) >= 300, 30)
    assert not {partition for partition, _ in one.printed()} & {partition for partition, _ in two.printed()}
    one.ends()
    shared(log, group, 3)
    log.produces(name, range(300, 400))
    wait_for(lambda: len(one.printed()) + len(two.printed()) >= 400, 30)
    two.ends()
    assert sorted(int(value) for _, value in one.printed() + two.printed()) == list(range(400))
    assert [row["LAG"] for row in table(tool(log, "group", "--describe", "--group", group))] == ["0", "0", "0"]


@pytest.mark.parametrize("leads", ["ours", "theirs"])
def test_a_group_is_shared_with_clients_of_another_kind(log, tmp_path, leads):
    name, other, group = log.topic(partitions=4), log.topic(), f"tool-{uuid.uuid4().hex[:8]}"
    ours = Reading(log, tmp_path, name, group) if leads == "ours" else None
    if ours:
        shared(log, group, 4)
    theirs, values = log.consumer(name, other, group=group, enable_auto_commit=True), []

    def reads():
        values.extend(int(m.value()) for m in theirs.consume(1000, 0.1) if not m.error())
        return True
    wait_for(lambda: reads() and len(theirs.assignment()) == (3 if ours else 5), 60)
    ours = ours or Reading(log, tmp_path, name, group)
    wait_for(lambda: reads() and len(theirs.assignment()) == 3, 60)     # its own topic, and half of the other
    log.produces(name, range(200))
    log.produces(other, range(1000, 1010))
    wait_for(lambda: reads() and len(values) + len(ours.printed()) >= 210, 30)
    theirs.close()
    shared(log, group, 4)
    log.produces(name, range(200, 300))
    wait_for(lambda: len(values) + len(ours.printed()) >= 310, 30)
    ours.ends()
    assert sorted(values + [int(value) for _, value in ours.printed()]) == [*range(300), *range(1000, 1010)]


def test_who_consumes_in_a_group_outlives_the_log(broker, tmp_path):
    name, group = broker.topic(partitions=2), f"tool-{uuid.uuid4().hex[:8]}"
    reading = Reading(broker, tmp_path, name, group)
    broker.produces(name, range(50))
    wait_for(lambda: len(reading.printed()) >= 50, 30)
    time.sleep(6)       # what was printed is committed every five seconds
    broker.kill()
    broker.start()
    broker.produces(name, range(50, 100))
    wait_for(lambda: len(reading.printed()) >= 100, 60)
    reading.ends()
    assert sorted(int(value) for _, value in reading.printed()) == list(range(100))


def test_wrong_command_lines_say_what_is_wrong(log):
    assert "`--lst`" in tool(log, "topic", "--lst", status=2)
    assert "exactly one of" in tool(log, "topic", "--list", "--describe", status=2)
    assert "--partitions many" in tool(log, "topic", "--create", "--topic", "a", "--partitions", "many", status=2)
    assert "one --topic" in tool(log, "consume", status=2)
    nobody = type("", (), {"address": "127.0.0.1:1"})
    begun = time.monotonic()
    assert "127.0.0.1:1" in tool(nobody, "topic", "--list", status=1)
    assert time.monotonic() - begun < 50


@pytest.mark.skipif(bool(PEER), reason="a story about our own listener")
def test_who_signs_in_is_said_in_a_file_of_kafkas(tmp_path):
    users, secret = tmp_path / "users", "top; secret=1"
    users.write_text(f"admin:{secret}\n")
    broker = Broker(tmp_path, arguments=["--sasl", "SCRAM-SHA-256", "--users", users])
    broker.client = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanisms": "SCRAM-SHA-256", "sasl.username": "admin",
                     "sasl.password": secret}
    broker.start()
    properties = tmp_path / "client.properties"
    login = ("security.protocol=SASL_PLAINTEXT\nsasl.mechanism=SCRAM-SHA-256\nsasl.jaas.config=org.apache.kafka.common.security."
             'scram.ScramLoginModule required username="admin" password="{}";\n')
    properties.write_text(login.format(secret))
    try:
        tool(broker, "topic", "--create", "--topic", "a", "--command-config", properties)
        tool(broker, "config", "--alter", "--user", "ada", "--add-config", "SCRAM-SHA-256=[iterations=4096,password=pw]",
             "--command-config", properties)
        assert "'ada' are SCRAM-SHA-256=iterations=4096" in \
            tool(broker, "config", "--describe", "--entity-type", "users", "--command-config", properties)
        tool(broker, "produce", "--topic", "a", "--producer.config", properties, given="one\n")
        assert tool(broker, "consume", "--topic", "a", "--from-beginning", "--max-messages", 1,
                    "--consumer.config", properties) == "one\n"
        properties.write_text(login.format("wrong"))
        said = tool(broker, "topic", "--list", "--command-config", properties, status=1)
        assert "admin" in said and "wrong" not in said.replace("wrong password", "")
    finally:
        broker.end()


def test_avro_is_printed_as_json(log, tmp_path):
    offset = free_offset()
    registry, name = f"http://127.0.0.1:{8081 + offset}", log.topic()
    server = Millrace(tmp_path, "registry", "--data", tmp_path / "data", "--port-offset", offset, "--kafka", log.address)
    wait_for(lambda: requests.get(f"{registry}/subjects", timeout=2).status_code == 200)
    schema = {"type": "record", "name": "person", "fields": [{"name": "name", "type": "string"}, {"name": "age", "type": "int"}]}
    encode = AvroSerializer(SchemaRegistryClient({"url": registry}), json.dumps(schema))
    producer = log.producer()
    for i in range(3):
        producer.produce(name, encode({"name": f"p{i}", "age": i}, SerializationContext(name, MessageField.VALUE)))
    assert producer.flush(20) == 0
    told = tool(log, "consume", "--topic", name, "--from-beginning", "--max-messages", 3, "--registry", registry).splitlines()
    assert [json.loads(line) for line in told] == [{"name": f"p{i}", "age": i} for i in range(3)]
    server.stop()

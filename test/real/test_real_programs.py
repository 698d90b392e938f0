"""What Kafka's own programs print of our log and of a genuine Kafka 4.1, the APIs that both announce, and the settings that both tell:
each difference is named here, with the reason."""
import re
import socket
import struct
import subprocess
import sys

import pytest
from confluent_kafka.admin import NewTopic

import packages
import real
from servers import java
from story import ROOT, Millrace, free_offset, open_folder, wait_for

sys.path.insert(0, str(ROOT / "test/broker"))
import test_broker_settings as settings  # noqa: E402
from broker_stories import Log  # noqa: E402

TOOLS = "org.apache.kafka.tools"


@pytest.fixture(scope="module")
def both(genuine, tmp_path_factory):
    """Ours, then the genuine one."""
    folder, offset = open_folder(tmp_path_factory.mktemp("log")), free_offset()
    process = Millrace(folder, "broker", "--data", folder / "data", "--port-offset", offset)
    wait_for(lambda: real.servers.listens(9092 + offset))
    logs = Log(f"127.0.0.1:{9092 + offset}"), Log(genuine("kafka-4").address)
    for log in logs:
        log.admin.create_topics([NewTopic("alike", 2, 1)])["alike"].result(30)
    yield logs
    assert process.stop() == 0


def prints(log, name, *arguments):
    """What a program prints, good or bad, without what no two clusters have in common."""
    done = subprocess.run([java(), "-Xmx256m", "-cp", f"{packages.install('kafka-4')}/*", f"{TOOLS}.{name}" if name[0] != "k" else name,
                           "--bootstrap-server", log.address, *map(str, arguments)], capture_output=True, text=True, timeout=120,
                          stdin=subprocess.DEVNULL)
    text = done.stdout + "".join(line for line in done.stderr.splitlines(True) if "Exception" in line)
    text = re.sub(r"127\.0\.0\.1:\d+", "HOST:PORT", text)
    text = re.sub(r"(127\.0\.0\.1\s+)\d+ *", r"\1PORT ", text)
    text = re.sub(r"(Cluster ?I[dD]:\s+)\S+", r"\1ID", text)
    text = re.sub(r"(HighWatermark:\s+|Epoch: )\d+", r"\1N", text)
    text = re.sub(r'"logDir":"[^"]*"', '"logDir":"DIR"', text)
    text = re.sub(r"^(1\s+A+\s+)\d+(\s+0\s+)\d+(\s+)\d+", r"\1N\2N\3N", text, flags=re.M)
    return [re.sub(r" +", " ", line).strip() for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("program", [
    ("ClusterTool", "cluster-id"),
    ("ClusterTool", "list-endpoints"),
    ("MetadataQuorumCommand", "describe", "--status"),
    ("MetadataQuorumCommand", "describe", "--replication"),
    ("GetOffsetShell", "--topic-partitions", "alike"),
    ("GetOffsetShell", "--topic-partitions", "absent"),
    ("LogDirsCommand", "--describe", "--topic-list", "alike"),
    ("LogDirsCommand", "--describe", "--topic-list", "absent"),
    ("GroupsCommand", "--list"),
    ("streams.StreamsGroupCommand", "--list"),
    ("kafka.admin.ConfigCommand", "--describe", "--entity-type", "brokers", "--entity-name", "1"),
    ("kafka.admin.ConfigCommand", "--describe", "--entity-type", "users"),
    ("kafka.admin.ConfigCommand", "--describe", "--entity-type", "groups"),
    ("kafka.admin.ConfigCommand", "--describe", "--entity-type", "groups", "--entity-name", "nobody"),
    ("kafka.admin.ConfigCommand", "--alter", "--entity-type", "ips", "--entity-name", "127.0.0.1",
     "--add-config", "connection_creation_rate=1000"),
    ("kafka.admin.ConfigCommand", "--describe", "--entity-type", "ips"),
    ("kafka.admin.ConfigCommand", "--alter", "--entity-type", "brokers", "--entity-name", "1", "--add-config", "log.dirs=/x"),
], ids=lambda program: "-".join(program[:3]))
def test_a_program_prints_the_same(both, program):
    ours, genuine = (prints(log, *program) for log in both)
    assert ours == genuine


def test_what_prints_otherwise_is_named(both):
    ours, genuine = ({line.split()[1]: line for line in prints(log, "FeatureCommand", "describe")} for log in both)
    # There is no metadata log with a format of its own, nor replicas that might lead; share groups are on.
    assert set(genuine) - set(ours) == {"metadata.version", "kraft.version", "eligible.leader.replicas.version"}
    assert [name for name in ours if ours[name] != genuine[name]] == ["share.version"]
    # Without a broker's own secret Kafka refuses delegation tokens; here there are none.
    for log, error in zip(both, ("UnsupportedVersionException", "UnsupportedByAuthenticationException")):
        assert any(error in line for line in prints(log, "DelegationTokenCommand", "--describe", "--command-config", "/dev/null"))


def versions(log):
    """ApiVersions 0 by hand: what is said on the wire, to the last row."""
    host, port = log.address.split(":")
    with socket.create_connection((host, int(port)), 10) as connection:
        connection.sendall(struct.pack(">ihhih", 10, 18, 0, 1, -1))
        told = connection.makefile("rb")
        body = told.read(struct.unpack(">i", told.read(4))[0])
    count = struct.unpack(">i", body[6:10])[0]
    rows = (struct.unpack(">hhh", body[10 + 6 * i:16 + 6 * i]) for i in range(count))
    return {key: (oldest, newest) for key, oldest, newest in rows}


def test_both_announce_the_same_apis_but_for_these(both):
    ours, genuine = map(versions, both)
    absent = {
        38: "delegation tokens", 39: "delegation tokens", 40: "delegation tokens", 41: "delegation tokens",
        80: "there is one voter", 81: "there is one voter",
        83: "between brokers: the state of share groups", 84: "the same", 85: "the same", 86: "the same", 87: "the same",
    }
    newer = {2: 11, 8: 10, 9: 10, 27: 2, 78: 2, 79: 2, 90: 1}   # as Kafka 4.2
    assert set(genuine) - set(ours) == set(absent)
    assert not set(ours) - set(genuine)   # telemetry (71, 72) comes with a receiver's plugin only, on both
    assert {key: ours[key][1] for key in ours if ours[key] != genuine[key]} == newer
    assert all(ours[key][0] == genuine[key][0] and ours[key][1] == genuine[key][1] + 1 for key in newer)


# Defaults that differ, and why.
DEFAULTS = {
    "authorizer.class.name": None, "sasl.enabled.mechanisms": "none unless said",
    "group.coordinator.rebalance.protocols": "streams groups are not there",
    "group.consumer.max.size": "bounded", "group.max.size": "bounded", "max.connections": "bounded",
    "group.initial.rebalance.delay.ms": "a first use is at once", "num.partitions": "as many readers as that",
    "log.flush.interval.ms": "told with the value, not null", "log.retention.ms": "the same", "log.roll.ms": "the same",
    "log.roll.jitter.ms": "the same",
    "offsets.topic.num.partitions": "one sync serves all", "transaction.state.log.num.partitions": "the same",
    "share.coordinator.state.topic.num.partitions": "the same", "offsets.topic.replication.factor": "one broker",
    "transaction.state.log.replication.factor": "one broker", "transaction.state.log.min.isr": "one broker",
    "share.coordinator.state.topic.replication.factor": "one broker", "share.coordinator.state.topic.min.isr": "one broker",
    "broker.id": "there is one", "node.id": "there is one",
    "listeners": "there is always one", "listener.security.protocol.map": "of that one",
}
# Of what Kafka has and we do not: parts that one broker with certificates in PEM has no use for.
ABSENT = ("ssl.", "sasl.", "remote.", "controller.", "delegation.", "kafka.metrics.", "group.streams.", "alter.log.dirs.", "metadata.log.",
          "add.partitions.to.txn.", "security.", "log.retention.", "log.roll.", "log.dir", "log.cleaner.enable", "inter.broker.",
          "early.start.", "num.replica.alter.log.dirs.threads", "telemetry.max.bytes", "max.connection.creation.rate",
          "max.connections.per.ip.overrides", "connection.failed.authentication.delay.ms", "broker.rack", "replica.selector.class",
          "metric.reporters")


def default_of(row):
    return next((one.value for one in row.synonyms if one.source == settings.DEFAULT),
                row.value if row.config_source == settings.DEFAULT else None)


def test_both_tell_the_same_settings_but_for_these(both):
    ours, genuine = (settings.asks(log, settings.BROKER, "1") for log in both)
    assert set(ours) - set(genuine) == {"allow.everyone.if.no.acl.found", "super.users"}   # the authorizer's own, not told there
    assert not [name for name in set(genuine) - set(ours)
                if not name.startswith(ABSENT) and not name.endswith((".class", ".class.name"))]
    shared = set(ours) & set(genuine)
    assert not [name for name in shared if ours[name].config_type != genuine[name].config_type]
    # Read only here, for the port is open by then.
    fixed = {"listeners", "listener.security.protocol.map", "sasl.enabled.mechanisms"}
    assert {name for name in shared if ours[name].read_only != genuine[name].read_only} == fixed
    assert {name for name in shared if default_of(ours[name]) != default_of(genuine[name])} <= set(DEFAULTS)

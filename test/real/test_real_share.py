"""Share groups with the Java client and Kafka's own programs, on our log and, as the judge of the stories, on a genuine Kafka 4.2."""
import pathlib
import subprocess
import uuid

import pytest

import packages
import real
from servers import java
from story import Millrace, free_offset, open_folder, wait_for

SHARING = pathlib.Path(__file__).parent / "clients/Sharing.java"
NEWEST = packages.Jars("kafka-clients", "4.2.0", "org.apache.kafka:kafka-clients:4.2.0", "org.slf4j:slf4j-nop:1.7.36")
JARS = {"4.1": "kafka-4", "4.2": NEWEST}
GENUINE = "genuine"


def tool(address, name, *arguments, text=None, address_option=True):
    where = ["--bootstrap-server", address] if address_option else []
    done = subprocess.run([java(), "-Xmx256m", "-cp", f"{packages.install('kafka-4')}/*", name, *where, *map(str, arguments)], input=text, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module", params=["ours", GENUINE])
def which(request):
    return request.param


@pytest.fixture(scope="module")
def address(which, genuine, tmp_path_factory):
    if which == GENUINE:
        yield genuine("kafka-4.2").address
        return
    folder, offset = open_folder(tmp_path_factory.mktemp("log")), free_offset()
    process = Millrace(folder, "broker", "--data", folder / "data", "--port-offset", offset)
    wait_for(lambda: real.servers.listens(9092 + offset))
    yield f"127.0.0.1:{9092 + offset}"
    assert process.stop() == 0


@pytest.mark.parametrize("version", list(JARS))
def test_java_clients(which, address, version):
    done = subprocess.run([java(), "-Xmx256m", "-cp", f"{packages.install(JARS[version])}/*", SHARING, address,
                           f"s{uuid.uuid4().hex[:8]}-", *([GENUINE] if which == GENUINE else [])], capture_output=True, text=True, timeout=240, stdin=subprocess.DEVNULL)
    assert done.returncode == 0 and done.stdout.splitlines()[-1:] == ["told"], done.stdout[-3000:] + done.stderr[-5000:]


def test_kafkas_own_programs(which, address):
    topic, group = (f"{part}-{uuid.uuid4().hex[:8]}" for part in ("work", "jobs"))
    tool(address, "org.apache.kafka.tools.TopicCommand", "--create", "--topic", topic, "--partitions", 1)
    tool(address, "kafka.admin.ConfigCommand", "--alter", "--entity-type", "groups", "--entity-name", group, "--add-config",
         "share.auto.offset.reset=earliest")
    assert "share.auto.offset.reset=earliest" in tool(address, "kafka.admin.ConfigCommand", "--describe", "--entity-type",
                                                      "groups", "--entity-name", group)
    tool(address, "org.apache.kafka.tools.ConsoleProducer", "--topic", topic, text="".join(f"{n}\n" for n in range(20)))
    read = tool(address, "org.apache.kafka.tools.consumer.ConsoleShareConsumer", "--topic", topic, "--group", group,
                "--max-messages", 20, "--timeout-ms", 60000)
    assert sorted(map(int, read.split())) == list(range(20))
    command = "org.apache.kafka.tools.consumer.group.ShareGroupCommand"
    assert group in tool(address, command, "--list")
    rows = [line.split() for line in tool(address, command, "--describe", "--group", group).splitlines()]
    # A genuine Kafka tells where the group stood before its last acknowledgement.
    assert [group, topic, "0", "20"] in [[*row[:3], "20" if which == GENUINE else row[3]] for row in rows if len(row) > 3], rows
    produced = tool(address, "org.apache.kafka.tools.ProducerPerformance", "--topic", topic, "--num-records", 5000, "--record-size", 100,
                    "--throughput", -1, "--producer-props", f"bootstrap.servers={address}", address_option=False)
    assert "5000 records sent" in produced
    read = tool(address, "org.apache.kafka.tools.ShareConsumerPerformance", "--topic", topic, "--group", group, "--messages", 5000)
    assert "5000" in read.replace(",", " ").split(), read
    tool(address, "org.apache.kafka.tools.VerifiableProducer", "--topic", topic, "--max-messages", 100)
    events = tool(address, "org.apache.kafka.tools.VerifiableShareConsumer", "--topic", topic, "--group-id", group, "--max-messages", 100)
    assert "offsets_acknowledged" in events and "shutdown_complete" in events, events
    tool(address, command, "--delete", "--group", group)
    assert group not in tool(address, command, "--list")

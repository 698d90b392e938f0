"""Clients in Java, Go and Node, Kafka's own programs, Streams and Connect, on our log and, as the judge of the stories, on
genuine Kafka."""
import json
import pathlib
import shutil
import subprocess
import sys
import uuid

import pytest
import requests
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import NewTopic

import packages
import real
from servers import HOST, Process, answers, java
from story import ROOT, Millrace, free_offset, open_folder, wait_for

sys.path.insert(0, str(ROOT / "test/broker"))
from broker_stories import Broker, Log  # noqa: E402

CLIENTS = pathlib.Path(__file__).parent / "clients"
OLD = packages.Jars("kafka-clients", "2.8.2", "org.apache.kafka:kafka-clients:2.8.2", "org.slf4j:slf4j-nop:1.7.36")
STREAMS = {version: packages.Jars("kafka-streams", version, f"org.apache.kafka:kafka-streams:{version}",
                                  "org.slf4j:slf4j-nop:1.7.36") for version in (packages.KAFKA, packages.KAFKA_4)}
CONNECT = packages.Jars("kafka-connect", packages.KAFKA, *(f"org.apache.kafka:connect-{part}:{packages.KAFKA}" for part in
                                                           ("runtime", "file", "json")), "org.slf4j:slf4j-reload4j:1.7.36")
FLINK = {version: packages.Jars("flink", version, f"org.apache.flink:flink-clients:{version}",
                                f"org.apache.flink:flink-connector-base:{version}",
                                f"org.apache.flink:flink-connector-kafka:{connector}", "org.slf4j:slf4j-nop:1.7.36")
         for version, connector in (("1.20.1", "3.4.0-1.20"), ("2.0.0", "4.0.1-2.0"))}
JARS = {"2.8": OLD, "3.9": "kafka", "4.1": "kafka-4"}


@pytest.fixture(scope="module", params=["ours", "genuine"])
def log(request, genuine, tmp_path_factory):
    if request.param == "genuine":
        yield Log(genuine("kafka").address)
        return
    folder, offset = open_folder(tmp_path_factory.mktemp("log")), free_offset()
    process = Millrace(folder, "broker", "--data", folder / "data", "--port-offset", offset)
    wait_for(lambda: real.servers.listens(9092 + offset))
    yield Log(f"127.0.0.1:{9092 + offset}")
    assert process.stop() == 0


@pytest.fixture
def prefix():
    return f"c{uuid.uuid4().hex[:8]}-"


def told(command, seconds=240, **options):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL,
                          **options)
    assert done.returncode == 0 and done.stdout.splitlines()[-1:] == ["told"], done.stdout[-3000:] + done.stderr[-5000:]


# ---- Java ----

@pytest.mark.parametrize("version", list(JARS))
@pytest.mark.parametrize("story", ["admin_manages_topics", "records_come_as_they_went", "groups_share_the_work",
                                   "transactions_are_all_or_nothing"])
def test_java_clients(log, prefix, version, story):
    told([java(), "-Xmx256m", "-cp", f"{packages.install(JARS[version])}/*", CLIENTS / "Clients.java", log.address, prefix,
          story])


def tool(name, *arguments, jars="kafka", seconds=120, text=None):
    """Runs a class of Kafka's own programs, and gives what it printed."""
    done = subprocess.run([java(), "-Xmx256m", "-cp", f"{packages.install(jars)}/*", name, *map(str, arguments)], input=text,
                          capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


def quotas_are_set(at, jars, prefix):
    def configs(*arguments, text):
        wait_for(lambda: text in tool("kafka.admin.ConfigCommand", *at, *arguments, jars=jars), 60)
    who = ("--entity-type", "users", "--entity-name", f"{prefix}ann")
    app = ("--entity-type", "clients", "--entity-default")
    here = ("--entity-type", "ips", "--entity-name", "10.1.2.3")
    configs("--alter", *who, "--add-config", "producer_byte_rate=1024,request_percentage=200.5", text="Completed updating")
    configs("--alter", *who, *app, "--add-config", "controller_mutation_rate=5.0", text="Completed updating")
    configs("--alter", *here, "--add-config", "connection_creation_rate=9", text="Completed updating")
    configs("--describe", *who, text=f"Quota configs for user-principal '{prefix}ann' are ")
    configs("--describe", *who, text="producer_byte_rate=1024.0")
    configs("--describe", *who, text="request_percentage=200.5")
    configs("--describe", *who, *app, text="the default client-id are controller_mutation_rate=5.0")
    configs("--describe", *here, text="Quota configs for ip '10.1.2.3' are connection_creation_rate=9.0")
    configs("--alter", *who, "--delete-config", "producer_byte_rate,request_percentage", text="Completed updating")
    configs("--alter", *who, *app, "--delete-config", "controller_mutation_rate", text="Completed updating")
    configs("--alter", *here, "--delete-config", "connection_creation_rate", text="Completed updating")


def the_cluster_tells_of_itself(at, jars):
    quorum = tool("org.apache.kafka.tools.MetadataQuorumCommand", *at, "describe", "--status", jars=jars)
    assert "LeaderId:" in quorum and "CurrentVoters:" in quorum, quorum
    replicas = tool("org.apache.kafka.tools.MetadataQuorumCommand", *at, "describe", "--replication", jars=jars)
    assert "Leader" in replicas, replicas
    tool("org.apache.kafka.tools.FeatureCommand", *at, "describe", jars=jars)


def the_brokers_settings_change(at, jars):
    def configs(*arguments):
        return tool("kafka.admin.ConfigCommand", *at, *arguments, jars=jars)
    every = ("--entity-type", "brokers", "--entity-default")
    one = ("--entity-type", "brokers", "--entity-name", 1)
    configs("--alter", *every, "--add-config", "log.retention.ms=70000000,log.cleanup.policy=[compact,delete]")
    configs("--alter", *one, "--add-config", "log.retention.ms=80000000")
    wait_for(lambda: "log.cleanup.policy=compact,delete sensitive=false" in configs("--describe", *every), 60)
    wait_for(lambda: "log.retention.ms=80000000 sensitive=false synonyms={DYNAMIC_BROKER_CONFIG:log.retention.ms=80000000, "
             "DYNAMIC_DEFAULT_BROKER_CONFIG:log.retention.ms=70000000" in configs("--describe", *one), 60)
    configs("--alter", *one, "--delete-config", "log.retention.ms")
    configs("--alter", *every, "--delete-config", "log.retention.ms,log.cleanup.policy")


@pytest.mark.parametrize("jars", ["kafka", "kafka-4"])
def test_kafkas_own_programs(log, prefix, jars, tmp_path):
    at = ("--bootstrap-server", log.address)
    topic = f"{prefix}tools"
    tool("org.apache.kafka.tools.TopicCommand", *at, "--create", "--topic", topic, "--partitions", 3, jars=jars)
    assert "PartitionCount: 3" in tool("org.apache.kafka.tools.TopicCommand", *at, "--describe", "--topic", topic, jars=jars)
    sent = [json.loads(line) for line in tool("org.apache.kafka.tools.VerifiableProducer", *at, "--topic", topic,
                                              "--max-messages", 5000, "--acks", -1, jars=jars).splitlines()]
    assert sum(one["name"] == "producer_send_success" for one in sent) == 5000
    read = [json.loads(line) for line in tool("org.apache.kafka.tools.VerifiableConsumer", *at, "--topic", topic, "--group-id",
                                              f"{prefix}verified", "--max-messages", 5000, "--reset-policy", "earliest",
                                              jars=jars).splitlines()]
    assert sum(one.get("count", 0) for one in read if one["name"] == "records_consumed") == 5000
    assert read[-1]["name"] == "shutdown_complete"
    described = tool("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", *at, "--describe", "--group",
                     f"{prefix}verified", jars=jars)
    lags = [line.split()[5] for line in described.splitlines() if line.startswith(f"{prefix}verified")]
    assert lags and set(lags) == {"0"}, described
    tool("org.apache.kafka.tools.ProducerPerformance", "--topic", topic, "--num-records", 20000, "--record-size", 100,
         "--throughput", -1, "--producer-props", f"bootstrap.servers={log.address}", "compression.type=lz4", jars=jars)
    spoken = tool("org.apache.kafka.tools.GetOffsetShell", *at, "--topic", topic, jars=jars)
    assert sum(int(line.rsplit(":", 1)[1]) for line in spoken.split()) == 25000
    producer = log.producer(transactional_id=f"{prefix}txn", transaction_timeout_ms=60000)
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, b"open", partition=0)
    assert producer.flush(30) == 0
    command = "org.apache.kafka.tools.TransactionsCommand"
    rows = tool(command, *at, "list", jars=jars).splitlines()
    assert [row.split()[-1] for row in rows if row.startswith(f"{prefix}txn")] == ["Ongoing"], rows
    told = tool(command, *at, "describe", "--transactional-id", f"{prefix}txn", jars=jars)
    assert "Ongoing" in told and f"{topic}-0" in told and " 60000 " in " ".join(told.split()), told
    rows = [row.split() for row in tool(command, *at, "describe-producers", "--topic", topic, "--partition", 0,
                                        jars=jars).splitlines() if row.strip()]
    open_ones = [row for row in rows[1:] if row[-1] != "None"]
    assert len(open_ones) == 1, rows
    tool(command, *at, "abort", "--topic", topic, "--partition", 0, "--start-offset", open_ones[0][-1], jars=jars)
    assert log.reads(topic, 25000, 30, isolation_level="read_committed").count("open") == 0
    producer.abort_transaction(30)
    quotas_are_set(at, jars, prefix)
    the_brokers_settings_change(at, jars)
    the_cluster_tells_of_itself(at, jars)
    elected = tool("org.apache.kafka.tools.LeaderElectionCommand", *at, "--election-type", "preferred", "--topic", topic,
                   "--partition", 0, jars=jars)
    assert "Valid replica already elected" in elected, elected
    moves = tmp_path / "moves.json"
    moves.write_text(json.dumps({"version": 1, "partitions": [{"topic": topic, "partition": 1, "replicas": [1]}]}))
    move = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand"
    assert "Successfully started" in tool(move, *at, "--execute", "--reassignment-json-file", moves, jars=jars)
    assert "is completed" in tool(move, *at, "--verify", "--reassignment-json-file", moves, jars=jars)
    assert "No partition reassignments found" in tool(move, *at, "--list", jars=jars)
    package = "kafka.admin" if jars == "kafka" else "org.apache.kafka.tools"
    versions = tool(f"{package}.BrokerApiVersionsCommand", *at, jars=jars)
    assert "Produce(0)" in versions and "UNKNOWN" not in versions.split("\n")[0]
    tool("org.apache.kafka.tools.TopicCommand", *at, "--delete", "--topic", topic, jars=jars)


# ---- Streams ----

@pytest.mark.parametrize("version", list(STREAMS))
def test_streams_counts_exactly_once_though_it_is_killed(log, prefix, tmp_path, version):
    for name in ("lines", "counts"):
        log.admin.create_topics([NewTopic(prefix + name, 2, 1)])[prefix + name].result(10)
    command = [java(), "-Xmx384m", "-cp", f"{packages.install(STREAMS[version])}/*", CLIENTS / "Counting.java", log.address,
               prefix, tmp_path / "state"]
    producer = Producer({"bootstrap.servers": log.address})
    words = {}

    def say(count):
        for number in range(count):
            line = f"a w{number % 7} w{number % 11}"
            for word in line.split():
                words[word] = words.get(word, 0) + 1
            producer.produce(prefix + "lines", value=line.encode())
        assert producer.flush(30) == 0
    consumer = Consumer({"bootstrap.servers": log.address, "group.id": prefix + "judge", "auto.offset.reset": "earliest",
                         "isolation.level": "read_committed"})
    consumer.subscribe([prefix + "counts"])
    found = {}

    def counted(until):
        for message in consumer.consume(1000, 0.2):
            assert not message.error(), message.error()
            word, count = message.key().decode(), int(message.value())
            assert count > found.get(word, 0), f"{word}: {count} after {found.get(word)}: told twice"
            found[word] = count
        assert one.running, one.tail()
        return until()
    one = Process("streams", tmp_path, command, lambda: True).start()
    try:
        for _ in range(2):
            say(2000)
            wait_for(lambda: counted(lambda: found.get("a", 0) > words["a"] - 2000), 90, 0)     # in mid-stream
            one.kill()
            one.start()
        say(2000)
        wait_for(lambda: counted(lambda: found == words), 120, 0)
    finally:
        one.stop(30)
        consumer.close()


# ---- Flink ----

@pytest.fixture(params=["ours", "genuine"])
def mortal(request, genuine, tmp_path):
    """A log that a story may kill: `kill()`, `start()`."""
    if request.param == "ours":
        (tmp_path / "log").mkdir()
        one = Broker(open_folder(tmp_path / "log")).start()
        yield one
        one.end()
        return
    kafka = genuine("kafka")
    one = Log(kafka.address)
    one.kill, one.start = kafka.brokers[0].kill, kafka.start
    yield one
    kafka.stop()


@pytest.mark.parametrize("version", list(FLINK))
def test_flink_carries_each_record_once_though_the_log_is_killed(mortal, prefix, tmp_path, version):
    for name in ("in", "out"):
        mortal.admin.create_topics([NewTopic(prefix + name, 2, 1)])[prefix + name].result(20)
    opens = [f"--add-opens=java.base/java.{part}=ALL-UNNAMED" for part in ("lang", "util", "util.concurrent", "time")]
    jars = f"{packages.install(FLINK[version])}/*"   # compiled, since Flink looks for the class by its name
    subprocess.run([f"{java()}c", "-cp", jars, "-d", tmp_path / "classes", CLIENTS / "Flinking.java"], check=True, timeout=120)
    flink = Process("flink", tmp_path, [java(), "-Xmx512m", *opens, "-cp", f"{tmp_path / 'classes'}:{jars}", "Flinking",
                                        mortal.address, prefix, tmp_path / "checkpoints"], lambda: True)
    consumer = Consumer({"bootstrap.servers": mortal.address, "group.id": prefix + "judge", "auto.offset.reset": "earliest",
                         "isolation.level": "read_committed", "log_level": 0})
    consumer.subscribe([prefix + "out"])
    said, found = [], []

    def say(count):
        more = [f"{len(said) + number}" for number in range(count)]
        said.extend(more)
        mortal.produces(prefix + "in", more, partitioner="random", enable_idempotence=True)

    def carried(count):
        for message in consumer.consume(1000, 0.2):
            if not message.error():         # connections of a log that is killed
                found.append(message.value().decode())
        assert flink.running, flink.tail(40)
        return len(found) >= count
    flink.start()
    try:
        say(3000)
        wait_for(lambda: carried(1000), 120, 0)
        say(3000)
        mortal.kill()                       # while it reads, writes and commits
        mortal.start()
        say(3000)
        wait_for(lambda: carried(9000), 180, 0)
        say(1000)                           # it has gone on, and goes on
        wait_for(lambda: carried(10000), 120, 0)
    finally:
        flink.stop(30)
        consumer.close()
    assert sorted(found, key=lambda text: int(text[1:-1])) == [f"<{text}>" for text in said], "each record once"
    assert sorted(mortal.reads(prefix + "out", 10000, 60, isolation_level="read_committed")) == sorted(found)


# ---- Connect ----

def test_connect_copies_a_file_through_a_topic_and_goes_on_after_a_kill(log, prefix, tmp_path):
    port = 8083 + free_offset()
    (tmp_path / "worker.properties").write_text("\n".join([
        f"bootstrap.servers={log.address}", f"group.id={prefix}connect", f"listeners=http://{HOST}:{port}",
        "key.converter=org.apache.kafka.connect.storage.StringConverter",
        "value.converter=org.apache.kafka.connect.storage.StringConverter",
        *(f"{name}.storage.{setting}" for name in ("config", "offset", "status")
          for setting in (f"topic={prefix}{name}", "replication.factor=1")),
        "offset.flush.interval.ms=500", "session.timeout.ms=6000", "heartbeat.interval.ms=500",
        "exactly.once.source.support=enabled", f"plugin.path={packages.install(CONNECT)}", "plugin.discovery=only_scan", ""]))
    (tmp_path / "log4j.properties").write_text(real.servers.LOG4J_1)
    worker = Process("connect", tmp_path, [java(), "-Xmx384m", f"-Dlog4j.configuration=file:{tmp_path}/log4j.properties", "-cp",
                                           f"{packages.install(CONNECT)}/*", "org.apache.kafka.connect.cli.ConnectDistributed",
                                           tmp_path / "worker.properties"],
                     lambda: answers(f"http://{HOST}:{port}/connectors") is not None)
    source, sink = tmp_path / "in.txt", tmp_path / "out.txt"
    topic, lines = log.topic(), []          # one partition: only within one there is an order

    def write(count):
        more = [f"line {len(lines) + number}" for number in range(count)]
        lines.extend(more)
        with open(source, "a") as file:
            file.write("".join(f"{line}\n" for line in more))

    def copied():
        assert worker.running, worker.tail(40)
        return sink.exists() and len(sink.read_text().splitlines()) >= len(lines)
    write(1000)
    worker.start().wait_ready()
    try:
        for name, settings in (("in", {"connector.class": "org.apache.kafka.connect.file.FileStreamSourceConnector",
                                       "file": str(source), "topic": topic}),
                               ("out", {"connector.class": "org.apache.kafka.connect.file.FileStreamSinkConnector",
                                        "file": str(sink), "topics": topic})):
            def made():
                answer = requests.put(f"http://{HOST}:{port}/connectors/{prefix}{name}/config", timeout=30,
                                      json={"tasks.max": "1", **settings})
                return answer.status_code in (200, 201)
            wait_for(made, 60)
        wait_for(copied, 120, 0.2)
        assert sink.read_text().splitlines() == lines
        worker.kill()
        write(1000)
        worker.start().wait_ready()
        wait_for(copied, 120, 0.2)
        read = log.reads(topic, 2000, 30, isolation_level="read_committed")
        assert read == lines, "each line once, in order, though the worker was killed"
        assert set(sink.read_text().splitlines()) == set(lines)
    finally:
        worker.stop()


# ---- Go and Node ----

@pytest.fixture(scope="module")
def go_program(tmp_path_factory):
    if shutil.which("go") is None:
        pytest.skip("go is not here")
    folder = tmp_path_factory.mktemp("go")
    shutil.copytree(CLIENTS / "go", folder / "go")
    made = subprocess.run("go mod tidy && go build -o ../clients .", shell=True, cwd=folder / "go", capture_output=True,
                          text=True, timeout=600)
    if "go.mod requires go" in made.stderr or "toolchain" in made.stderr:
        pytest.skip(f"go is too old: {made.stderr.strip()[-200:]}")
    assert made.returncode == 0, made.stderr[-2000:]
    return folder / "clients"


@pytest.mark.parametrize("client", ["franz", "sarama"])
def test_go_clients(log, prefix, go_program, client):
    told([go_program, log.address, prefix, client])


@pytest.fixture(scope="module")
def node_modules(tmp_path_factory):
    if shutil.which("npm") is None:
        pytest.skip("npm is not here")
    folder = tmp_path_factory.mktemp("node")
    subprocess.run(["npm", "install", "--no-audit", "--no-fund", "kafkajs@2.2.4"], cwd=folder, check=True, capture_output=True,
                   timeout=300)
    shutil.copy(CLIENTS / "kafkajs.js", folder)
    return folder


def test_kafkajs(log, prefix, node_modules):
    told(["node", "kafkajs.js", log.address, prefix], cwd=node_modules)

"""What the stories of captures share: the program, a log and a registry (the program's own, or the real ones:
PEER_KAFKA, PEER_REGISTRY), and reading a topic as another program does."""
import json
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time

import psycopg2
import pytest
from confluent_kafka import Consumer, TopicPartition

from story import BINARY, ROOT, Millrace, open_folder, wait_for

PROGRAM = os.environ.get("CAPTURE_PROGRAM") or str(pathlib.Path(os.path.realpath(BINARY)).parent / "capture_program")


class Capture:
    """The program, its folder and its topic."""

    def __init__(self, folder, kafka, registry, name, table="raw.users"):
        self.folder, self.kafka, self.registry, self.name, self.table = folder, kafka, registry, name, table
        self.log = open(pathlib.Path(folder) / "capture.log", "ab")
        self.start()

    def start(self):
        self.process = subprocess.Popen([PROGRAM, self.folder, self.kafka, self.registry, self.name, self.table,
                                         self.name], stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.port = json.loads(self.process.stdout.readline())["port"]
        self.status = {"state": ""}
        threading.Thread(target=self._read, args=(self.process,), daemon=True).start()

    def _read(self, process):
        for line in process.stdout:
            if process is self.process:
                self.status = json.loads(line)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(20) == 0

    def connect(self):
        password = (pathlib.Path(self.folder) / "postgres.password").read_text().strip()
        return psycopg2.connect(host="127.0.0.1", port=self.port, user="millrace", password=password,
                                dbname="millrace")

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        pid = int((pathlib.Path(self.folder) / "postgres" / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGINT)
        wait_for(lambda: not pathlib.Path(f"/proc/{pid}/cwd").exists() or not os.listdir(f"/proc/{pid}/task"), 20)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(port):
    with socket.create_connection(("127.0.0.1", port), 1):
        return True


@pytest.fixture
def log_and_registry(tmp_path_factory):
    kafka, registry = os.environ.get("PEER_KAFKA"), os.environ.get("PEER_REGISTRY")
    parts = []
    if kafka is None:
        port = free_port()
        folder = open_folder(tmp_path_factory.mktemp("broker"))
        parts.append(Millrace(folder, "broker", "--port", port, "--data", folder))
        kafka = f"127.0.0.1:{port}"
        wait_for(lambda: answers(port))
    if registry is None:
        port = free_port()
        folder = open_folder(tmp_path_factory.mktemp("registry"))
        parts.append(Millrace(folder, "registry", "--port", port, "--kafka", kafka))
        registry = f"127.0.0.1:{port}"
        wait_for(lambda: answers(port))
    yield kafka, registry
    for part in reversed(parts):
        part.stop()


@pytest.fixture
def capture(tmp_path, log_and_registry):
    open_folder(tmp_path)
    kafka, registry = log_and_registry
    capture = Capture(str(tmp_path), kafka, registry, f"rows_{time.time_ns()}")
    yield capture
    capture.end()


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at


def decode(value):
    """id, key, body, fetched_at of a record in Confluent's wire format, by hand."""
    row, at = [], 5
    for kind in ("long", "string", "string", "long"):
        number, at = varint(value, at)
        if kind == "string":
            row.append(value[at:at + number].decode())
            at += number
        else:
            row.append(number)
    assert at == len(value)
    return row


def read_topic(kafka, topic):
    """All committed records, each partition in its order."""
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": f"g{time.time_ns()}", "enable.partition.eof": True,
                         "isolation.level": "read_committed", "auto.offset.reset": "earliest"})
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
    ended, records = set(), []
    while len(ended) < len(partitions):
        for message in consumer.consume(10000, 1.0):
            if message.error():
                ended.add(message.partition())
            else:
                ended.discard(message.partition())
                records.append((message.key().decode(), message.value(), dict(message.headers() or [])))
    consumer.close()
    return records


def wait_caught_up(capture):
    """The slot has confirmed all that is there."""
    with capture.connect() as conn:
        conn.autocommit = True
        cursor = conn.cursor()
        cursor.execute("SELECT pg_current_wal_lsn()")
        end = cursor.fetchone()[0]

        def there():
            cursor.execute("SELECT confirmed_flush_lsn >= %s::pg_lsn FROM pg_replication_slots", (end,))
            return capture.status["state"] == "streaming" and cursor.fetchone()[0]
        wait_for(there, 90)

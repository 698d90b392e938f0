"""A capture is killed at random moments, in its snapshot and in its stream, while others write; afterwards the
topic tells of each row what happened to it: once, in order, to the end."""
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import threading
import time

import psycopg2
import pytest
from confluent_kafka import Consumer, TopicPartition

from conftest import ROOT, Millrace, open_folder, wait_for

PROGRAM = os.environ.get("CAPTURE_PROGRAM") or str(ROOT / "build" / "capture_program")
FIRST_ROWS = int(os.environ.get("CAPTURE_ROWS", "60000"))
KILLS = int(os.environ.get("CAPTURE_KILLS", "6"))


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


def write(capture, stop, seed):
    """Inserts, updates and deletes, in transactions of one to many rows; n counts the versions of a row."""
    chance, conn = random.Random(seed), capture.connect()
    cursor = conn.cursor()
    while not stop.is_set():
        for _ in range(chance.choice([1, 1, 1, 5, 50])):
            what = chance.random()
            if what < 0.4:
                cursor.execute("INSERT INTO raw.users(key, body) VALUES (%s, '{\"n\": 0}')",
                               (f"w{seed}-{chance.getrandbits(60)}",))
            elif what < 0.9:
                cursor.execute("UPDATE raw.users SET body = jsonb_set(body, '{n}', to_jsonb((body->>'n')::int + 1)) "
                               "WHERE id = (SELECT id FROM raw.users WHERE id >= %s ORDER BY id LIMIT 1 FOR UPDATE "
                               "SKIP LOCKED)", (chance.randrange(1, FIRST_ROWS),))
            else:
                cursor.execute("DELETE FROM raw.users WHERE id = (SELECT id FROM raw.users WHERE id >= %s ORDER BY id "
                               "LIMIT 1 FOR UPDATE SKIP LOCKED)", (chance.randrange(1, FIRST_ROWS),))
        if chance.random() < 0.1:
            conn.rollback()
        else:
            conn.commit()
    conn.commit()
    conn.close()


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


def check(records, rows):
    """The last record of each key is the row; versions rise one by one; nothing is told twice."""
    seen = {}
    for key, value, headers in records:
        before = seen.get(key)
        if value is None:
            assert before is not None, f"{key} was deleted before it was told"
            assert before != "gone", f"{key} was deleted twice"
            seen[key] = "gone"
            continue
        row = decode(value)
        version = json.loads(row[2])["n"]
        if before is None:
            assert headers["mr.op"] in (b"r", b"c"), f"{key} begins with {headers}"
        else:
            assert before != "gone", f"{key} was told after its end"
            assert version == before[1] + 1, f"{key}: version {version} after {before[1]} ({headers})"
        seen[key] = (row, version)
    told = {key: row[0] for key, row in seen.items() if row != "gone"}
    there = {str(row[0]): row for row in rows}
    assert told.keys() == there.keys(), (f"missing {sorted(there.keys() - told.keys())[:5]}, "
                                         f"too many {sorted(told.keys() - there.keys())[:5]}")
    for key, row in there.items():
        assert told[key][1] == row[1] and json.loads(told[key][2]) == row[2] and told[key][3] == row[3], key


def table_rows(capture):
    with capture.connect() as conn, conn.cursor() as cursor:
        cursor.execute("SELECT id, key, body, (extract(epoch FROM fetched_at) * 1000000)::bigint FROM raw.users")
        return cursor.fetchall()


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


def test_killed_at_random_moments(capture):
    seed = int(os.environ.get("CAPTURE_SEED", time.time_ns() % 1000000))
    print("seed", seed)
    chance, stop = random.Random(seed), threading.Event()
    wait_for(lambda: capture.status["state"] == "streaming")
    capture.stop()
    # A topic of its own, so that all rows below are there before its snapshot.
    capture.name += "_two"
    with capture.connect() as conn, conn.cursor() as cursor:
        cursor.execute("INSERT INTO raw.users(key, body) SELECT 'f' || i, jsonb_build_object('n', 0, 'pad', repeat('x', "
                       "200)) FROM generate_series(1, %s) i", (FIRST_ROWS,))
        cursor.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
    writers = [threading.Thread(target=write, args=(capture, stop, seed + i)) for i in range(3)]
    for writer in writers:
        writer.start()
    for _ in range(KILLS):
        capture.start()
        time.sleep(chance.uniform(0.05, 1.2))
        capture.kill()
    capture.start()
    time.sleep(1)
    stop.set()
    for writer in writers:
        writer.join()
    wait_caught_up(capture)
    check(read_topic(capture.kafka, capture.name), table_rows(capture))

"""A log, a registry, a table store and the engine alone as a process, which stories start, kill and ask."""
import importlib.util
import json
import os
import pathlib
import signal
import subprocess
import time

import pytest
import requests
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

_spec = importlib.util.spec_from_file_location("stories", pathlib.Path(__file__).parent.parent / "story.py")
common = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(common)
PROGRAM = os.environ.get("ENGINE_PROGRAM") or str(pathlib.Path(os.path.realpath(common.BINARY)).parent / "engine_program")


class Engine:
    """The engine's process; `again()` starts it on the same folder."""

    def __init__(self, place, streams, number=0):
        self.place, self.streams, self.number = place, streams, number
        self.output = place.folder / f"engine-{number}.txt"
        config = place.folder / f"engine-{number}.json"
        config.write_text(json.dumps({
            "kafka": place.kafka, "registry": place.registry, "cassandra": place.cassandra,
            "folder": str(place.folder / "engine"), "streams": streams}))
        self.process = subprocess.Popen([PROGRAM, str(config)], stdin=subprocess.PIPE, text=True,
                                        stdout=open(self.output, "wb"), stderr=subprocess.STDOUT)

    def again(self):
        return self.place.engine(self.streams)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def say(self, line):
        """`pause NAME` and the like; returns the answer."""
        heard = len(self.output.read_text())
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

        def answered():
            found = [text for text in self.output.read_text()[heard:].split("\n") if text.startswith(line + ": ")]
            return found and found[-1][len(line) + 2:]
        return common.wait_for(answered, 30)

    def status(self, name):
        found = None
        for line in self.output.read_text(errors="replace").split("\n"):
            if line.startswith('{"name"') and line.endswith("}"):
                line = json.loads(line)
                found = line if line["name"] == name else found
        return found

    def wait(self, name, check, seconds=60):
        """Until the status satisfies `check`; returns it."""
        try:
            return common.wait_for(lambda: (lambda s: s if s and check(s) else None)(self.status(name)), seconds)
        except AssertionError:
            raise AssertionError(f"{name}: {self.status(name)}\n{self.output.read_text()[-3000:]}") from None

    def wait_read(self, name, count, seconds=60):
        return self.wait(name, lambda s: s["in"] >= count and s["lag"] == 0, seconds)


class Place:
    """Ports and folders of one story."""

    def __init__(self, folder):
        self.folder, self.offset, self.running, self.engines = folder, common.free_offset(), {}, []
        self.kafka = f"127.0.0.1:{9092 + self.offset}"
        self.registry = f"http://127.0.0.1:{8081 + self.offset}"
        self.cassandra = f"127.0.0.1:{9042 + self.offset}"

    def begin(self, part):
        more = ["--kafka", self.kafka] if part == "registry" else []
        output = open(self.folder / f"{part}.txt", "ab")
        self.running[part] = subprocess.Popen(
            [common.BINARY, part, "--data", str(self.folder / part), "--port-offset", str(self.offset), *more],
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        if part == "broker":
            common.wait_for(lambda: AdminClient({"bootstrap.servers": self.kafka, "log_level": 0}).list_topics(timeout=1))
        if part == "registry":
            common.wait_for(lambda: requests.get(self.registry + "/subjects", timeout=2).status_code == 200)

    def kill(self, part):
        self.running[part].kill()
        self.running[part].wait()

    def engine(self, streams):
        self.engines.append(Engine(self, streams, len(self.engines)))
        return self.engines[-1]

    def end(self):
        for process in [engine.process for engine in self.engines] + list(self.running.values()):
            if process.poll() is None:
                process.kill()
                process.wait()

    # ---- topics ----
    def topic(self, name, partitions=4):
        admin = AdminClient({"bootstrap.servers": self.kafka})
        for future in admin.create_topics([NewTopic(name, partitions, 1)]).values():
            future.result()

    def producer(self):
        return Producer({"bootstrap.servers": self.kafka, "enable.idempotence": True, "linger.ms": 5,
                         "queue.buffering.max.messages": 1000000, "log_level": 0})

    def records(self, topic):
        """All committed records of a topic, partition by partition in order."""
        consumer = Consumer({"bootstrap.servers": self.kafka, "group.id": f"story-{time.monotonic_ns()}",
                             "isolation.level": "read_committed", "enable.auto.commit": False,
                             "enable.partition.eof": True})
        found = []
        for partition in consumer.list_topics(topic, timeout=10).topics[topic].partitions:
            consumer.assign([TopicPartition(topic, partition, 0)])
            ended = False
            while not ended:
                for message in consumer.consume(10000, timeout=1):
                    if message.error() is None:
                        found.append(message)
                    else:
                        ended = True
        consumer.close()
        return found

    # ---- tables ----
    def session(self):
        from cassandra.cluster import Cluster

        def connect():
            return Cluster(["127.0.0.1"], port=9042 + self.offset, connect_timeout=5).connect()
        return common.wait_for(connect, 30, 0.3)


@pytest.fixture
def place(folder):
    story = Place(folder)
    yield story
    story.end()


@pytest.fixture
def log(place):
    """Only a log."""
    place.begin("broker")
    return place


@pytest.fixture
def house(log):
    """A log, a registry and a table store."""
    log.begin("registry")
    log.begin("store")
    return log

"""A log for the stories of this folder: ours, or with PEER (host:port) a genuine Kafka, which is the judge."""
import functools
import os
import pathlib
import subprocess
import sys
import uuid

from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import story as stories  # noqa: E402

PEER = os.environ.get("PEER")


class Log:
    client = {}  # settings of every client: how it signs in

    def __init__(self, address):
        self.address = address

    @functools.cached_property
    def admin(self):
        return AdminClient({"bootstrap.servers": self.address, **self.client})

    def topic(self, partitions=1, **config):
        """A new topic of a name of its own; settings with _ for the dots."""
        name = f"t-{uuid.uuid4().hex[:12]}"
        config = {key.replace("_", "."): str(value) for key, value in config.items()}
        made = self.admin.create_topics([NewTopic(name, partitions, 1, config=config)])
        made[name].result(10)
        return name

    def producer(self, **config):
        return Producer({"bootstrap.servers": self.address, "linger.ms": 0, **self.client,
                         **{key.replace("_", "."): value for key, value in config.items()}})

    def consumer(self, *topics, group=None, **config):
        consumer = Consumer({"bootstrap.servers": self.address, "group.id": group or f"g-{uuid.uuid4().hex[:12]}",
                             "auto.offset.reset": "earliest", "enable.auto.commit": False, **self.client,
                             **{key.replace("_", "."): value for key, value in config.items()}})
        if topics:
            consumer.subscribe(list(topics))
        return consumer

    def produces(self, topic, values, **config):
        producer = self.producer(**config)
        for value in values:
            producer.produce(topic, value=str(value).encode())
        assert producer.flush(30) == 0

    def reads(self, topic, count, seconds=20, **config):
        """The values of the first `count` records, and of what comes within a moment behind them."""
        consumer = self.consumer(topic, **config)
        values = take(consumer, count, seconds)
        values += [m.value().decode() for m in consumer.consume(1000, 0.3) if not m.error()]
        consumer.close()
        return values


def take(consumer, count, seconds=20):
    values = []

    def enough():
        for message in consumer.consume(10000, 0.1):
            assert not message.error(), message.error()
            values.append(message.value().decode())
        return len(values) >= count
    stories.wait_for(enough, seconds, 0)
    return values


class Broker(Log):
    """`millrace broker` on a folder, killed and started again at will."""

    def __init__(self, folder, data=None, arguments=()):
        self.folder, self.offset, self.process = folder, stories.free_offset(), None
        self.data, self.environment, self.arguments = data or folder / "data", None, arguments
        self.port = 9092 + self.offset
        super().__init__(f"127.0.0.1:{self.port}")

    @property
    def says(self):
        """All that it has logged."""
        log = self.data / "millrace.log"
        return (log.read_text(errors="replace") if log.exists() else "") + self.process.text

    def start(self):
        self.process = stories.Millrace(self.folder, "broker", "--data", self.data,
                                        "--port-offset", self.offset, *self.arguments, environment=self.environment)
        try:
            stories.wait_for(lambda: self.admin.list_topics(timeout=1), 20)
        except AssertionError as trouble:
            raise AssertionError(f"{trouble}; it says: {self.process.text[-2000:]}") from None
        return self

    def kill(self):
        self.process.kill()

    def end(self):
        if self.process and self.process.process.poll() is None:
            self.process.kill()


class Silent(Broker):
    client = {"log_level": 0}   # about connections that a kill breaks


def tool(log, *arguments, given="", status=0, seconds=60):
    """One of our commands, asked about this log: what it printed, or with another status what it complained of."""
    done = subprocess.run([stories.BINARY, *map(str, arguments), "--bootstrap-server", log.address], input=given, text=True,
                          capture_output=True, timeout=seconds)
    assert done.returncode == status, (done.stdout, done.stderr)
    return done.stdout if status == 0 else done.stderr


def fills(folder):
    """Takes the last byte of a disk, until the file that it gives goes away."""
    with open(folder / "ballast", "wb", buffering=0) as ballast:
        try:
            while True:
                ballast.write(bytes(1 << 16))
        except OSError:
            return folder / "ballast"

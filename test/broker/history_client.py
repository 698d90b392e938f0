"""One client of a run, in a process of its own: python history_client.py '{"role": ..., "name": ..., ...}'.

It writes its history into a file as it goes, a JSON object a line, each in one write(): what it is about to try before it
tries it, what was acknowledged after. So the file of a client that was killed says all that it can have done. SIGTERM: it
ends what is open and goes. `seed` decides what it chooses; when it gets to do it, the machine decides.
"""
import json
import os
import pathlib
import random
import signal
import sys
import time

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from history import record_bytes, record_identity, record_key
from raw_transactions import INVALID_STATE, NONE, RawProducer

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


class Over(Exception):
    """This producer cannot go on; another one can."""


class Client:
    def __init__(self, options):
        self.options, self.name = options, options["name"]
        self.chance = random.Random(f"{options['seed']} {self.name}")
        self.file = os.open(pathlib.Path(options["folder"]) / f"{self.name}.history", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.over, self.instances = False, 0
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "over", True))

    def note(self, what, **event):
        line = json.dumps({"what": what, "at": time.monotonic_ns(), **event}, separators=(",", ":")).encode() + b"\n"
        assert os.write(self.file, line) == len(line)

    def rests(self, seconds):
        end = time.monotonic() + seconds
        while not self.over and time.monotonic() < end:
            time.sleep(min(0.02, max(0, end - time.monotonic())))

    def config(self, **more):
        return {"bootstrap.servers": self.options["address"], "log_level": 0, "reconnect.backoff.max.ms": 500,
                **{key.replace("_", "."): value for key, value in more.items()}}

    def member(self):
        """The settings of a member of a group."""
        fixed = {"group_instance_id": self.options["instance"]} if "instance" in self.options else {}
        return self.config(group_id=self.options["group"], enable_auto_commit=False, auto_offset_reset="earliest",
                           session_timeout_ms=6000, heartbeat_interval_ms=500, **fixed)

    def somewhere(self):
        topic, partitions = self.chance.choice(self.options["topics"])
        return topic, self.chance.randrange(partitions)

    def length(self):
        return self.chance.choice([0, 10, 100, 100, 900, 4000])

    def runs(self):
        """Again and again until it is told to end."""
        while not self.over:
            self.instances += 1
            try:
                self.run(f"{self.name}-{self.instances}")
            except (KafkaException, Over) as trouble:
                self.note("trouble", text=str(trouble))
                self.rests(self.chance.uniform(0, 0.3))


class Sender(Client):
    """What producers have in common: acknowledgements."""

    def begins(self, config):
        self.acked, self.failed = [], []
        self.producer = Producer(config)

    def sends(self, batch, index, topic, partition):
        def told(error, message):
            if error is None:
                self.acked.append((batch, index, message.offset(), time.monotonic_ns()))
            else:
                self.failed.append((batch, index))
        value = record_bytes(f"{batch}/{index}", self.length())
        key = record_key(f"{batch}/{index}") if topic in self.options["compacted"] else None
        while True:
            try:
                self.producer.produce(topic, value, key, partition=partition, on_delivery=told)
                return
            except BufferError:
                self.hears(0.05)

    def hears(self, seconds=0.0):
        """Runs the callbacks, and keeps what they told."""
        self.producer.poll(seconds)
        if self.acked:
            self.note("acked", records=self.acked)
            self.acked = []
        if self.failed:
            self.note("failed", records=self.failed)
            self.failed = []

    def flushes(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.producer.flush(0.05):
            self.hears()
        self.hears()


class Plain(Sender):
    """A producer without transactions: idempotent, or acks=1 that tries nothing twice."""

    def run(self, producer):
        kind = self.options["kind"]
        weak = {"acks": 1, "message_send_max_retries": 0, "max_in_flight": 1, "message_timeout_ms": 5000}
        strong = {"enable_idempotence": True, "message_timeout_ms": 120000}
        self.begins(self.config(linger_ms=self.chance.choice([0, 2, 20]), compression_type=self.chance.choice(CODECS),
                                queue_buffering_max_messages=500, **(weak if kind == "acks1" else strong)))
        number, next_at = 0, time.monotonic()
        while not self.over:
            count = self.chance.randint(1, 40)
            places = [self.somewhere() for _ in range(count)]
            self.note("tries", batch=f"{producer}.{number}", producer=producer, kind=kind, records=places)
            for index, (topic, partition) in enumerate(places):
                self.sends(f"{producer}.{number}", index, topic, partition)
            self.hears()
            number += 1
            next_at = max(next_at, time.monotonic() - 1) + count / self.options["rate"]
            while not self.over and time.monotonic() < next_at:
                self.hears(min(0.05, max(0, next_at - time.monotonic())))
        self.flushes(10)


class Transactor(Sender):
    """Random transactions over several topics; `id` may belong to several clients, who lock each other out."""

    def inits(self, producer):
        timeout = self.options["timeout_ms"]
        self.begins(self.config(transactional_id=self.options["id"], transaction_timeout_ms=timeout, message_timeout_ms=timeout,
                                linger_ms=self.chance.choice([0, 0, 5]), compression_type=self.chance.choice(CODECS)))
        self.note("init", producer=producer, id=self.options["id"])
        end = time.monotonic() + 40
        while True:
            try:
                self.producer.init_transactions(5)
                break
            except KafkaException as trouble:
                if not trouble.args[0].retriable() or self.over or time.monotonic() > end:
                    raise
        self.note("ready", producer=producer)

    def aborts(self, batch):
        self.note("ending", batch=batch, how="abort")
        self.until_told(batch, lambda: self.producer.abort_transaction(5), "aborted")

    def until_told(self, batch, ask, outcome):
        end = time.monotonic() + 30
        while True:
            try:
                ask()
                self.hears()
                self.note("ended", batch=batch, how=outcome)
                return
            except KafkaException as trouble:
                self.hears()
                error = trouble.args[0]
                if error.txn_requires_abort() and outcome == "committed":
                    self.note("trouble", batch=batch, text=str(trouble))
                    self.aborts(batch)
                    return
                if not error.retriable() or time.monotonic() > end:
                    raise

    def commits(self, batch):
        self.note("ending", batch=batch, how="commit")
        self.until_told(batch, lambda: self.producer.commit_transaction(5), "committed")

    def transacts(self, batch, fill, commit):
        """One transaction: `fill` puts into it what it shall contain."""
        self.producer.begin_transaction()
        try:
            fill()
        except KafkaException as trouble:
            self.hears()
            if not trouble.args[0].txn_requires_abort():
                raise
            self.note("trouble", batch=batch, text=str(trouble))
            commit = False
        if commit:
            self.commits(batch)
        else:
            self.aborts(batch)

    def run(self, producer):
        self.inits(producer)
        number = 0
        while not self.over:
            batch = f"{producer}.{number}"
            spread = [self.somewhere() for _ in range(self.chance.randint(1, 4))]
            places = [self.chance.choice(spread) for _ in range(self.chance.choice([1, 3, 10, 40]))]

            def fill():
                for index, (topic, partition) in enumerate(places):
                    self.sends(batch, index, topic, partition)
                    if self.chance.random() < 0.03:
                        self.flushes(1)     # several batches a partition
                self.hears()
                if self.chance.random() < 0.2:
                    self.flushes(5)
                    self.rests(self.chance.choice([0.05, 0.2, *self.options["rests"]]))
            self.note("tries", batch=batch, producer=producer, id=self.options["id"], kind="transaction", records=places)
            self.transacts(batch, fill, self.chance.random() < 0.75)
            number += 1
            if self.options.get("moves") and self.chance.random() < 0.05:
                return      # another producer of this id
            self.rests(self.chance.choice([0, 0, 0.01, 0.1]))


class Raising(Transactor):
    """Transactions as Kafka 4's client has them (KIP-890): each end raises the epoch. What was not answered is asked again."""

    def inits(self, producer):
        self.acked, self.failed, self.raw = [], [], None
        self.note("init", producer=producer, id=self.options["id"])
        self.insists("InitProducerId", lambda: self.raw.begins(timeout_ms=self.options["timeout_ms"]), 40)
        self.note("ready", producer=producer)

    def answers(self, ask, seconds):
        """Asks until there is an answer, over as many connections as it takes."""
        end = time.monotonic() + seconds
        while True:
            try:
                if self.raw is None:
                    self.raw = RawProducer(self.options["address"], self.options["id"])
                elif self.raw.socket is None:
                    self.raw.connects()
                return ask()
            except OSError as trouble:
                if self.raw is not None:
                    self.raw.socket = None
                if time.monotonic() > end:
                    raise Over(str(trouble)) from trouble
                time.sleep(0.05)

    def insists(self, what, ask, seconds=30):
        code = self.answers(ask, seconds)
        if code != NONE:
            raise Over(f"{what}: error {code}")

    def sends(self, batch, index, topic, partition):
        value = record_bytes(f"{batch}/{index}", self.length())
        key = record_key(f"{batch}/{index}").encode() if topic in self.options["compacted"] else b"k"
        code = self.answers(lambda: self.raw.puts(topic, value, partition, key=key), 30)
        if code != NONE:
            self.failed.append((batch, index))
            raise Over(f"Produce: error {code}")
        self.acked.append((batch, index, self.raw.offset, time.monotonic_ns()))

    def hears(self, _=0.0):
        if self.acked:
            self.note("acked", records=self.acked)
            self.acked = []
        if self.failed:
            self.note("failed", records=self.failed)
            self.failed = []

    def flushes(self, _):
        self.hears()

    def transacts(self, batch, fill, commit):
        try:
            fill()
        except Over as trouble:
            self.hears()
            self.note("trouble", batch=batch, text=str(trouble))
            commit = False
        self.hears()
        if commit:
            self.note("ending", batch=batch, how="commit")
            code = self.answers(lambda: self.raw.ends(True), 30)
            if code == NONE:
                self.note("ended", batch=batch, how="committed")
                return
            self.note("trouble", batch=batch, text=f"EndTxn: error {code}")
            if code != INVALID_STATE:       # else it timed out, and was aborted
                raise Over(f"EndTxn: error {code}")
        self.note("ending", batch=batch, how="abort")
        self.insists("EndTxn", lambda: self.raw.ends(False))
        self.note("ended", batch=batch, how="aborted")


class Worker(Transactor):
    """Consumes from a source, produces a record for each, and commits the offsets with them."""

    def run(self, producer):
        consumer = Consumer({**self.member(), "isolation.level": "read_committed"})
        try:
            self.inits(producer)
            consumer.subscribe([self.options["source"]])
            number = 0
            while not self.over:
                messages = consumer.consume(self.chance.randint(1, 50), 0.2)
                messages = [one for one in messages if not one.error()]
                if messages:
                    self.passes_on(consumer, producer, f"{producer}.{number}", messages)
                    number += 1
        finally:
            consumer.close()

    def passes_on(self, consumer, producer, batch, messages):
        source, first, after = self.options["source"], {}, {}
        for one in messages:
            first.setdefault(one.partition(), one.offset())
            after[one.partition()] = one.offset() + 1
        places = [(*self.somewhere(), one.partition(), one.offset()) for one in messages]
        commit = self.chance.random() < 0.85

        def fill():
            for index, (topic, partition, *_) in enumerate(places):
                self.sends(batch, index, topic, partition)
            self.hears()
            if self.chance.random() < 0.1:
                self.flushes(5)
                self.rests(self.chance.choice([0.05, 0.5]))
            self.producer.send_offsets_to_transaction([TopicPartition(source, p, o) for p, o in after.items()],
                                                      consumer.consumer_group_metadata(), 5)
        self.note("tries", batch=batch, producer=producer, id=self.options["id"], kind="transaction", records=places,
                  group=self.options["group"], source=[(source, p, o) for p, o in after.items()])
        self.transacts(batch, fill, commit)
        if not commit or self.told_otherwise(batch):
            for partition, offset in first.items():
                consumer.seek(TopicPartition(source, partition, offset))

    def told_otherwise(self, batch):
        return self.last_told != (batch, "committed")

    def note(self, what, **event):
        if what == "ended":
            self.last_told = event["batch"], event["how"]
        super().note(what, **event)


class Grouped(Client):
    """A member of a group that commits what it has read; whoever gets a partition asks where it stands."""

    def run(self, _):
        def assigned(consumer, partitions):
            asked = time.monotonic_ns()
            found = consumer.committed(partitions, 10)
            self.note("commits", how="found", group=self.options["group"], asked=asked,
                      offsets=[(p.topic, p.partition, p.offset) for p in found if not p.error])
        consumer = Consumer(self.member())
        try:
            consumer.subscribe([topic for topic, _ in self.options["topics"]], on_assign=assigned)
            while not self.over:
                if [one for one in consumer.consume(200, 0.2) if not one.error()]:
                    done = consumer.commit(asynchronous=False)
                    self.note("commits", how="committed", group=self.options["group"],
                              offsets=[(p.topic, p.partition, p.offset) for p in done if not p.error])
                    self.rests(self.chance.choice([0, 0.05]))
        finally:
            consumer.close()


class Watcher(Client):
    """Reads everything from its beginning by both isolation levels as it comes, and asks for the last stable offset."""

    def run(self, name):
        parts = [TopicPartition(topic, p, 0) for topic, count in self.options["topics"] for p in range(count)]
        readers = {}
        for isolation in ("read_committed", "read_uncommitted"):
            readers[isolation] = Consumer(self.config(group_id="nobody", isolation_level=isolation, enable_auto_commit=False,
                                                      auto_offset_reset="earliest", fetch_wait_max_ms=100))
            readers[isolation].assign(parts)
        while not self.over:
            for isolation, reader in readers.items():
                seen = []
                for one in reader.consume(2000, 0.05):
                    if one.error():
                        self.note("trouble", text=str(one.error()))
                    else:
                        seen.append((one.topic(), one.partition(), one.offset(), record_identity(one.value())))
                if seen:
                    self.note("read", reader=name, isolation=isolation, records=seen)
            for part in self.chance.sample(parts, 3):
                asked = time.monotonic_ns()
                try:
                    _, offset = readers["read_committed"].get_watermark_offsets(part, 2, cached=False)
                except KafkaException:
                    break
                self.note("stable", topic=part.topic, partition=part.partition, asked=asked, offset=offset)
        for reader in readers.values():
            reader.close()


ROLES = {"plain": Plain, "transactor": Transactor, "raising": Raising, "worker": Worker, "grouped": Grouped, "watcher": Watcher}

if __name__ == "__main__":
    made = json.loads(sys.argv[1])
    ROLES[made["role"]](made).runs()

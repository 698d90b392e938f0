"""A run: clients of every kind in processes of their own, trouble for them and for the log, and the judgement at the end."""
import json
import pathlib
import random
import signal
import subprocess
import sys
import time

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

import history
from broker_stories import stories

HERE = pathlib.Path(__file__).parent
SILENT_SECONDS = 12


class Process:
    """A client; it has as many lives as are needed, each under a name of its own. A life that is over for the run may still
    be there, frozen, and come back."""

    def __init__(self, run, options):
        self.run, self.options, self.lives, self.frozen = run, options, 0, []   # frozen: (until when, process)
        self.start()

    def start(self):
        self.lives, self.began = self.lives + 1, time.time()
        options = {**self.options, "name": f"{self.options['name']}x{self.lives}", "address": self.run.log.address,
                   "seed": self.run.seed, "compacted": [self.run.keyed[0]], "folder": str(self.run.folder)}
        self.output = self.run.folder / f"{options['name']}.output"
        with open(self.output, "wb") as output:
            self.process = subprocess.Popen([sys.executable, HERE / "history_client.py", json.dumps(options)],
                                            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)

    def check(self):
        assert self.process.poll() is None, f"{self.options['name']} has ended: {self.output.read_text()}"

    def is_frozen(self):
        return any(one is self.process for _, one in self.frozen)

    def is_silent(self, seconds):
        """It has written nothing for long. librdkafka's send_offsets_to_transaction() forgets its time-out, and may wait for
        ever, when the connection breaks between its two requests; whoever uses it starts such a process again."""
        path = self.run.folder / f"{self.options['name']}x{self.lives}.history"
        written = path.stat().st_mtime if path.exists() else 0
        return not self.is_frozen() and time.time() - max(written, self.began, self.run.log_began) > seconds

    def kill(self):
        self.frozen = [(until, one) for until, one in self.frozen if one is not self.process]
        self.process.kill()
        self.process.wait()

    def freeze(self, until):
        self.process.send_signal(signal.SIGSTOP)
        self.frozen.append((until, self.process))

    def thaw(self, now):
        for until, process in self.frozen:
            if until <= now:
                process.send_signal(signal.SIGCONT)
                if process is not self.process:
                    self.run.ghosts.append(process)
        self.frozen = [(until, process) for until, process in self.frozen if until > now]


class Run:
    """`log` has an address and topic(); with `killable` (kill(), start()) the log is killed, too: `kills` times for every four
    troubles of clients."""

    def __init__(self, log, folder, seed, killable=None, kills=1, rate=300, after_kill=lambda: None):
        self.log, self.folder, self.seed, self.killable, self.after_kill = log, pathlib.Path(folder), seed, killable, after_kill
        self.kills, self.ghosts, self.log_began = kills if killable else 0, [], 0
        self.folder.mkdir(parents=True)
        self.chance = random.Random(seed)
        self.source = (log.topic(3, segment_bytes=400000), 3)
        self.targets = [(log.topic(3, segment_bytes=300000), 3), (log.topic(2), 2)]
        self.plain = (log.topic(3, segment_bytes=500000), 3)
        self.keyed = (log.topic(2, cleanup_policy="compact", segment_bytes=100000, min_cleanable_dirty_ratio=0.01), 2)
        self.cut = (log.topic(2, segment_bytes=100000), 2)      # its records are deleted from its beginning on
        self.topics = [self.source, *self.targets, self.plain, self.keyed, self.cut]
        name = f"{seed}-{self.folder.name}"
        self.groups = {"work": f"work-{name}", "read": f"read-{name}"}
        rests = [1.0, 3.5]      # longer than some time-outs
        transactor = {"role": "transactor", "topics": [*self.targets, self.keyed, self.cut], "rests": rests}
        worker = {"role": "worker", "topics": self.targets, "source": self.source[0], "group": self.groups["work"], "timeout_ms": 10000}
        self.clients = [Process(self, options) for options in (
            {**transactor, "name": "alone", "id": f"alone-{name}", "timeout_ms": 10000, "moves": True},
            {**transactor, "name": "hasty", "id": f"hasty-{name}", "timeout_ms": 2000},
            {**transactor, "name": "one", "id": f"both-{name}", "timeout_ms": 10000, "moves": True},
            {**transactor, "name": "other", "id": f"both-{name}", "timeout_ms": 10000, "moves": True},
            {**transactor, "name": "feeds", "id": f"feeds-{name}", "timeout_ms": 10000, "topics": [self.source]},
            {**transactor, "role": "raising", "name": "climbs", "id": f"climbs-{name}", "timeout_ms": 10000, "moves": True},
            {**transactor, "role": "raising", "name": "stumbles", "id": f"climbs-{name}", "timeout_ms": 3000},
            {**worker, "name": "ann", "id": f"ann-{name}", "instance": "ann"},
            {**worker, "name": "bob", "id": f"bob-{name}", "instance": "bob"},
            {"role": "plain", "name": "steady", "kind": "idempotent", "rate": rate,
             "topics": [self.plain, self.source, self.keyed, self.cut, *self.targets]},
            {"role": "plain", "name": "weak", "kind": "acks1", "topics": [self.plain], "rate": rate},
            {"role": "grouped", "name": "carl", "topics": [self.plain], "group": self.groups["read"],
             "instance": "carl"},
            {"role": "grouped", "name": "dora", "topics": [self.plain], "group": self.groups["read"]},
            {"role": "watcher", "name": "watcher", "topics": self.topics},
        )]
        self.identifiers = sorted({one.options["id"] for one in self.clients if "id" in one.options})

    def trouble(self, kills):
        """Something bad happens, to a client or to the log."""
        chance, now = self.chance, time.monotonic()
        client = chance.choice(self.clients)
        what = chance.choice(["kill", "kill", "freeze", "replace", "cut"] + kills * ["log"])
        if what == "log":
            self.killable.kill()
            self.after_kill()
            self.killable.start()
            self.log_began = time.time()
        elif what == "cut":
            part = TopicPartition(self.cut[0], chance.randrange(self.cut[1]))
            start, _, end = bounds(self.log, [part])[part.topic, part.partition]
            part.offset = chance.randint(start, end)
            self.log.admin.delete_records([part])[part].result(20)
        elif what == "kill" or client.is_frozen():
            client.kill()
            client.start()
        else:
            client.freeze(now + chance.choice([0.5, 2, 5, 9]))
            if what == "replace":   # the old one will come back, and must not do harm
                client.start()
        return what

    def looks_after(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for client in self.clients:
                client.check()
                client.thaw(time.monotonic())
                if client.is_silent(SILENT_SECONDS):
                    client.kill()
                    client.start()
            time.sleep(0.02)

    def goes_on(self, seconds=None, kills=None):
        """For so long, or until the log was killed so many times."""
        end, happened = time.monotonic() + (seconds or 0), 0
        self.looks_after(2)     # Python begins slowly
        while happened < kills if seconds is None else time.monotonic() < end:
            self.looks_after(self.chance.uniform(0.1, 1.2))
            happened += self.trouble(self.kills) == "log"
        return happened

    def ends(self):
        """All clients end, as they like or by force."""
        for client in self.clients:
            client.thaw(float("inf"))
        left = self.ghosts + [client.process for client in self.clients]
        for process in left:
            process.terminate()
        end = time.monotonic() + 8
        for process in left:
            try:
                process.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()      # librdkafka may wait for ever (see Process.is_silent)
                process.wait()

    def close(self):
        """Nothing is left behind, whatever has happened."""
        for process in self.ghosts + [one for client in self.clients for one in (client.process, *(p for _, p in client.frozen))]:
            process.kill()
            process.wait()

    def reading(self, log=None):
        """The log as it is at the end, once producers of the same ids have ended what was open; or another log, that has
        the remains of this one."""
        log = log or self.log
        settle(log, self.identifiers)
        names = dict(self.topics)
        ends = bounds(log, [TopicPartition(topic, p) for topic, count in names.items() for p in range(count)])
        start, stable, end = ({part: told[i] for part, told in ends.items()} for i in range(3))
        committed, uncommitted = read(log, start, stable, "read_committed"), read(log, start, end, "read_uncommitted")
        consumed = {self.groups["work"]: [self.source], self.groups["read"]: [self.plain]}
        offsets = {group: committed_offsets(log, group, topics) for group, topics in consumed.items()}
        return history.Reading(committed, uncommitted, start, stable, end, offsets, {self.keyed[0]})


def settle(log, identifiers):
    producers = [Producer({"bootstrap.servers": log.address, "transactional.id": one, "log_level": 0}) for one in identifiers]
    for producer in producers:
        stories.wait_for(lambda: producer.init_transactions(10) is None, 60)


def bounds(log, parts):
    """{(topic, partition): (where it begins, its last stable offset, its end)}"""
    found = {}
    for isolation in ("read_committed", "read_uncommitted"):
        consumer = Consumer({"bootstrap.servers": log.address, "group.id": "nobody", "isolation.level": isolation, "log_level": 0})
        for part in parts:
            start, end = consumer.get_watermark_offsets(part, 20, cached=False)
            found[part.topic, part.partition] = (*found.get((part.topic, part.partition), (start,)), end)
        consumer.close()
    return found


def read(log, start, ends, isolation):
    """Everything by this isolation level."""
    consumer = Consumer({"bootstrap.servers": log.address, "group.id": "nobody", "isolation.level": isolation,
                         "enable.auto.commit": False, "auto.offset.reset": "error", "enable.partition.eof": True, "log_level": 0})
    parts = [TopicPartition(*part, offset) for part, offset in start.items()]
    found, left = {part: [] for part in ends}, set(ends)
    consumer.assign(parts)

    def all_read():
        for message in consumer.consume(10000, 0.1):
            part = message.topic(), message.partition()
            if message.error():
                assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
                if message.offset() >= ends[part]:
                    left.discard(part)
            else:
                found[part].append((message.offset(), history.record_identity(message.value())))
        return not left
    stories.wait_for(all_read, 120, 0)
    consumer.close()
    return found


def committed_offsets(log, group, topics):
    consumer = Consumer({"bootstrap.servers": log.address, "group.id": group, "log_level": 0})
    asked = [TopicPartition(topic, p) for topic, count in topics for p in range(count)]
    told = stories.wait_for(lambda: consumer.committed(asked, 20), 60)
    consumer.close()
    return {(p.topic, p.partition): p.offset for p in told}

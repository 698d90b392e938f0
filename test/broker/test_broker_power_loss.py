"""The power goes at any moment: nothing that was acknowledged is lost, nothing that was not is half there.

The log works on a file layer that notes what was written and what was synced (forgetful.c). From the notes come folders
as a power loss would have left them at several moments of one run, and on each of them the log starts again.
"""
import os
import pathlib
import random
import subprocess
import threading
import time

import history
import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from broker_stories import PEER, Silent, stories
from history_run import Run
from power_loss import replay

CUTS = int(os.environ.get("POWER_CUTS", "6"))
SECONDS = float(os.environ.get("POWER_SECONDS", "3"))
HERE = pathlib.Path(__file__).parent


class Load:
    """Who writes meanwhile, and what was acknowledged when."""

    def __init__(self, broker):
        self.broker, self.over = broker, threading.Event()
        self.plain = broker.topic(partitions=3, segment_bytes=600000)
        self.first, self.second = broker.topic(segment_bytes=200000), broker.topic()
        self.keyed = broker.topic(cleanup_policy="compact", segment_bytes=50000, min_cleanable_dirty_ratio=0.01)
        self.sent = {0: [], 1: [], 2: []}  # values by partition, in order
        self.acknowledged = []             # (when, partition, offset, value)
        self.latest = {}                   # key -> [(when, value)]: acknowledged
        self.outcome, self.committed = {}, []
        self.group = "power"

    def sends(self):
        producer, number = self.broker.producer(enable_idempotence=True, linger_ms=1, message_timeout_ms=60000,
                                                queue_buffering_max_messages=400), 0

        def told(error, message):
            if error is None:
                self.acknowledged.append((time.monotonic_ns(), message.partition(), message.offset(), message.value()))
        while not self.over.is_set():
            value = f"{number}:{'x' * random.choice([10, 500, 3000])}".encode()
            partition = number % 3
            try:
                producer.produce(self.plain, value, partition=partition, on_delivery=told)
                self.sent[partition].append(value)
                number += 1
            except BufferError:
                pass
            producer.poll(0.001 if number % 20 == 0 else 0)
        producer.flush(20)

    def replaces(self):
        producer, number = self.broker.producer(linger_ms=1), 0

        def told(error, message):
            if error is None:
                self.latest.setdefault(message.key(), []).append((time.monotonic_ns(), int(message.value().split()[0])))
        while not self.over.is_set():
            producer.produce(self.keyed, f"{number} {'y' * 300}".encode(), key=str(number % 50).encode(), on_delivery=told)
            producer.poll(0.002)
            number += 1
        producer.flush(20)

    def transacts(self):
        producer, number = self.broker.producer(transactional_id="power", linger_ms=0), 0
        consumer = self.broker.consumer(group=self.group)
        producer.init_transactions(30)
        while not self.over.is_set():
            producer.begin_transaction()
            for topic in (self.first, self.second, self.first):
                producer.produce(topic, f"{number} {'z' * 200}".encode())
            producer.send_offsets_to_transaction([TopicPartition(self.first, 0, number + 1)],
                                                 consumer.consumer_group_metadata(), 30)
            try:
                if number % 5 == 4:
                    producer.abort_transaction(30)
                    self.outcome[number] = ("aborted", time.monotonic_ns())
                else:
                    producer.commit_transaction(30)
                    self.outcome[number] = ("committed", time.monotonic_ns())
            except KafkaException:
                break
            number += 1
        consumer.close()

    def runs(self, seconds):
        threads = [threading.Thread(target=work) for work in (self.sends, self.replaces, self.transacts)]
        for thread in threads:
            thread.start()
        time.sleep(seconds)
        stories.wait_for(lambda: len(self.acknowledged) > 1000 and len(self.outcome) > 30, 30)
        self.over.set()
        for thread in threads:
            thread.join(60)


def records(broker, topic, partitions=1, **config):
    """Everything in the topic: {partition: [(offset, key, value)]}."""
    consumer = broker.consumer(enable_partition_eof=True, **config)
    found, ended = {p: [] for p in range(partitions)}, set()
    consumer.assign([TopicPartition(topic, p, 0) for p in range(partitions)])

    def all_read():
        for message in consumer.consume(10000, 0.1):
            if message.error() and message.error().code() == KafkaError._PARTITION_EOF:
                ended.add(message.partition())
                continue
            assert not message.error(), message.error()
            found[message.partition()].append((message.offset(), message.key(), message.value()))
        return len(ended) == partitions
    stories.wait_for(all_read, 30, 0)
    consumer.close()
    return found


def check(load, broker, moment):
    """Everything that was promised before the moment."""
    found = records(broker, load.plain, 3)
    by_place = {(p, offset): value for p, part in found.items() for offset, _, value in part}
    for when, partition, offset, value in load.acknowledged:
        if when < moment:
            assert by_place.get((partition, offset)) == value, f"lost: partition {partition}, offset {offset}"
    for partition, part in found.items():
        values = [value for _, _, value in part]
        assert values == load.sent[partition][:len(values)], f"partition {partition} is not what was sent, in order"
    keyed = {}
    for _, key, value in records(broker, load.keyed)[0]:
        keyed[key] = int(value.split()[0])
    for key, replies in load.latest.items():
        promised = [value for when, value in replies if when < moment]
        assert not promised or keyed.get(key, -1) >= max(promised)
    last = broker.producer(transactional_id="power")
    last.init_transactions(30)  # ends whatever was open
    seen = {topic: [int(value.split()[0]) for _, _, value in records(broker, topic, isolation_level="read_committed")[0]]
            for topic in (load.first, load.second)}
    for number in range(max(load.outcome, default=0) + 2):
        counts = (seen[load.first].count(number), seen[load.second].count(number))
        assert counts in ((2, 1), (0, 0)), (number, counts)
        what, when = load.outcome.get(number, ("unknown", 0))
        if what == "committed" and when < moment:
            assert counts == (2, 1), f"transaction {number} was committed"
        if what == "aborted":
            assert counts == (0, 0), f"transaction {number} was aborted"
    consumer = broker.consumer(group=load.group)
    place = consumer.committed([TopicPartition(load.first, 0)], 20)[0].offset
    consumer.close()
    promised = [number + 1 for number, (what, when) in load.outcome.items() if what == "committed" and when < moment]
    assert place >= max(promised, default=-1001)


class Noted:
    """A log whose writes and syncs are noted, and what a power loss would have left of it."""

    def __init__(self, folder):
        if PEER:
            pytest.skip("a story about our own files")
        layer, self.folder = folder / "forgetful.so", folder
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-D_GNU_SOURCE", "-o", layer, HERE / "forgetful.c", "-ldl"], check=True)
        self.root, self.notes = folder / "data" / "broker", folder / "notes"
        self.broker = Silent(folder)
        self.broker.environment = {"LD_PRELOAD": str(layer), "FORGETFUL_ROOT": str(self.root), "FORGETFUL_NOTES": str(self.notes)}
        self.root.mkdir(parents=True)
        self.broker.start()
        self.began = None   # when there is something to lose

    def loses_power(self, cuts, check, until):
        """Calls check(a log on what is left, the moment) for so many moments before `until`."""
        seed = int(os.environ.get("POWER_SEED") or random.randrange(1 << 32))
        chance = random.Random(seed)

        def starts_again(moment, disk):
            folder = self.folder / f"cut-{moment}"
            (folder / "data").mkdir(parents=True)
            (folder / "data" / "format").write_text("1\n")
            disk.top.survives(chance, str(folder / "data" / "broker"))
            after = Silent(folder).start()
            try:
                check(after, moment)
            except BaseException:
                print(f"POWER_SEED={seed}, {(moment - self.began) / 1e6:.3f} ms after the begin; the log says: {after.process.text[-3000:]}")
                raise
            finally:
                after.end()
        moments = sorted(chance.randrange(self.began, until) for _ in range(cuts))
        replay(self.notes.read_bytes(), str(self.root), moments, chance, starts_again)


def test_a_power_loss_takes_nothing_that_was_acknowledged(tmp_path):
    noted = Noted(tmp_path)
    load = Load(noted.broker)
    noted.began = time.monotonic_ns()
    load.runs(SECONDS)
    ended = time.monotonic_ns()
    noted.broker.kill()
    noted.loses_power(CUTS, lambda after, moment: check(load, after, moment), ended)


def test_a_power_loss_under_every_kind_of_client(tmp_path):
    """As if everything had ended at that moment: clients knew what they knew then."""
    noted = Noted(tmp_path)
    run = Run(noted.broker, tmp_path / "run", random.randrange(1 << 32), noted.broker, kills=3)
    try:
        run.looks_after(1)  # until the first clients are there
        noted.began = time.monotonic_ns()
        run.goes_on(SECONDS)
        ended = time.monotonic_ns()
    finally:
        noted.broker.kill()
        run.close()

    def judged(after, moment):
        histories = history.Histories(run.folder, until=moment)
        found = history.faults(histories, run.reading(after), power=True)
        print(history.told(histories))
        assert not found, f"{run.folder}: " + "\n".join(found[:20])
    noted.loses_power(CUTS, judged, ended)

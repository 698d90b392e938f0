"""SIGKILL at random moments: nothing that was acknowledged is lost, nothing is half there."""
import os
import random
import subprocess
import threading
import time
import uuid

import pytest
from confluent_kafka import KafkaException, TopicPartition
from broker_stories import Broker, fills, stories, take


def test_acknowledged_records_survive_kills_under_load(broker):
    name = broker.topic(partitions=3, segment_bytes=2000000)
    acknowledged, sent, stop = [], [0], threading.Event()

    def load():
        producer = broker.producer(enable_idempotence=True, linger_ms=2, message_timeout_ms=60000)
        while not stop.is_set():
            value = sent[0]
            try:
                producer.produce(name, key=str(value).encode(), value=f"{value}:{'x' * (value % 300)}".encode(),
                                 on_delivery=lambda error, m: error or acknowledged.append(
                                     (m.partition(), m.offset(), m.value())))
                sent[0] += 1
            except BufferError:
                pass
            producer.poll(0.0005)
        assert producer.flush(60) == 0

    thread = threading.Thread(target=load)
    thread.start()
    for _ in range(6):
        time.sleep(random.uniform(0.3, 1.0))
        broker.kill()
        broker.start()
    time.sleep(0.5)
    stop.set()
    thread.join()
    assert len(acknowledged) > 1000
    consumer = broker.consumer(name)
    found = {}

    def all_read():
        for message in consumer.consume(10000, 0.2):
            assert not message.error()
            found[(message.partition(), message.offset())] = message.value()
        return len(found) >= sent[0]
    stories.wait_for(all_read, 60, 0)
    for partition, offset, value in acknowledged:
        assert found.get((partition, offset)) == value
    values = sorted(int(value.split(b":")[0]) for value in found.values())
    assert values == list(range(sent[0]))  # idempotence: each once, also over a kill
    consumer.close()


def test_transactions_are_whole_after_kills(broker):
    first, second = broker.topic(), broker.topic()
    stop, outcome = threading.Event(), {}

    def load():
        number = 0
        while not stop.is_set():
            producer = broker.producer(transactional_id="load", transaction_timeout_ms=60000)
            try:
                producer.init_transactions(30)
                while not stop.is_set():
                    producer.begin_transaction()
                    for topic in (first, second, first):
                        producer.produce(topic, str(number).encode())
                    if number % 5 == 4:
                        producer.abort_transaction(30)
                        outcome[number] = "aborted"
                    else:
                        outcome[number] = "unknown"
                        producer.commit_transaction(30)
                        outcome[number] = "committed"
                    number += 1
            except KafkaException:
                number += 1  # whatever became of it, it must be whole

    thread = threading.Thread(target=load)
    thread.start()
    for _ in range(6):
        time.sleep(random.uniform(0.3, 1.0))
        broker.kill()
        broker.start()
    time.sleep(0.5)
    stop.set()
    thread.join(60)
    last = broker.producer(transactional_id="load")
    last.init_transactions(30)  # ends whatever was open
    broker.produces(first, ["end"])
    broker.produces(second, ["end"])
    seen = {}
    for topic in (first, second):
        values, consumer = [], broker.consumer(topic, isolation_level="read_committed")
        while "end" not in values:
            values += take(consumer, 1, 30)
        consumer.close()
        seen[topic] = [int(value) for value in values if value != "end"]
        assert seen[topic] == sorted(seen[topic])
    for number, what in outcome.items():
        counts = (seen[first].count(number), seen[second].count(number))
        assert counts in ((2, 1), (0, 0)), (number, what, counts)
        if what != "unknown":
            assert counts == ((2, 1) if what == "committed" else (0, 0)), (number, what)
    assert sum(what == "committed" for what in outcome.values()) > 20


def test_committed_offsets_and_groups_survive(broker):
    name, group = broker.topic(), f"g-{uuid.uuid4().hex[:8]}"
    consumer = broker.consumer(group=group)
    for offset in range(50):
        consumer.commit(offsets=[TopicPartition(name, 0, offset)], asynchronous=False)
        if offset % 17 == 16:
            broker.kill()
            broker.start()
            stories.wait_for(lambda: consumer.committed([TopicPartition(name, 0)], 5), 20)
        assert consumer.committed([TopicPartition(name, 0)], 20)[0].offset == offset
    consumer.close()


def test_an_orderly_stop_reads_nothing_again(broker):
    name = broker.topic()
    broker.produces(name, range(1000))
    assert broker.process.stop() == 0
    broker.start()
    assert broker.reads(name, 1000) == [str(i) for i in range(1000)]
    assert "cut off" not in broker.process.text


def test_a_folder_is_verified_after_a_kill_and_a_turned_bit_is_found(broker):
    name = broker.topic(segment_bytes=100000)
    broker.produces(name, ["x" * 1000 for _ in range(500)], enable_idempotence=True, batch_size=20000)

    def verify():
        done = subprocess.run([stories.BINARY, "verify", "broker", "--data", broker.data], capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr
    status, text = verify()
    assert status == 1 and "in use" in text  # not while it runs
    broker.kill()
    status, text = verify()
    assert status == 0 and " 0 faults" in text, text
    segment = sorted((broker.data / "broker" / "topics" / f"{name}-0").glob("*.log"))[0]
    with open(segment, "r+b") as file:
        file.seek(5000)
        byte = file.read(1)
        file.seek(5000)
        file.write(bytes([byte[0] ^ 4]))
    status, text = verify()
    assert status == 1 and f"fault: {segment}: byte " in text, text


def test_a_folder_is_verified_though_its_disk_is_full(small_disk):
    broker = Broker(small_disk.parent, small_disk / "data").start()
    broker.produces(broker.topic(), range(100))
    broker.kill()
    fills(small_disk)
    done = subprocess.run([stories.BINARY, "verify", "broker", "--data", broker.data], capture_output=True, text=True)
    assert done.returncode == 0 and " 0 faults" in done.stdout, done.stdout + done.stderr


def test_a_full_disk_refuses_records_and_goes_on_when_there_is_room(small_disk):
    broker = Broker(small_disk.parent, small_disk / "data")
    broker.start()
    name, kept, refused = broker.topic(segment_bytes=4000000), {}, []

    def told(error, message):
        if error:
            refused.append(error)
        else:
            kept[message.offset()] = message.value()
    producer, number = broker.producer(message_timeout_ms=5000, linger_ms=5), 0

    def free_share():
        disk = os.statvfs(small_disk)
        return disk.f_bavail / disk.f_blocks
    while free_share() > 0.049 or not refused:
        for number in range(number, number + 1000):
            producer.produce(name, f"{number:06}".encode() + b"x" * 1000, on_delivery=told)
        producer.flush(0.5)
        assert number < 400000
    producer.flush(30)
    assert len(kept) > 50000
    assert len(broker.reads(name, len(kept), seconds=30)) >= len(kept)
    subprocess.run(["mount", "-o", "remount,size=400m", small_disk], check=True)

    def has_room():
        outcome, again = [], broker.producer(message_timeout_ms=2000)
        again.produce(name, b"room", on_delivery=lambda error, _: outcome.append(error))
        again.flush(5)
        return bool(outcome) and outcome[0] is None
    stories.wait_for(has_room, 40)
    assert broker.process.stop() == 0
    broker.start()
    consumer, found = broker.consumer(name), {}

    def all_read():
        for message in consumer.consume(10000, 0.2):
            found[message.offset()] = message.value()
        return len(found) > len(kept)
    stories.wait_for(all_read, 30, 0)
    consumer.close()
    broker.end()
    assert all(found[offset] == value for offset, value in kept.items())

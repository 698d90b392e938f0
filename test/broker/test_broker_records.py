"""What a producer may not send, since nobody could read it or believe it; by hand, as no client would send it. Told to a
genuine Kafka as well, which has other codes for bytes that are none."""
import gzip
import socket
import struct
import threading
import time

import pytest

from broker_stories import PEER
from raw import Raw
from raw_transactions import crc32c, varint

NONE, TOO_LARGE, UNKNOWN_SERVER_ERROR, INVALID_TIMESTAMP, INVALID_RECORD = 0, 10, -1, 32, 87
HOUR = 3600 * 1000


def record(index, key=b"k", value=b"v", time_delta=0, headers=b"\0"):
    body = b"\0" + varint(time_delta) + varint(index)
    for field in (key, value):
        body += varint(-1) if field is None else varint(len(field)) + field
    body += headers
    return varint(len(body)) + body


def batch(records, count, now, attributes=0, time_max=None, base=0, sequence=-1):
    body = struct.pack(">hiqqqhii", attributes, count - 1, now, time_max or now, -1 if sequence < 0 else 4711,
                       -1 if sequence < 0 else 0, sequence, count) + records
    head = struct.pack(">ibI", 0, 2, crc32c(body))
    return struct.pack(">qi", base, len(head) + len(body)) + head + body


def request(topic, data, acks=-1):
    name = topic.encode()
    return struct.pack(">hhiih", -1, acks, 20000, 1, len(name)) + name + struct.pack(">iii", 1, 0, len(data)) + data


def code_and_records(answer):
    """Of Produce 8: the code, the offset, and what is said of which record."""
    name = struct.unpack(">h", answer[8:10])[0]
    at = 10 + name + 4
    _, code, offset, _, _, count = struct.unpack(">ihqqqi", answer[at:at + 34])
    at, told = at + 34, {}
    for _ in range(count):
        index, length = struct.unpack(">ih", answer[at:at + 6])
        told[index] = answer[at + 6:at + 6 + max(length, 0)].decode()
        at += 6 + max(length, 0)
    return code, offset, told


@pytest.fixture
def port(log):
    return int(log.address.rsplit(":", 1)[1])


def puts(port, topic, data):
    with Raw(port) as raw:
        return code_and_records(raw.ask(0, 8, request(topic, data)))


TWO = record(0) + record(1)


@pytest.mark.parametrize("settings", [{}, {"cleanup_policy": "compact"}])
def test_a_batch_that_nobody_could_read_is_refused(log, port, settings):
    name, now = log.topic(**settings), int(time.time() * 1000)
    wrong = [batch(TWO, 3, now), batch(TWO, 1, now), batch(TWO + b"abc", 2, now), batch(TWO, 2, now, base=100),
             batch(b"\xff" * 40, 2, now), batch(b"\xff" * 40, 2, now, attributes=1),
             batch(gzip.compress(TWO), 3, now, attributes=1), batch(gzip.compress(record(0) + record(5)), 2, now, attributes=1),
             batch(record(0, headers=varint(1) + varint(-1) + varint(1) + b"x"), 1, now),
             batch(record(0, headers=varint(-1)), 1, now)]
    for data in wrong:
        code = puts(port, name, data)[0]
        assert code == INVALID_RECORD or (PEER and code == UNKNOWN_SERVER_ERROR), data
    assert puts(port, name, batch(TWO, 2, now))[:2] == (NONE, 0)
    assert puts(port, name, batch(gzip.compress(TWO), 2, now, attributes=1))[:2] == (NONE, 2)


def test_the_times_that_count_are_those_of_the_records(log, port):
    name, now = log.topic(), int(time.time() * 1000)
    code, _, told = puts(port, name, batch(record(0) + record(1, time_delta=10 * HOUR), 2, now))
    assert code == INVALID_TIMESTAMP and list(told) == [1]
    assert f"Timestamp {now + 10 * HOUR} of message with offset 1 is out of range" in told[1]
    assert puts(port, name, batch(record(0), 1, now, time_max=1000))[0] == NONE
    with Raw(port) as raw:  # ListOffsets 1: the first record from then on
        answer = raw.ask(2, 1, struct.pack(">iih", -1, 1, len(name)) + name.encode() + struct.pack(">iiq", 1, 0, now - 1))
        assert struct.unpack(">hqq", answer[-18:]) == (NONE, now, 0)


def test_a_time_before_1970_is_a_time_and_minus_one_is_none(log, port):
    name = log.topic(message_timestamp_before_max_ms=1000)
    code, _, told = puts(port, name, batch(TWO, 2, -5, time_max=-5))
    assert code == INVALID_TIMESTAMP and list(told) == [0, 1]
    assert puts(port, name, batch(TWO, 2, -1, time_max=-1))[0] == NONE


def test_the_brokers_own_times_are_not_a_producers_to_give(log, port):
    name, now = log.topic(message_timestamp_type="LogAppendTime"), int(time.time() * 1000)
    code, _, told = puts(port, name, batch(TWO, 2, now, attributes=8))
    assert code == INVALID_TIMESTAMP and list(told) == [0, 1]
    assert puts(port, name, batch(TWO, 2, now))[0] == NONE


def test_a_record_without_a_key_is_named(log, port):
    name, now = log.topic(cleanup_policy="compact"), int(time.time() * 1000)
    code, _, told = puts(port, name, batch(record(0) + record(1, key=None), 2, now))
    assert code == INVALID_RECORD and list(told) == [1]
    assert "Compacted topic cannot accept message without key" in told[1]


@pytest.mark.skipif(PEER is not None, reason="Kafka has no bound for what a batch unpacks to")
def test_what_unpacks_to_very_much_is_refused_and_stops_nobody(log, port):
    name, now = log.topic(cleanup_policy="compact"), int(time.time() * 1000)
    bomb = batch(gzip.compress(record(0, value=bytes(300 << 20)), 9), 1, now, attributes=1)
    slowest, ended = 0, threading.Event()

    def asks():
        nonlocal slowest
        with Raw(port) as raw:
            while not ended.is_set():
                began = time.monotonic()
                assert raw.metadata()
                slowest = max(slowest, time.monotonic() - began)
    other = threading.Thread(target=asks)
    other.start()
    try:
        began = time.monotonic()
        code = puts(port, name, bomb)[0]
        took = time.monotonic() - began
    finally:
        ended.set()
        other.join()
    assert code == TOO_LARGE
    assert slowest < took / 2 or slowest < 0.05


def test_what_comes_behind_a_large_batch_does_not_overtake_it(log, port):
    """An idempotent producer has five requests under way; also without acks, and when it leaves at once."""
    name, now = log.topic(), int(time.time() * 1000)
    large = gzip.compress(record(0, value=bytes(20 << 20)), 6)
    with Raw(port) as raw:
        for sequence in range(3):
            data = batch(large, 1, now, 1, sequence=sequence) if sequence == 0 else batch(record(0), 1, now, sequence=sequence)
            raw.frame(struct.pack(">hhih", 0, 8, sequence, -1) + request(name, data))
        for offset in range(3):
            length = struct.unpack(">i", raw.socket.recv(4, socket.MSG_WAITALL))[0]
            assert code_and_records(raw.socket.recv(length, socket.MSG_WAITALL))[:2] == (NONE, offset)
    raw = Raw(port)
    for sequence in range(3, 6):
        data = batch(large, 1, now, 1, sequence=sequence) if sequence == 3 else batch(record(0), 1, now, sequence=sequence)
        raw.frame(struct.pack(">hhih", 0, 8, sequence, -1) + request(name, data, 0))
    raw.socket.close()
    deadline = time.monotonic() + 20
    while True:
        code, offset, _ = puts(port, name, batch(record(0), 1, now, sequence=6))
        if code == NONE or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    assert (code, offset) == (NONE, 6)

"""A transactional producer by hand, in the versions that KIP-890 brought (Produce 12, EndTxn 5), which no client of
`./dev test` speaks: it can be late, deaf and wrong on purpose. Each call gives the broker's error code."""
import socket
import struct
import time

from story import wait_for

NONE, CONCURRENT, LOADING, NEW_TOPIC = 0, 51, (14, 15, 16), (3, 5, 6)


def uvarint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out + bytes([number]))


def varint(number):
    return uvarint((number << 1) ^ (number >> 63))


def text(value):
    return b"\0" if value is None else uvarint(len(value) + 1) + value.encode()


def array(*items):
    return uvarint(len(items) + 1) + b"".join(items)


TAGS = b"\0"


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def batch(producer_id, epoch, sequence, value):
    """One record, in a transaction."""
    record = b"\0" + varint(0) + varint(0) + varint(1) + b"k" + varint(len(value)) + value.encode() + varint(0)
    now = int(time.time() * 1000)
    body = struct.pack(">hiqqqhii", 16, 0, now, now, producer_id, epoch, sequence, 1) + varint(len(record)) + record
    head = struct.pack(">ibI", 0, 2, crc32c(body))
    return struct.pack(">qi", 0, len(head) + len(body)) + head + body


class RawProducer:
    def __init__(self, address, identifier):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=20)
        self.file = self.socket.makefile("rb")
        self.id, self.producer_id, self.epoch, self.sequences = identifier, -1, -1, {}

    def ask(self, key, version, body):
        message = struct.pack(">hhih", key, version, 1, 3) + b"raw" + TAGS + body + TAGS
        self.socket.sendall(struct.pack(">i", len(message)) + message)
        length, = struct.unpack(">i", self.file.read(4))
        return self.file.read(length)[5:]

    def takes(self, producer_id, epoch):
        self.producer_id, self.epoch, self.sequences = producer_id, epoch, {}

    def begins(self, known=(-1, -1), timeout_ms=60000, take=True):
        def answer():
            _, code, *told = struct.unpack(">ihqh", self.ask(22, 4, text(self.id) + struct.pack(">iqh", timeout_ms, *known))[:16])
            return (code, told) if code not in (CONCURRENT, *LOADING) else None
        self.ask(10, 4, b"\1" + array(text(self.id)))      # FindCoordinator: a genuine Kafka makes its topic by that
        code, told = wait_for(answer, 30)
        if take and code == NONE:
            self.takes(*told)
        return code

    def puts(self, topic, value, partition=0, version=12, sequence=None, **other):
        at = self.sequences.get(partition, 0) if sequence is None else sequence
        records = batch(other.get("producer_id", self.producer_id), other.get("epoch", self.epoch), at, value)
        rows = array(struct.pack(">i", partition) + uvarint(len(records) + 1) + records + TAGS)
        body = text(other.get("id", self.id)) + struct.pack(">hi", -1, 10000) + array(text(topic) + rows + TAGS)

        def answer():
            told = self.ask(0, version, body)
            _, code = struct.unpack(">ih", told[len(text(topic)) + 2:][:6])
            return (code,) if code not in (CONCURRENT, *NEW_TOPIC) else None    # the one before has not quite ended
        code, = wait_for(answer, 30)
        if code == NONE and sequence is None:
            self.sequences[partition] = at + 1
        return code

    def ends(self, commit, version=5, take=True, epoch=None):
        def answer():
            told = self.ask(26, version, text(self.id) + struct.pack(
                ">qhb", self.producer_id, self.epoch if epoch is None else epoch, commit))
            _, code = struct.unpack(">ih", told[:6])
            return None if code == CONCURRENT else (code, struct.unpack(">qh", told[6:16]) if version >= 5 else None)
        code, told = wait_for(answer, 30)
        if take and code == NONE and told:
            self.takes(*told)
        return code

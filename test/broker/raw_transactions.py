"""A transactional producer by hand, in the versions that KIP-890 brought (Produce 12, EndTxn 5), which no client of
`./dev test` speaks: it can be late, deaf and wrong on purpose. Each call gives the broker's error code."""
import socket
import struct
import time

NONE, INVALID_STATE, CONCURRENT, LOADING, NEW_TOPIC = 0, 48, 51, (14, 15, 16), (3, 5, 6)


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


def crc_row(byte):
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    return byte


CRC_ROWS = [crc_row(byte) for byte in range(256)]


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ CRC_ROWS[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


def batch(producer_id, epoch, sequence, key, value):
    """One record, in a transaction."""
    record = b"\0" + varint(0) + varint(0) + varint(len(key)) + key + varint(len(value)) + value + varint(0)
    now = int(time.time() * 1000)
    body = struct.pack(">hiqqqhii", 16, 0, now, now, producer_id, epoch, sequence, 1) + varint(len(record)) + record
    head = struct.pack(">ibI", 0, 2, crc32c(body))
    return struct.pack(">qi", 0, len(head) + len(body)) + head + body


def patiently(ask, *busy, seconds=30):
    """What `ask` answers: a code, and perhaps more; again while the code is one of these."""
    deadline = time.monotonic() + seconds
    while True:
        code, *told = ask()
        if code not in busy or time.monotonic() > deadline:
            return code, *told
        time.sleep(0.02)


class RawProducer:
    def __init__(self, address, identifier):
        self.address, self.id, self.offset = address, identifier, -1
        self.takes(-1, -1)
        self.connects()

    def connects(self):
        host, port = self.address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=20)
        self.file = self.socket.makefile("rb")

    def ask(self, key, version, body):
        message = struct.pack(">hhih", key, version, 1, 3) + b"raw" + TAGS + body + TAGS
        self.socket.sendall(struct.pack(">i", len(message)) + message)
        return self.reads(struct.unpack(">i", self.reads(4))[0])[5:]

    def reads(self, length):
        data = self.file.read(length)
        if len(data) < length:
            raise ConnectionError("the broker has gone")
        return data

    def takes(self, producer_id, epoch):
        self.producer_id, self.epoch, self.sequences = producer_id, epoch, {}

    def begins(self, known=(-1, -1), timeout_ms=60000):
        def answer():
            told = self.ask(22, 4, text(self.id) + struct.pack(">iqh", timeout_ms, *known))
            return struct.unpack(">hqh", told[4:16])
        self.ask(10, 4, b"\1" + array(text(self.id)))      # FindCoordinator: a genuine Kafka makes its topic by that
        code, *told = patiently(answer, CONCURRENT, *LOADING)
        if code == NONE:
            self.takes(*told)
        return code

    def puts(self, topic, value, partition=0, version=12, sequence=None, key=b"k", **other):
        """`offset` is the record's then."""
        at = self.sequences.get((topic, partition), 0) if sequence is None else sequence
        records = batch(other.get("producer_id", self.producer_id), other.get("epoch", self.epoch), at, key, value)
        rows = array(struct.pack(">i", partition) + uvarint(len(records) + 1) + records + TAGS)
        body = text(other.get("id", self.id)) + struct.pack(">hi", -1, 10000) + array(text(topic) + rows + TAGS)
        code, offset = patiently(lambda: struct.unpack(">hq", self.ask(0, version, body)[len(text(topic)) + 6:][:10]),
                                 CONCURRENT, *NEW_TOPIC)    # the transaction before has not quite ended
        if code == NONE and sequence is None:
            self.sequences[topic, partition], self.offset = at + 1, offset
        return code

    def ends(self, commit, version=5, take=True, epoch=None):
        body = text(self.id) + struct.pack(">qhb", self.producer_id, self.epoch if epoch is None else epoch, commit)

        def answer():
            told = self.ask(26, version, body)
            return struct.unpack(">hqh", told[4:16]) if version >= 5 else struct.unpack(">h", told[4:6])
        code, *told = patiently(answer, CONCURRENT)
        if take and code == NONE and told:
            self.takes(*told)
        return code

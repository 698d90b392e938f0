"""Members of one group by hand, of the classic and of the consumer protocol: what each says, and the code it hears."""
import struct
import uuid

from raw import Raw


def text(value):
    return struct.pack(">h", -1) if value is None else struct.pack(">h", len(value)) + value.encode()


def data(value):
    return struct.pack(">i", len(value)) + value


def varint(number):
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def short(value):
    """A string of the newer encodings; None: null."""
    return varint(0) if value is None else varint(len(value) + 1) + value.encode()


def rows(values, write):
    return varint(0) if values is None else varint(len(values) + 1) + b"".join(map(write, values))


class In:
    def __init__(self, answer):
        self.answer, self.at = answer, 0

    def take(self, form):
        values = struct.unpack_from(">" + form, self.answer, self.at)
        self.at += struct.calcsize(">" + form)
        return values[0] if len(values) == 1 else values

    def bytes(self, length):
        self.at += length
        return self.answer[self.at - length:self.at]

    def text(self):
        length = self.take("h")
        return None if length < 0 else self.bytes(length).decode()

    def varint(self):
        number = shift = 0
        while True:
            byte = self.take("B")
            number |= (byte & 127) << shift
            if byte < 128:
                return number
            shift += 7

    def short(self):
        length = self.varint()
        return None if length == 0 else self.bytes(length - 1).decode()

    def rows(self, read):
        return [read() for _ in range(self.varint() - 1)]


def subscription(topics, owned=(), version=1, user_data=b""):
    """ConsumerProtocolSubscription; `owned`: (topic, partition)."""
    out = struct.pack(">hi", version, len(topics)) + b"".join(map(text, topics)) + data(user_data)
    if version >= 1:
        names = sorted({topic for topic, _ in owned})
        out += struct.pack(">i", len(names))
        for name in names:
            partitions = sorted(p for topic, p in owned if topic == name)
            out += text(name) + struct.pack(f">i{len(partitions)}i", len(partitions), *partitions)
    if version >= 2:
        out += struct.pack(">i", -1)
    return out + (text(None) if version >= 3 else b"")


def assignment(owned, user_data=b""):
    names = sorted({topic for topic, _ in owned})
    out = struct.pack(">hi", 1, len(names))
    for name in names:
        partitions = sorted(p for topic, p in owned if topic == name)
        out += text(name) + struct.pack(f">i{len(partitions)}i", len(partitions), *partitions)
    return out + data(user_data)


class Classic:
    """A member of the classic protocol; `has` is what it was given last, as (topic, partition)."""

    def __init__(self, port, group, *topics, instance=None, session_ms=30000, rebalance_ms=60000, strategies=("cooperative-sticky",)):
        self.raw, self.group, self.topics, self.instance = Raw(port), group, list(topics), instance
        self.session_ms, self.rebalance_ms, self.strategies = session_ms, rebalance_ms, strategies
        self.id, self.generation, self.has, self.leads, self.protocol, self.others = "", -1, [], False, None, []
        self.type, self.metadata = "consumer", None

    def ask(self, key, version, body):
        read = In(self.raw.ask(key, version, body))
        read.take("i")
        return read

    def send_join(self):
        said = self.metadata if self.metadata is not None else subscription(self.topics, self.has)
        self.raw.frame(struct.pack(">hhih", 11, 5, 7, -1) + text(self.group) + struct.pack(">ii", self.session_ms, self.rebalance_ms)
                       + text(self.id) + text(self.instance) + text(self.type) + struct.pack(">i", len(self.strategies))
                       + b"".join(text(name) + data(said) for name in self.strategies))

    def hear_join(self):
        read = In(self.raw.answer())
        _, _, code, generation = read.take("iihi")
        protocol, leader, member = read.text(), read.text(), read.text()
        if code in (0, 79):
            self.id = member
        if code == 0:
            self.generation, self.protocol, self.leads = generation, protocol, leader == member
            self.others = [(read.text(), read.text(), read.bytes(read.take("i")))[0] for _ in range(read.take("i"))]
        return code

    def join(self):
        """Once more with the id, when that is what the broker wants."""
        self.send_join()
        code = self.hear_join()
        if code == 79:
            self.send_join()
            code = self.hear_join()
        return code

    def sync(self, shares=None, generation=None):
        shares = shares or {}
        read = self.ask(14, 3, text(self.group) + struct.pack(">i", self.generation if generation is None else generation)
                        + text(self.id) + text(self.instance) + struct.pack(">i", len(shares))
                        + b"".join(text(member) + data(share) for member, share in shares.items()))
        _, code = read.take("ih")
        if code == 0:
            self.given = In(read.bytes(read.take("i")))
            self.has = []
            if self.given.answer:
                self.given.take("h")
                for _ in range(self.given.take("i")):
                    name = self.given.text()
                    self.has += [(name, self.given.take("i")) for _ in range(self.given.take("i"))]
                self.has.sort()
        return code

    def beat(self, generation=None):
        return self.ask(12, 3, text(self.group) + struct.pack(">i", self.generation if generation is None else generation)
                        + text(self.id) + text(self.instance)).take("ih")[1]

    def leave(self):
        read = self.ask(13, 3, text(self.group) + struct.pack(">i", 1) + text(self.id) + text(self.instance))
        _, code, _ = read.take("ihi")
        read.text(), read.text()
        return code or read.take("h")

    def commit(self, topic, offset, generation=None, version=7):
        read = self.ask(8, version, text(self.group) + struct.pack(">i", self.generation if generation is None else generation)
                        + text(self.id) + text(self.instance) + struct.pack(">i", 1) + text(topic)
                        + struct.pack(">iiqi", 1, 0, offset, -1) + text(""))
        read.take("ii")
        read.text()
        return read.take("iih")[2]


class Modern:
    """A member of the consumer protocol; `has` is what it was given last, as (topic id, partition)."""

    def __init__(self, port, group, *topics, instance=None, member=None):
        self.raw, self.group, self.topics, self.instance = Raw(port), group, list(topics), instance
        self.id, self.epoch, self.has, self.message = member or str(uuid.uuid4()), 0, [], None

    def ask(self, key, version, body):
        self.raw.frame(struct.pack(">hhih", key, version, 7, -1) + b"\0" + body)
        read = In(self.raw.answer())
        read.take("iB")
        return read

    def places(self, places):
        ids = sorted({topic for topic, _ in places})
        return rows(ids, lambda topic: topic + rows([p for t, p in places if t == topic], lambda p: struct.pack(">i", p)) + b"\0")

    def beat(self, epoch=None, owned=None):
        """Joins with epoch 0, leaves with -1; else says what it owns."""
        epoch = self.epoch if epoch is None else epoch
        joins = epoch == 0
        owned = [] if joins else self.has if owned is None else owned
        read = self.ask(68, 1, short(self.group) + short(self.id) + struct.pack(">i", epoch) + short(self.instance) + short(None)
                        + struct.pack(">i", 60000 if joins else -1) + rows(self.topics if joins else None, short)
                        + short(None) + short(None) + self.places(owned) + b"\0")
        _, code = read.take("ih")
        self.message, _ = read.short(), read.short()
        if code == 0:
            self.epoch, _ = read.take("ii")
            if read.take("b") == 1:
                self.has = []
                for topic, partitions in read.rows(lambda: (read.bytes(16), read.rows(lambda: read.take("i")), read.take("B"))[:2]):
                    self.has += [(topic, partition) for partition in partitions]
        return code

    def described(self):
        """(code, state, epoch, {member: (epoch, kind)}) of ConsumerGroupDescribe; kind 0: classic, 1: consumer."""
        read = self.ask(69, 1, rows([self.group], short) + b"\0\0")
        read.take("i")
        read.varint()
        code, _, _, state = read.take("h"), read.short(), read.short(), read.short()
        epoch, _ = read.take("ii")
        read.short()

        def places():
            read.rows(lambda: (read.bytes(16), read.short(), read.rows(lambda: read.take("i")), read.take("B")))
            read.take("B")

        def member():
            name, _, _, of_epoch = read.short(), read.short(), read.short(), read.take("i")
            read.short(), read.short(), read.rows(read.short), read.short(), places(), places()
            kind, _ = read.take("bB")
            return name, (of_epoch, kind)
        return code, state, epoch, dict(read.rows(member))

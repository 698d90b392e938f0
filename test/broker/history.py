"""Judges what clients did against what the log has at the end. Pure: it asks no server.

Clients write histories (history_client.py): what they tried, before they tried it; what was acknowledged, after. A
transaction is *committed* when its client was told so, *aborted* when its client was told so or never asked for a commit,
and *unknown* when it asked and got no answer that settles it. `faults()` gives a sentence for everything in the histories and
the last reading of the log that Kafka's promises exclude; each begins with its kind:

    lost        an acknowledged or committed record is not there, or not at the offset that was acknowledged
    doubled     a record is there twice
    reordered   records of one producer in one partition stand in another order than they were sent
    aborted     a record of an aborted transaction is read by read_committed
    half        of one transaction some is there and some not; a consumed offset counts as part of it
    invented    a record that nobody sent, or not with these bytes
    changed     a reader who was there meanwhile has read something else than is there now
    passed      the last stable offset went past a transaction that was open
    zombie      a producer wrote or committed after a newer one of its transactional id had begun
    stuck       everything has ended, and the last stable offset is still behind the end
    forgotten   a group's committed offset went back
"""
import collections
import json
import pathlib
import zlib

Reading = collections.namedtuple("Reading", "committed uncommitted start stable end offsets compacted")
# committed, uncommitted: {(topic, partition): [(offset, identity)]}; start, stable, end: {(topic, partition): offset};
# offsets: {group: {(topic, partition): offset}}; compacted: topics that keep the last record of a key

KEYS = 40


def record_bytes(identity, length):
    """A record's value: its identity, and bytes that follow from it."""
    text = f"{identity} {length} "
    return (text + identity * (length // len(identity) + 1))[:len(text) + length].encode()


def record_key(identity):
    """Its key in a topic that compacts."""
    return str(zlib.crc32(identity.encode()) % KEYS)


def record_identity(value):
    """The identity in a value, or what is wrong with it."""
    parts = value.split(b" ", 2)
    if len(parts) == 3 and parts[1].isdigit() and record_bytes(parts[0].decode(errors="replace"), int(parts[1])) == value:
        return parts[0].decode()
    return f"damaged:{value[:60]!r}"


class Batch:
    """What was sent together: a transaction, or a block of records of a producer without them."""

    def __init__(self, tried):
        self.name, self.producer, self.kind = tried["batch"], tried["producer"], tried["kind"]
        self.identifier = tried.get("id")                       # transactional id
        self.records = [tuple(place) for place in tried["records"]]     # (topic, partition, source partition or None, its offset)
        self.group, self.source = tried.get("group"), tried.get("source")
        self.begun, self.acked, self.ending, self.ended = tried["at"], {}, None, None
        self.asked, self.told, self.failed = None, None, set()

    def outcome(self):
        if self.told:
            return self.told
        return "unknown" if self.asked == "commit" else "aborted"

    def identity(self, index):
        return f"{self.name}/{index}"


class Histories:
    """All files of a run; with `until` (monotonic ns) as if every client had ended then."""

    def __init__(self, folder, until=None):
        self.batches, self.readers, self.stable, self.commits, self.producers = {}, {}, [], [], {}
        for path in sorted(pathlib.Path(folder).glob("*.history")):
            for line in path.read_bytes().split(b"\n")[:-1]:    # a line that a kill cut off is not there
                event = json.loads(line)
                if until is None or event["at"] < until:
                    getattr(self, f"note_{event['what']}")(event)

    def note_init(self, event):
        self.producers[event["producer"]] = {"id": event["id"], "init": event["at"], "ready": None}

    def note_ready(self, event):
        self.producers[event["producer"]]["ready"] = event["at"]

    def note_tries(self, event):
        self.batches[event["batch"]] = Batch(event)

    def note_acked(self, event):
        for name, index, offset, at in event["records"]:
            self.batches[name].acked[index] = (offset, at)

    def note_failed(self, event):
        for name, index in event["records"]:
            self.batches[name].failed.add(index)

    def note_ending(self, event):
        batch = self.batches[event["batch"]]
        if batch.ending is None:
            batch.ending = event["at"]
        if event["how"] == "commit":
            batch.asked = "commit"

    def note_ended(self, event):
        batch = self.batches[event["batch"]]
        batch.told, batch.ended = event["how"], event["at"]

    def note_trouble(self, event):
        pass    # for whoever reads the file

    def note_read(self, event):
        reader = self.readers.setdefault((event["reader"], event["isolation"]), collections.defaultdict(list))
        for topic, partition, offset, identity in event["records"]:
            reader[topic, partition].append((offset, identity))

    def note_stable(self, event):
        self.stable.append(event)

    def note_commits(self, event):
        self.commits.append(event)


class Judge:
    def __init__(self, histories, reading, weak=(), power=False):
        self.histories, self.reading, self.weak, self.power = histories, reading, set(weak), power
        self.found = []
        self.batch_of = {batch.identity(i): (batch, i) for batch in histories.batches.values()
                         for i in range(len(batch.records))}
        self.visible = collections.defaultdict(set)     # batch -> indexes that read_committed gives
        self.last = {(part, record_key(identity)): offset for part, records in reading.committed.items()
                     for offset, identity in records if part[0] in reading.compacted}

    def fault(self, kind, text):
        self.found.append(f"{kind}: {text}")

    def is_superseded(self, part, offset, identity):
        return self.last.get((part, record_key(identity)), -1) > offset

    def is_aborted(self, batch):
        """So its client was told, or nobody was and nothing of it is there."""
        return batch.kind == "transaction" and (batch.outcome() == "aborted" or
                                                (batch.outcome() == "unknown" and not self.visible[batch]))

    def may_be_gone(self, batch, index):
        """Compaction takes what was aborted and what has a later record of its key, and what lies before the log's start
        was deleted."""
        part = tuple(batch.records[index][:2])
        if self.reading.start[part] > max(0, batch.acked.get(index, (0,))[0]):
            return True
        if part[0] not in self.reading.compacted:
            return False
        return index not in batch.acked or self.is_aborted(batch) or \
            self.is_superseded(part, batch.acked[index][0], batch.identity(index))

    # ---- each record ----

    def look_at_records(self):
        for isolation, parts in (("read_committed", self.reading.committed), ("read_uncommitted", self.reading.uncommitted)):
            for (topic, partition), records in parts.items():
                seen = set()
                for offset, identity in records:
                    where = f"{identity} in {topic}/{partition} at {offset} by {isolation}"
                    batch, index = self.batch_of.get(identity, (None, None))
                    if batch is None or batch.records[index][:2] != (topic, partition):
                        self.fault("invented", where)
                        continue
                    if identity in seen:
                        self.fault("doubled", where)
                    seen.add(identity)
                    if isolation == "read_committed":
                        self.visible[batch].add(index)
                        if batch.kind == "transaction" and batch.outcome() == "aborted":
                            self.fault("aborted", where)

    def look_at_acknowledged(self):
        """An acknowledged record is in the log, whatever became of its transaction; a part of what is acknowledged before it
        is on the disk may go with the power."""
        there = {part: dict(records) for part, records in self.reading.uncommitted.items()}
        for batch in self.histories.batches.values():
            if self.power and batch.kind in self.weak:
                continue
            for index, (offset, _) in batch.acked.items():
                topic, partition = batch.records[index][:2]
                if there.get((topic, partition), {}).get(offset) != batch.identity(index) and not self.may_be_gone(batch, index):
                    self.fault("lost", f"{batch.identity(index)}, acknowledged in {topic}/{partition} at {offset}")

    def look_at_order(self):
        """Within a partition: a producer's records in the order of its sends, and producers of one transactional id one
        after the other. An idempotent producer's have no holes either."""
        for isolation, parts in (("read_committed", self.reading.committed), ("read_uncommitted", self.reading.uncommitted)):
            for part, records in parts.items():
                last, writers = {}, {}
                for offset, identity in records:
                    batch, index = self.batch_of.get(identity, (None, None))
                    if batch is None:
                        continue
                    place = (int(batch.name.rsplit(".", 1)[1]), index)
                    if last.get(batch.producer, (-1, -1)) > place:
                        self.fault("reordered", f"{identity} in {part[0]}/{part[1]} at {offset} by {isolation}")
                    last[batch.producer] = place
                    if batch.identifier is not None:
                        order = writers.setdefault(batch.identifier, [])
                        if batch.producer in order[:-1]:
                            self.fault("zombie", f"{identity} in {part[0]}/{part[1]} at {offset}: "
                                                 f"{order[-1]} has written there already")
                        if order[-1:] != [batch.producer]:
                            order.append(batch.producer)

    def look_for_holes(self):
        """What an idempotent producer sent to a partition is there up to some record, and nothing behind it."""
        sent, there = collections.defaultdict(list), collections.defaultdict(set)
        for batch in sorted(self.histories.batches.values(), key=lambda one: one.begun):
            for index, (topic, partition, *_) in enumerate(batch.records if batch.kind == "idempotent" else []):
                if topic not in self.reading.compacted and self.reading.start[topic, partition] == 0:
                    sent[batch.producer, topic, partition].append((batch, index))
        for part, records in self.reading.uncommitted.items():
            there[part].update(identity for _, identity in records)
        for (producer, topic, partition), records in sent.items():
            missing = None
            for batch, index in records:
                if index in batch.failed:
                    break
                if batch.identity(index) not in there[topic, partition]:
                    missing = missing or batch.identity(index)
                elif missing:
                    self.fault("lost", f"{missing} in {topic}/{partition}, before {batch.identity(index)}")
                    break

    # ---- each transaction ----

    def look_at_transactions(self):
        for batch in self.histories.batches.values():
            if batch.kind != "transaction":
                continue
            missing = [i for i in range(len(batch.records)) if i not in self.visible[batch] and not self.may_be_gone(batch, i)]
            if missing and batch.outcome() == "committed":
                topic, partition = batch.records[missing[0]][:2]
                self.fault("lost", f"{batch.identity(missing[0])} in {topic}/{partition}, of a committed transaction "
                                   f"({len(missing)} of {len(batch.records)} are missing)")
            if missing and self.visible[batch] and batch.outcome() == "unknown":
                self.fault("half", f"{batch.name}: {len(missing)} of {len(batch.records)} records are missing")

    def look_at_sources(self):
        """Each record of a source has gone into exactly one transaction that is there, if and only if the group's offset says so."""
        made = collections.defaultdict(list)    # (group, source topic, partition, offset) -> records
        sources = collections.defaultdict(set)
        for batch in self.histories.batches.values():
            if batch.group is None:
                continue
            for topic, partition, _ in batch.source:
                sources[batch.group, topic].add(partition)
            for index in self.visible[batch]:
                _, _, partition, offset = batch.records[index]
                made[batch.group, batch.source[0][0], partition, offset].append(batch.identity(index))
        for (group, topic, partition, offset), records in made.items():
            if len(records) > 1:
                self.fault("doubled", f"{topic}/{partition} at {offset} was consumed into {' and '.join(records)}")
            if not self.power and offset not in dict(self.reading.committed[topic, partition]):
                self.fault("lost", f"{topic}/{partition} at {offset}, which was consumed into {records[0]}")
        for (group, topic), partitions in sources.items():
            for partition in partitions:
                place = max(0, self.reading.offsets[group].get((topic, partition), -1))
                for offset, _ in self.reading.committed[topic, partition]:
                    if ((group, topic, partition, offset) in made) != (offset < place):
                        self.fault("half", f"{topic}/{partition} at {offset}: the group {group} is at {place}, and its result is "
                                           f"{'there' if offset >= place else 'not there'}")

    def look_at_zombies(self):
        """A producer whose id was taken over cannot commit any more."""
        by_id = collections.defaultdict(list)
        for name, producer in self.histories.producers.items():
            if producer["ready"] is not None:
                by_id[producer["id"]].append((producer["ready"], producer["init"], name))
        for batch in self.histories.batches.values():
            if batch.kind != "transaction" or batch.outcome() != "committed":
                continue
            mine = self.histories.producers[batch.producer]["ready"]
            for ready, init, name in by_id[batch.identifier]:
                if init > mine and ready < batch.ending:
                    self.fault("zombie", f"{batch.name} was committed after {name} had begun")

    # ---- those who were there meanwhile ----

    def look_at_readers(self):
        for (reader, isolation), parts in self.histories.readers.items():
            final = self.reading.committed if isolation == "read_committed" else self.reading.uncommitted
            for part, everything in parts.items():
                seen = [record for record in everything if record[0] >= self.reading.start[part]]
                if self.power and any(self.batch_of[identity][0].kind in self.weak or isolation == "read_uncommitted"
                                      for _, identity in seen if identity in self.batch_of):
                    continue    # what is written can be read before it is on the disk
                if part[0] in self.reading.compacted and seen:
                    self.look_at_reader_of_keys(reader, isolation, part, seen, final[part])
                    continue
                if seen == final[part][:len(seen)]:
                    continue
                for number, record in enumerate(seen):
                    now = final[part][number] if number < len(final[part]) else None
                    if now != record:
                        self.fault("changed", f"{part[0]}/{part[1]}: {reader} has read {record} by {isolation}; there is {now}")
                        break

    def look_at_reader_of_keys(self, reader, isolation, part, seen, final):
        """What is there now was there for the reader; what is not there any more had to go. Nobody has committed what was
        aborted, so read_committed saw only what a later record of its key has taken away."""
        known, there = set(seen), set(final)
        missed = [record for record in final if record[0] <= seen[-1][0] and record not in known]
        gone = [record for record in seen if record not in there]
        if isolation == "read_committed":
            wrong = [record for record in gone if not self.is_superseded(part, *record)]
        else:
            wrong = [record for record in gone if record[1] not in self.batch_of or not self.may_be_gone(*self.batch_of[record[1]])]
        for record in missed[:1]:
            self.fault("changed", f"{part[0]}/{part[1]}: {reader} has not read {record} by {isolation}")
        for record in wrong[:1]:
            self.fault("changed", f"{part[0]}/{part[1]}: {reader} has read {record} by {isolation}, which is gone")

    def look_at_stable(self):
        """While a transaction is open the last stable offset stays at its first record, or at the log's start behind that. It was open from its first
        acknowledgement until its client asked for its end, if it had the client's end and no other."""
        asked = collections.defaultdict(list)
        for event in self.histories.stable:
            asked[event["topic"], event["partition"]].append(event)
        for batch in self.histories.batches.values():
            if batch.kind != "transaction" or batch.told is None:
                continue
            firsts = {}
            for index, (offset, at) in batch.acked.items():
                part = batch.records[index][:2]
                if part not in firsts or offset < firsts[part][0]:
                    firsts[part] = (offset, at)
            for part, (offset, at) in firsts.items():
                for event in asked[part]:
                    if at < event["asked"] and event["at"] < batch.ending and \
                            event["offset"] > max(offset, self.reading.start[part]):
                        self.fault("passed", f"{part[0]}/{part[1]}: {event['offset']}, while {batch.name} was open from {offset} on")

    def look_at_groups(self):
        """A commit that was acknowledged is not forgotten by whoever asks afterwards."""
        latest = collections.defaultdict(int)
        for event in sorted(self.histories.commits, key=lambda one: one["at"]):
            for topic, partition, offset in event["offsets"]:
                key = event["group"], topic, partition
                if event["how"] == "found":
                    wanted = max((o for at, o in self.acked_commits[key] if at < event["asked"]), default=0)
                    if max(offset, 0) < wanted:
                        self.fault("forgotten", f"{key}: {offset} after {wanted} was committed")
                else:
                    latest[key] = max(latest[key], offset)
        for (group, topic, partition), offset in latest.items():
            if self.reading.offsets[group].get((topic, partition), -1) < offset:
                self.fault("forgotten", f"{(group, topic, partition)}: {self.reading.offsets[group].get((topic, partition))} "
                                        f"after {offset} was committed")

    @property
    def acked_commits(self):
        if not hasattr(self, "_acked"):
            self._acked = collections.defaultdict(list)
            for event in self.histories.commits:
                if event["how"] == "committed":
                    for topic, partition, offset in event["offsets"]:
                        self._acked[event["group"], topic, partition].append((event["at"], offset))
        return self._acked

    def look_at_ends(self):
        for part, end in self.reading.end.items():
            if self.reading.stable[part] != end:
                self.fault("stuck", f"{part[0]}/{part[1]}: stable up to {self.reading.stable[part]} of {end}")


def faults(histories, reading, weak=("acks1",), power=False):
    """A sentence for everything that must not be. `weak`: kinds of batches that are acknowledged before they are on the disk,
    of which a power loss may take some."""
    judge = Judge(histories, reading, weak, power)
    for look in (judge.look_at_records, judge.look_at_acknowledged, judge.look_at_order, judge.look_for_holes,
                 judge.look_at_transactions, judge.look_at_sources, judge.look_at_zombies, judge.look_at_readers,
                 judge.look_at_stable, judge.look_at_groups, judge.look_at_ends):
        look()
    return judge.found


def told(histories):
    """A line about what a run has been through."""
    kinds = collections.Counter(batch.outcome() for batch in histories.batches.values() if batch.kind == "transaction")
    records = sum(len(batch.records) for batch in histories.batches.values())
    return (f"{records} records; transactions: {kinds['committed']} committed, {kinds['aborted']} aborted, "
            f"{kinds['unknown']} unknown, {sum(1 for b in histories.batches.values() if b.group)} of them from a source; "
            f"{len(histories.producers)} transactional producers; {len(histories.stable)} looks at the LSO; "
            f"{sum(len(s) for parts in histories.readers.values() for s in parts.values())} records read meanwhile")

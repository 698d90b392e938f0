"""What a broken log might have done: each function changes a true outcome (histories and last reading) into one that must be
found, and gives the kind of fault to find; None where the outcome has nothing to change in that way. In `MUTATIONS`."""
import collections
import copy

from history import record_key

MUTATIONS = []


def mutation(change):
    MUTATIONS.append(change)
    return change


def changed(change, histories, reading, chance):
    """Copies of the outcome, changed, and the kind of fault to find."""
    histories, reading = copy.deepcopy(histories), copy.deepcopy(reading)
    return histories, reading, change(histories, reading, chance)


def stays(reading, part):
    """Nothing is ever removed there."""
    return part[0] not in reading.compacted and reading.start[part] == 0


def placed(histories, reading, wanted):
    """(batch, index, part, offset) of every record whose batch is wanted, where nothing is ever removed."""
    names = {batch.identity(i): (batch, i) for batch in histories.batches.values() if wanted(batch) for i in range(len(batch.records))}
    return [(*names[identity], part, offset) for part, records in reading.uncommitted.items()
            for offset, identity in records if identity in names and stays(reading, part)]


def is_transaction(outcome):
    return lambda batch: batch.kind == "transaction" and batch.outcome() == outcome


def remove(reading, part, offset):
    for parts in (reading.committed, reading.uncommitted):
        parts[part] = [record for record in parts[part] if record[0] != offset]


def one_of(chance, things):
    return chance.choice(things) if things else None


@mutation
def a_record_of_a_committed_transaction_is_not_there(histories, reading, chance):
    found = one_of(chance, placed(histories, reading, is_transaction("committed")))
    if found:
        remove(reading, *found[2:])
        return "lost"


@mutation
def the_last_record_of_a_key_is_not_there(histories, reading, chance):
    acknowledged = {batch.identity(index) for batch in histories.batches.values() if batch.outcome() == "committed" for index in batch.acked}
    for part in [part for part in reading.committed if part[0] in reading.compacted]:
        last = {record_key(identity): (offset, identity) for offset, identity in reading.committed[part]}
        found = one_of(chance, [offset for offset, identity in last.values() if identity in acknowledged])
        if found is not None:
            remove(reading, part, found)
            return "lost"
    return None


@mutation
def an_acknowledged_record_is_not_there(histories, reading, chance):
    found = one_of(chance, [one for one in placed(histories, reading, lambda batch: batch.kind != "transaction") if one[1] in one[0].acked])
    if found:
        remove(reading, *found[2:])
        return "lost"


@mutation
def a_record_is_there_with_a_hole_before_it(histories, reading, chance):
    found = placed(histories, reading, lambda batch: batch.kind == "idempotent")
    counts = {}
    for batch, index, part, offset in found:
        counts.setdefault((batch.producer, part), []).append((batch, index, part, offset))
    found = one_of(chance, [many for many in counts.values() if len(many) > 1])
    if found:
        batch, index, part, offset = found[-2]
        batch.acked.pop(index, None)
        remove(reading, part, offset)
        return "lost"


@mutation
def a_record_is_there_twice(histories, reading, chance):
    found = one_of(chance, placed(histories, reading, lambda batch: batch.kind == "idempotent" or batch.outcome() == "committed"))
    if found:
        batch, index, part, _ = found
        for parts in (reading.committed, reading.uncommitted):
            parts[part].append((parts[part][-1][0] + 1, batch.identity(index)))
        return "doubled"


@mutation
def a_record_of_an_aborted_transaction_is_read(histories, reading, chance):
    found = one_of(chance, placed(histories, reading, is_transaction("aborted")))
    if found:
        batch, index, part, offset = found
        reading.committed[part] = sorted(reading.committed[part] + [(offset, batch.identity(index))])
        return "aborted"


@mutation
def half_of_an_unknown_transaction_is_there(histories, reading, chance):
    found = placed(histories, reading, is_transaction("committed"))
    counts = collections.Counter(one[0] for one in found)
    found = one_of(chance, [one for one in found if counts[one[0]] > 1])
    if found:
        batch, _, part, offset = found
        batch.told, batch.acked, batch.asked = None, {}, "commit"
        remove(reading, part, offset)
        return "half"


def moved_offset(histories, reading, by):
    for batch in histories.batches.values():
        for topic, partition, _ in batch.source or []:
            place = reading.offsets[batch.group].get((topic, partition), -1)
            offsets = [offset for offset, _ in reading.committed[topic, partition]]
            if by < 0 and any(offset < place for offset in offsets):
                reading.offsets[batch.group][topic, partition] = max(offset for offset in offsets if offset < place)
                return "half"
            if by > 0 and any(offset >= place for offset in offsets):
                reading.offsets[batch.group][topic, partition] = min(offset for offset in offsets if offset >= place) + 1
                return "half"
    return None


@mutation
def a_transaction_is_there_without_its_offsets(histories, reading, _):
    return moved_offset(histories, reading, -1)


@mutation
def offsets_are_there_without_their_transaction(histories, reading, _):
    return moved_offset(histories, reading, +1)


@mutation
def two_records_have_changed_places(histories, reading, chance):
    found = {}
    for batch, index, part, offset in placed(histories, reading, lambda batch: batch.kind == "transaction" and batch.outcome() == "committed"):
        found.setdefault((batch.producer, part), []).append(offset)
    found = one_of(chance, [(part, offsets) for (_, part), offsets in found.items() if len(offsets) > 1])
    if found:
        part, (first, second) = found[0], found[1][:2]
        for parts in (reading.committed, reading.uncommitted):
            there = dict(parts[part])
            there[first], there[second] = there[second], there[first]
            parts[part] = sorted(there.items())
        return "reordered"


@mutation
def a_record_has_other_bytes(histories, reading, chance):
    part = one_of(chance, [part for part, records in reading.committed.items() if records])
    if part:
        offset, _ = reading.committed[part][-1]
        reading.committed[part][-1] = (offset, "damaged:b'what'")
        return "invented"


@mutation
def a_reader_has_seen_what_is_not_there(histories, reading, chance):
    found = one_of(chance, [seen for parts in histories.readers.values() for part, seen in parts.items()
                            if len(seen) > 1 and stays(reading, part)])
    if found:
        del found[len(found) // 2 - 1]
        return "changed"


@mutation
def the_stable_offset_passes_an_open_transaction(histories, reading, chance):
    found = one_of(chance, [one for one in placed(histories, reading, lambda batch: batch.kind == "transaction" and batch.told and batch.acked)
                            if one[1] in one[0].acked])
    if found:
        batch, index, (topic, partition), offset = found
        at = batch.ending - 1
        for number, (place, _) in batch.acked.items():
            batch.acked[number] = (place, at - 10)
        histories.stable.append({"topic": topic, "partition": partition, "asked": at - 5, "at": at, "offset": offset + 1})
        return "passed"


@mutation
def a_producer_writes_after_its_successor(histories, reading, chance):
    by_id = {}
    for batch, index, part, offset in placed(histories, reading, lambda batch: batch.kind == "transaction"):
        by_id.setdefault((batch.identifier, part), {}).setdefault(batch.producer, (batch, index))
    found = one_of(chance, [(part, list(producers.values())[0]) for (_, part), producers in by_id.items() if len(producers) > 1])
    if found:
        part, (batch, index) = found
        reading.uncommitted[part].append((reading.uncommitted[part][-1][0] + 1, batch.identity(index)))
        return "zombie"


@mutation
def a_producer_commits_after_its_successor_has_begun(histories, reading, chance):
    found = one_of(chance, [batch for batch in histories.batches.values() if is_transaction("committed")(batch)])
    if found:
        histories.producers["other"] = {"id": found.identifier, "init": found.ending - 2, "ready": found.ending - 1}
        return "zombie"


@mutation
def a_transaction_never_ends(histories, reading, chance):
    part = one_of(chance, list(reading.end))
    reading.stable[part] -= 1
    return "stuck"


@mutation
def a_groups_offset_goes_back(histories, reading, chance):
    for event in reversed(histories.commits):
        if event["how"] == "committed" and event["offsets"]:
            topic, partition, offset = event["offsets"][0]
            reading.offsets[event["group"]][topic, partition] = offset - 1
            return "forgotten"
    return None

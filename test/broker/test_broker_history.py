"""Clients of every kind, killed, frozen and replaced at random, on a log that is killed, too: what they were told holds.

The clients are processes of their own (history_client.py) and write down what they do; history.py says what must hold. With
PEER the same run is told to a genuine Kafka, which is not killed here (`./dev real transactions` does that). `./dev soak log [N]`:
N kills of the log instead of some seconds.
"""
import os
import random
import shutil
import subprocess

import pytest

import history
from broker_stories import PEER, Silent, fills, stories
from history_mutations import MUTATIONS, changed
from history_run import Run

SEED = int(os.environ.get("HISTORY_SEED") or random.randrange(1 << 32))
SECONDS = float(os.environ.get("HISTORY_SECONDS", "17"))
ROUNDS = int(os.environ.get("SOAK_LOG_ROUNDS", "0"))
A_RUN = 25  # kills of the log in one run


class Past:
    """A small past, written by hand: histories as clients write them, and the log that came of it."""

    def __init__(self, folder):
        self.file, self.now, self.log, self.ended, self.offsets = open(folder / "past.history", "w"), 0, {}, set(), {}

    def note(self, what, **event):
        self.now += 10
        self.file.write(history.json.dumps({"what": what, "at": self.now, **event}) + "\n")
        return self.now

    def begins(self, producer):
        self.note("init", producer=producer, id="t")
        self.note("ready", producer=producer)

    def puts(self, part, identity):
        self.log.setdefault(part, []).append(identity)
        return len(self.log[part]) - 1

    def sends(self, batch, places, kind="transaction", **more):
        self.note("tries", batch=batch, producer=batch.split(".")[0], kind=kind, records=places, id="t", **more)
        offsets = [self.puts(tuple(place[:2]), f"{batch}/{i}") for i, place in enumerate(places)]
        self.note("acked", records=[(batch, i, offset, self.now) for i, offset in enumerate(offsets)])

    def ends(self, batch, places, how, told=True, takes=()):
        self.note("ending", batch=batch, how=how)
        if how == "commit":
            self.ended.add(batch)
        for part in {tuple(place[:2]) for place in places}:
            self.puts(part, None)
        for topic, partition, offset in takes:
            self.offsets.setdefault("g", {})[topic, partition] = offset
        if told:
            self.note("ended", batch=batch, how="committed" if how == "commit" else "aborted")

    def outcome(self, folder):
        every = {part: [(o, i) for o, i in enumerate(records) if i] for part, records in self.log.items()}
        seen = {part: [(o, i) for o, i in records if i.split("/")[0] in self.ended or i[0] == "p"] for part, records in every.items()}
        end = {part: len(records) for part, records in self.log.items()}
        for isolation, parts in (("read_committed", seen), ("read_uncommitted", every)):
            for (topic, partition), records in parts.items():
                self.note("read", reader="r", isolation=isolation, records=[(topic, partition, o, i) for o, i in records])
        self.note("commits", how="committed", group="h", offsets=[("a", 0, 3)])
        self.offsets["h"] = {("a", 0): 3}
        self.file.close()
        return history.Histories(folder), history.Reading(seen, every, dict.fromkeys(end, 0), dict(end), end, self.offsets, {"k"})


@pytest.fixture
def past(tmp_path):
    one = Past(tmp_path)
    both = [("a", 0), ("b", 0), ("a", 0), ("k", 0)]
    one.begins("w1")
    one.sends("p1.0", [("s", 0)] * 4, kind="idempotent")
    one.sends("w1.0", both)
    one.ends("w1.0", both, "commit")
    one.sends("w1.1", both)
    one.ends("w1.1", both, "abort")
    one.sends("w1.2", both)
    one.ends("w1.2", both, "commit", told=False)
    one.begins("w2")
    taken = [("a", 0, 0, 0), ("b", 0, 0, 1)]
    one.sends("w2.0", taken, group="g", source=[("s", 0, 2)])
    one.ends("w2.0", taken, "commit", takes=[("s", 0, 2)])
    return one.outcome(tmp_path)


def test_a_true_history_has_no_faults(past):
    assert history.faults(*past) == []


def test_what_nobody_was_told_of_may_be_compacted_away(past):
    histories, reading = past
    part = ("k", 0)
    histories.batches["w1.2"].acked.clear()     # its client was killed before it heard
    for parts in (reading.committed, reading.uncommitted, histories.readers["r", "read_committed"]):
        parts[part] = [record for record in parts[part] if not record[1].startswith("w1.2")]
    assert history.faults(histories, reading) == []


@pytest.mark.parametrize("change", MUTATIONS, ids=lambda change: change.__name__)
def test_a_false_history_is_found(past, change):
    """The checker's own story: a checker that finds nothing proves nothing."""
    for seed in range(10):
        histories, reading, kind = changed(change, *past, random.Random(seed))
        found = history.faults(histories, reading)
        assert any(fault.startswith(f"{kind}: ") for fault in found), (kind, found)


def millrace(*arguments):
    done = subprocess.run([stories.BINARY, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def verified(broker):
    millrace("verify", "broker", "--data", broker.data)


def verified_and_kept(broker):
    """And the backup beside it is renewed, as the log lies after the kill."""
    verified(broker)
    millrace("backup", "broker", broker.folder / "backup", "--data", broker.data)


def judged_from_backup(run, broker):
    """The backup is renewed while the log runs, and put back: what clients were told holds there, too."""
    folder, data = broker.folder / "backup", broker.folder / f"restored-{run.seed}"
    millrace("backup", "broker", folder, "--data", broker.data)
    millrace("restore", "broker", folder, "--data", data)
    restored = Silent(broker.folder, data)
    verified(restored)
    try:
        judged(run, restored.start())
    finally:
        restored.end()
        shutil.rmtree(data)


def judged(run, log=None):
    reading, histories = run.reading(log), history.Histories(run.folder)
    found = history.faults(histories, reading)
    print(history.told(histories))
    assert not found, f"seed {run.seed}, {run.folder}: {len(found)} faults: " + "\n".join(found[:20])
    assert sum(batch.outcome() == "committed" for batch in histories.batches.values() if batch.kind == "transaction") >= 5
    return histories, reading


def test_what_clients_were_told_holds(log, tmp_path):
    """A run under kills of everything; then its outcome with a lie in it, which is found."""
    print(f"HISTORY_SEED={SEED}")
    broker = None if PEER else Silent(tmp_path).start()
    run = Run(broker or log, tmp_path / "run", SEED, broker, after_kill=lambda: verified_and_kept(broker))
    try:
        run.goes_on(SECONDS)
        run.ends()
        outcome = judged(run)
        if broker:
            judged_from_backup(run, broker)
    finally:
        run.close()
        if broker:
            broker.end()
    for change in MUTATIONS:
        histories, reading, kind = changed(change, *outcome, random.Random(SEED))
        assert kind is None or any(fault.startswith(f"{kind}: ") for fault in history.faults(histories, reading)), change.__name__


@pytest.mark.skipif(not ROUNDS, reason="at length: ./dev soak log")
def test_what_clients_were_told_holds_over_many_kills(tmp_path):
    broker, done = Silent(tmp_path).start(), 0
    try:
        while done < ROUNDS:
            seed = SEED + done
            run = Run(broker, tmp_path / f"run-{done}", seed, broker, kills=4, rate=1500,
                      after_kill=lambda: verified_and_kept(broker))
            print(f"HISTORY_SEED={seed}, after {done} kills: ", end="", flush=True)
            try:
                done += run.goes_on(kills=min(A_RUN, ROUNDS - done))
                run.ends()
                judged(run)
                judged_from_backup(run, broker)
            finally:
                run.close()
    finally:
        broker.end()


@pytest.mark.skipif(not ROUNDS, reason="at length: ./dev soak log")
def test_what_clients_were_told_holds_when_there_is_no_room(small_disk, tmp_path):
    """The disk is full to its last byte now and then, and the log is killed then, too."""
    subprocess.run(["mount", "-o", "remount,size=250m", small_disk], check=True)
    broker, chance = Silent(tmp_path, small_disk / "data").start(), random.Random(SEED)
    run = Run(broker, tmp_path / "run", SEED)
    try:
        for _ in range(12):
            run.looks_after(chance.uniform(1, 4))
            run.trouble(0)
            ballast = fills(small_disk)
            run.looks_after(chance.uniform(0.1, 2.5))
            killed = chance.random() < 0.4
            if killed:
                broker.kill()
                verified(broker)
            ballast.unlink()
            if killed:
                broker.start()
        run.looks_after(3)
        run.ends()
        judged(run)
    finally:
        run.close()
        broker.end()

"""Members of a share group that accept, give back, reject and crash, on a log that is killed: sharing.py says what must hold.

With PEER the same run is told to a genuine Kafka 4.2, which is not killed. SHARING_SECONDS makes it longer, SHARING_SEED lets
members choose the same again.
"""
import copy
import json
import os
import pathlib
import random
import subprocess
import sys
import time
import uuid

import pytest

import sharing
from broker_stories import PEER, Silent, stories
from test_broker_share import sets

SEED = int(os.environ.get("SHARING_SEED") or random.randrange(1 << 32))
SECONDS = float(os.environ.get("SHARING_SECONDS", "12"))
CLIENT = pathlib.Path(__file__).parent / "sharing_client.py"
DELIVERIES, PARTITIONS, LOCK_SECONDS = 5, 3, 15 if PEER else 3
FAST = [part for name, value in {"group.share.min.record.lock.duration.ms": 1000, "group.share.record.lock.duration.ms": 3000,
                                 "group.share.min.session.timeout.ms": 1000, "group.share.session.timeout.ms": 3000,
                                 "group.share.min.heartbeat.interval.ms": 200, "group.share.heartbeat.interval.ms": 500}.items()
        for part in ("--config", f"{name}={value}")]


class Run:
    def __init__(self, log, folder):
        self.log, self.folder, self.chance = log, folder, random.Random(SEED)
        self.group, self.topic = f"s-{uuid.uuid4().hex[:12]}", log.topic(PARTITIONS)
        sets(log, self.group, share_auto_offset_reset="earliest")
        self.sent, self.tried, self.members, self.count = {}, set(), [], 0
        self.producer = log.producer(enable_idempotence=True, reconnect_backoff_max_ms=300)
        for _ in range(3):
            self.joins()

    def joins(self, patient=False):
        self.count += 1
        options = {"name": f"m{self.count}", "address": self.log.address, "seed": SEED, "folder": str(self.folder),
                   "group": self.group, "topic": self.topic, "patient": patient, "lock_seconds": LOCK_SECONDS}
        with open(self.folder / f"m{self.count}.output", "wb") as output:
            self.members.append(subprocess.Popen([sys.executable, CLIENT, json.dumps(options)], stdin=subprocess.DEVNULL,
                                                 stdout=output, stderr=subprocess.STDOUT))

    def sends(self, count):
        def told(trouble, message):
            if trouble is None:
                self.sent[message.partition(), message.offset()] = message.value().decode()
        for _ in range(count):
            value = str(len(self.tried) + 1)
            self.tried.add(value)
            self.producer.produce(self.topic, value.encode(), partition=self.chance.randrange(PARTITIONS), on_delivery=told)
        self.producer.poll(0)

    def trouble(self, killable):
        what = self.chance.choice(["kill", "end", "log"] if killable else ["kill", "end"])
        if what == "log":
            self.log.kill()
            self.log.start()
            return
        member = self.members.pop(self.chance.randrange(len(self.members)))
        if what == "kill":
            member.kill()
        else:
            member.terminate()
            try:
                member.wait(10)
            except subprocess.TimeoutExpired:
                member.kill()
        member.wait()
        self.joins()

    def goes_on(self, killable):
        end, next_trouble = time.monotonic() + SECONDS, time.monotonic() + 2.5
        while time.monotonic() < end:
            self.sends(self.chance.randrange(20))
            for member in self.members:
                assert member.poll() is None, "\n".join(one.read_text() for one in self.folder.glob("*.output"))
            if time.monotonic() > next_trouble:
                self.trouble(killable)
                next_trouble = time.monotonic() + self.chance.uniform(0.3, 2)
            time.sleep(0.03)

    def ends(self):
        """All members are killed; a patient one accepts what is left, until it is given nothing more."""
        assert self.producer.flush(60) == 0
        self.close()
        self.joins(patient=True)

        def settled():
            histories = sharing.Histories(self.folder)
            return not [fault for fault in sharing.faults(histories, self.sent, self.tried, DELIVERIES) if fault.startswith("lost")]
        try:
            stories.wait_for(settled, 150 if PEER else 60, 0.5)
        except AssertionError:
            pass    # the judge says what is missing
        self.close()
        return sharing.Histories(self.folder)

    def close(self):
        for member in self.members:
            member.kill()
            member.wait()
        self.members = []


def test_no_record_is_lost_and_none_that_is_over_comes_again(log, tmp_path):
    print(f"SHARING_SEED={SEED}")
    broker = None if PEER else Silent(tmp_path, arguments=FAST).start()
    folder = tmp_path / "run"
    folder.mkdir()
    run = Run(broker or log, folder)
    try:
        run.goes_on(broker is not None)
        histories = run.ends()
    finally:
        run.close()
        if broker:
            broker.end()
    print(sharing.told(histories, run.sent, DELIVERIES))
    found = sharing.faults(histories, run.sent, run.tried, DELIVERIES)
    assert not found, f"seed {SEED}, {folder}: {len(found)} faults: " + "\n".join(found[:20])
    assert sum(bool(sharing.ended(histories, place)) for place in run.sent) > 100
    for change in sharing.MUTATIONS:
        broken, sent = copy.deepcopy(histories), dict(run.sent)
        kind = change(broken, sent, random.Random(SEED), DELIVERIES)
        assert any(fault.startswith(f"{kind}: ") for fault in sharing.faults(broken, sent, run.tried, DELIVERIES)), change.__name__


def small_past(folder):
    """A past written by hand: one record accepted, one given back and rejected by another member."""
    def writes(name, *events):
        (folder / f"{name}.sharing").write_text("".join(json.dumps(event) + "\n" for event in events))
    writes("ann", {"what": "begins", "at": 0}, {"what": "given", "at": 10, "records": [[0, 0, "1", 1], [0, 1, "2", 1]]},
           {"what": "says", "at": 20, "verdicts": [[0, 0, "accept"], [0, 1, "release"]]},
           {"what": "heard", "at": 30, "confirmed": [[0, [0, 1]]]})
    writes("bob", {"what": "begins", "at": 40}, {"what": "given", "at": 50, "records": [[0, 1, "2", 2]]},
           {"what": "says", "at": 60, "verdicts": [[0, 1, "reject"]]}, {"what": "heard", "at": 70, "confirmed": [[0, [1]]]})
    return sharing.Histories(folder), {(0, 0): "1", (0, 1): "2"}


@pytest.mark.parametrize("change", [None, *sharing.MUTATIONS], ids=lambda change: change.__name__ if change else "true")
def test_the_judge_finds_what_a_broken_log_would_do(tmp_path, change):
    histories, sent = small_past(tmp_path)
    kind = change and change(histories, sent, random.Random(1), DELIVERIES)
    found = sharing.faults(histories, sent, {"1", "2"}, DELIVERIES)
    assert any(fault.startswith(f"{kind}: ") for fault in found) if change else found == []

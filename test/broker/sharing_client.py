"""One member of a share group, in a process of its own: python sharing_client.py '{"name": ..., "group": ..., ...}'.

It writes its history into a file as it goes, as history_client.py does: what it was given, what it is about to say of it, what
was confirmed. It accepts, gives back, rejects, sits on records until their locks have ended, hangs up without a word, and is
killed by whoever runs it. SIGTERM: it goes.
"""
import json
import os
import pathlib
import random
import signal
import sys
import time

from confluent_kafka import AcknowledgeType, KafkaException, ShareConsumer

VERDICTS = {"accept": AcknowledgeType.ACCEPT, "release": AcknowledgeType.RELEASE, "reject": AcknowledgeType.REJECT}


class Member:
    def __init__(self, options):
        self.options, self.chance = options, random.Random(f"{options['seed']} {options['name']}")
        self.over, self.file = False, None
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "over", True))

    def note(self, what, **event):
        line = json.dumps({"what": what, "at": time.monotonic_ns(), **event}, separators=(",", ":")).encode() + b"\n"
        assert os.write(self.file, line) == len(line)

    def begins(self, life):
        name = f"{self.options['name']}x{life}.sharing"
        self.file = os.open(pathlib.Path(self.options["folder"]) / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.note("begins")
        self.consumer = ShareConsumer({"bootstrap.servers": self.options["address"], "group.id": self.options["group"],
                                       "share.acknowledgement.mode": "explicit", "log_level": 0, "reconnect.backoff.max.ms": 300,
                                       "max.poll.records": self.chance.choice([5, 40, 500])})
        self.consumer.subscribe([self.options["topic"]])

    def judges(self, messages):
        """Whether it goes on as the same member."""
        patient = self.options["patient"]
        if not patient and self.chance.random() < 0.02:
            time.sleep(self.options["lock_seconds"] * 1.2)
        if not patient and self.chance.random() < 0.05:
            return False
        said, verdicts = {}, []
        for message in messages:
            verdict = "accept" if patient else self.chance.choices(list(VERDICTS), [70, 25, 5])[0]
            verdicts.append([message.partition(), message.offset(), verdict])
            said.setdefault(message.partition(), []).append(message.offset())
        self.note("says", verdicts=verdicts)
        for message, (_, _, verdict) in zip(messages, verdicts):
            self.consumer.acknowledge(message, VERDICTS[verdict])
        answer = self.consumer.commit_sync(10)
        self.note("heard", confirmed=[[part.partition, said[part.partition]] for part, trouble in answer.items()
                                      if trouble is None and part.partition in said])
        return True

    def lives(self):
        goes_on = True
        while goes_on and not self.over:
            messages = [message for message in self.consumer.poll(0.2) if not message.error()]
            if messages:
                self.note("given", records=[[message.partition(), message.offset(), message.value().decode(),
                                             message.delivery_count()] for message in messages])
                goes_on = self.judges(messages)
        if goes_on:
            self.consumer.close()


def main():
    member, life = Member(json.loads(sys.argv[1])), 0
    while not member.over:
        life += 1
        member.begins(life)
        try:
            member.lives()
        except KafkaException:
            pass    # the next one begins anew
        member.consumer = None
        os.close(member.file)


main()

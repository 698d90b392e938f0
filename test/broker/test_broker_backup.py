"""`millrace backup` and `restore`: one moment of a log that goes on meanwhile, put back and compared with what its
clients had been told before that moment."""
import os
import random
import re
import shutil
import signal
import subprocess
import threading
import time
import uuid

import pytest
from broker_stories import PEER, Broker, fills, stories
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (AclBinding, AclBindingFilter, AclOperation, AclPermissionType, ResourcePatternType,
                                   ResourceType, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion)

pytestmark = pytest.mark.skipif(PEER is not None, reason="stories about our own process")


def millrace(*arguments, status=0, output=subprocess.PIPE):
    done = subprocess.run([stories.BINARY, *map(str, arguments)], stdout=output, stderr=subprocess.PIPE, timeout=120)
    told = (done.stdout or b"").decode(errors="replace") + done.stderr.decode(errors="replace")
    assert done.returncode == status, told
    return told


def backs_up(broker, folder, status=0):
    return millrace("backup", "broker", folder, "--data", broker.data, status=status)


def moved(text):
    """Files, bytes, files copied, bytes copied, files linked."""
    return [int(number) for number in re.match(
        r"(\d+) files, (\d+) bytes: (\d+) files and (\d+) bytes were copied, (\d+) files linked", text).groups()]


def restored(tmp_path, folder, arguments=()):
    """A log that runs on what was put back; what was put back is sound first."""
    data = tmp_path / f"restored-{uuid.uuid4().hex[:8]}"
    assert "are back" in millrace("restore", "broker", folder, "--data", data)
    assert ": 0 faults, 0 notes" in millrace("verify", "broker", "--data", data)
    return Broker(tmp_path, data, arguments).start()


def records(log, topic, isolation="read_uncommitted"):
    """All that the topic has: {(partition, offset): (key, value)}."""
    consumer = Consumer({"bootstrap.servers": log.address, "group.id": f"g-{uuid.uuid4().hex}", "isolation.level": isolation,
                         "enable.auto.commit": False, "enable.partition.eof": True, "auto.offset.reset": "earliest", "fetch.wait.max.ms": 10})
    partitions = log.admin.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, index, OFFSET_BEGINNING) for index in partitions])
    found, ended = {}, set()

    def all_read():
        for message in consumer.consume(10000, 0.1):
            if message.error():
                ended.add(message.partition())
            else:
                found[(message.partition(), message.offset())] = (message.key(), message.value())
        return len(ended) == len(partitions)
    stories.wait_for(all_read, 30, 0)
    consumer.close()
    return found


def beginnings(log, topic):
    """Where each partition begins now."""
    consumer = log.consumer()
    partitions = log.admin.list_topics(topic, timeout=10).topics[topic].partitions
    starts = {index: consumer.get_watermark_offsets(TopicPartition(topic, index), 20)[0] for index in partitions}
    consumer.close()
    return starts


def segments(broker, topic):
    return sorted((broker.data / "broker" / "topics" / f"{topic}-0").glob("*.log"))


def fill_segments(broker, topic, count, size=1000):
    broker.produces(topic, ["x" * size] * count)


class Work:
    """Everything that goes on with a log, until stop(); what its clients were told is noted at once."""

    def __init__(self, broker):
        self.broker, self.ending = broker, threading.Event()
        self.orders = broker.topic(partitions=3, segment_bytes=1 << 20)
        self.left, self.right = broker.topic(), broker.topic(partitions=2)
        self.state = broker.topic(segment_bytes=1 << 20, cleanup_policy="compact", min_cleanable_dirty_ratio=0.01)
        self.short = broker.topic(segment_bytes=1 << 20, retention_bytes=1 << 20)
        self.acknowledged, self.committed, self.values, self.offsets = {}, set(), {}, [0]
        self.group, self.troubles = f"g-{uuid.uuid4().hex[:8]}", []
        self.threads = [threading.Thread(target=self.guarded, args=(run,))
                        for run in (self.produces, self.transacts, self.overwrites, self.makes_and_deletes, self.commits)]
        for thread in self.threads:
            thread.start()

    def guarded(self, run):
        try:
            run()
        except Exception as trouble:  # told to the story at its end
            self.troubles.append(trouble)

    def produces(self):
        producer = self.broker.producer(enable_idempotence=True, linger_ms=1)
        while not self.ending.is_set():
            for topic in (self.orders, self.short):
                producer.produce(topic, uuid.uuid4().bytes * 20, on_delivery=lambda error, m: self.acknowledged.setdefault(
                    (m.topic(), m.partition(), m.offset()), m.value()))
            producer.poll(0)
            time.sleep(0.0002)
        assert producer.flush(30) == 0

    def transacts(self):
        producer = self.broker.producer(transactional_id=f"t-{uuid.uuid4().hex[:8]}")
        producer.init_transactions(20)
        for number in range(1 << 30):
            if self.ending.is_set():
                return
            producer.begin_transaction()
            for topic, partition in ((self.left, 0), (self.right, 0), (self.right, 1)):
                producer.produce(topic, str(number).encode(), partition=partition)
            if number % 3 == 2:
                producer.abort_transaction(20)
            else:
                producer.commit_transaction(20)
                self.committed.add(number)

    def overwrites(self):
        producer = self.broker.producer(linger_ms=5)
        for number in range(1 << 30):
            if self.ending.is_set():
                break
            key = f"k{number % 50}"

            def told(error, message, key=key, number=number):
                assert not error
                self.values[key] = max(number, self.values.get(key, -1))
            producer.produce(self.state, f"{number}:{'v' * 2000}", key, on_delivery=told)
            producer.poll(0)
            time.sleep(0.0005)
        assert producer.flush(30) == 0

    def makes_and_deletes(self):
        while not self.ending.is_set():
            name = self.broker.topic(partitions=2)
            self.broker.produces(name, range(100))
            self.broker.admin.delete_topics([name])[name].result(20)

    def commits(self):
        consumer = self.broker.consumer(group=self.group)
        for offset in range(1, 1 << 30):
            if self.ending.is_set():
                break
            consumer.commit(offsets=[TopicPartition(self.orders, 0, offset)], asynchronous=False)
            self.offsets[0] = offset
        consumer.close()

    def told(self):
        """What clients had been told so far."""
        return dict(self.acknowledged), set(self.committed), dict(self.values), self.offsets[0]

    def stop(self):
        self.ending.set()
        for thread in self.threads:
            thread.join()
        assert not self.troubles, self.troubles


def expect_moment(log, work, told, truth):
    """The log is what `work` had made of it at one moment, which is not before it was `told` this."""
    acknowledged, committed, values, offset = told
    topics = log.admin.list_topics(timeout=10).topics
    for topic in (work.orders, work.short):
        found = records(log, topic)
        for (partition, at), (_, value) in found.items():
            assert truth.get((topic, partition, at), value) == value
        starts = beginnings(log, topic)
        for (name, partition, at), value in acknowledged.items():
            if name == topic and at >= starts[partition]:    # before it, retention was at work
                assert found[(partition, at)][1] == value
        if topic == work.orders:
            assert all(start == 0 for start in starts.values())
    sides = [{int(value) for (partition, _), (_, value) in records(log, topic, "read_committed").items() if partition == index}
             for topic, index in ((work.left, 0), (work.right, 0), (work.right, 1))]
    assert sides[0] == sides[1] == sides[2], "a transaction is in one partition and not in another"
    assert committed <= sides[0] and not any(number % 3 == 2 for number in sides[0])
    latest = {}
    for _, (key, value) in sorted(records(log, work.state).items()):
        latest[key.decode()] = int(value.split(b":")[0])
    assert all(latest[key] >= value for key, value in values.items())
    consumer = log.consumer(group=work.group)
    kept = consumer.committed([TopicPartition(work.orders, 0)], 20)[0].offset
    consumer.close()
    assert kept >= offset
    for name, topic in topics.items():
        assert all(not partition.error for partition in topic.partitions.values()), name
    log.produces(work.orders, ["goes on"])


def test_a_backup_is_one_moment_of_a_log_that_goes_on(broker, tmp_path):
    work, folder, moments = Work(broker), tmp_path / "backup", []
    try:
        first = stories.wait_for(lambda: segments(broker, work.state)[0].stat().st_ino)
        for _ in range(2):
            time.sleep(1)
            moments.append(work.told())
            backs_up(broker, folder)
            assert ": 0 faults" in millrace("verify", "backup", folder)
            shutil.copytree(folder, tmp_path / f"copy-{len(moments)}")
        stories.wait_for(lambda: segments(broker, work.state)[0].stat().st_ino != first, 20)   # it was compacted
        moments.append(work.told())
        backs_up(broker, folder)
    finally:
        work.stop()
    assert len(work.acknowledged) > 1000 and len(work.committed) > 20 and work.offsets[0] > 20
    stories.wait_for(lambda: not (broker.data / "broker" / "snapshot").exists())
    for number, told in enumerate(moments, 1):
        log = restored(tmp_path, folder if number == len(moments) else tmp_path / f"copy-{number}")
        try:
            expect_moment(log, work, told, work.acknowledged)
        finally:
            log.end()
    assert not broker.says.count(" ERROR ") and ": 0 faults" in stop_and_verify(broker)


def stop_and_verify(broker):
    assert broker.process.stop() == 0
    return millrace("verify", "broker", "--data", broker.data)


def test_users_and_access_rules_are_in_it(tmp_path):
    arguments = ("--acls", "--super-users", "User:ANONYMOUS")
    broker = Broker(tmp_path, arguments=arguments).start()
    rule = AclBinding(ResourceType.TOPIC, "orders", ResourcePatternType.LITERAL, "User:ann", "*", AclOperation.READ,
                      AclPermissionType.ALLOW)
    try:
        broker.admin.create_acls([rule])[rule].result(10)
        user = UserScramCredentialUpsertion("ann", ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096), b"secret")
        broker.admin.alter_user_scram_credentials([user])["ann"].result(10)
        backs_up(broker, tmp_path / "backup")
    finally:
        broker.end()
    log = restored(tmp_path, tmp_path / "backup", arguments)
    try:
        every = AclBindingFilter(ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY,
                                 AclPermissionType.ANY)
        assert log.admin.describe_acls(every).result(10) == [rule]
        assert log.admin.describe_user_scram_credentials(["ann"])["ann"].result(10).scram_credential_infos
        assert (log.data / "broker" / "security").stat().st_mode & 0o777 == 0o600
    finally:
        log.end()


def test_producers_that_got_further_than_the_backup_are_locked_out(broker, tmp_path):
    left, right = broker.topic(), broker.topic()
    open_one, idle = (broker.producer(transactional_id=f"t-{uuid.uuid4().hex[:8]}") for _ in range(2))
    for producer in (open_one, idle):
        producer.init_transactions(20)
    idle.begin_transaction()
    idle.produce(left, b"kept")
    idle.commit_transaction(20)
    open_one.begin_transaction()
    open_one.produce(left, b"half")
    assert open_one.flush(20) == 0
    backs_up(broker, tmp_path / "backup")
    open_one.produce(right, b"the other half, which is lost")
    assert open_one.flush(20) == 0
    broker.kill()
    data = tmp_path / "restored"
    millrace("restore", "broker", tmp_path / "backup", "--data", data)
    log = Broker(tmp_path, data)
    log.offset, log.port, log.address = broker.offset, broker.port, broker.address     # where its clients go on
    log.start()
    try:
        with pytest.raises(KafkaException) as refused:
            open_one.commit_transaction(20)
        assert refused.value.args[0].code() == KafkaError._FENCED
        idle.begin_transaction()
        idle.produce(right, b"later")
        with pytest.raises(KafkaException):
            idle.commit_transaction(20)
        assert [value for _, value in records(log, left, "read_committed").values()] == [b"kept"]
        assert not records(log, right, "read_committed")
        again = log.producer(transactional_id="another")
        again.init_transactions(20)
        again.begin_transaction()
        again.produce(right, b"again")
        again.commit_transaction(20)
        assert [value for _, value in records(log, right, "read_committed").values()] == [b"again"]
        stories.wait_for(lambda: not (data / "broker" / "restored").exists())
    finally:
        log.end()


def test_the_next_backup_moves_only_what_changed(broker, tmp_path, small_disk):
    name, still = broker.topic(segment_bytes=1 << 20), broker.topic()
    fill_segments(broker, name, 3000)
    broker.produces(still, range(1000))
    closed = [file.stat().st_size for file in segments(broker, name)[:-1]]
    assert len(closed) >= 2
    near, far = tmp_path / "near", small_disk / "far"     # the log's own disk, and another
    files, size, _, copied, linked = moved(backs_up(broker, near))
    assert linked == len(closed) and copied == size - sum(closed)
    assert moved(backs_up(broker, far))[2:] == [files, size, 0]
    for folder in (near, far):
        assert moved(backs_up(broker, folder))[2:] == [0, 0, 0]
    broker.produces(name, ["one more"])
    for folder in (near, far):
        _, _, changed, copied, _ = moved(backs_up(broker, folder))
        assert changed == 2 and copied < 20000   # the end of one segment, and its checkpoint
    broker.kill()
    broker.start()
    for folder in (near, far):                   # another run: what it is is seen by looking at it
        assert moved(backs_up(broker, folder))[3] < 20000
    broker.admin.delete_topics([name])[name].result(20)
    for folder in (near, far):
        assert moved(backs_up(broker, folder))[1] < 100000
        assert sum(file.stat().st_size for file in (folder / "files").iterdir()) < 100000
        assert ": 0 faults" in millrace("verify", "backup", folder)
    again = broker.topic()
    broker.produces(again, range(100))
    assert broker.process.stop() == 0            # and while it stands
    told = moved(backs_up(broker, far))
    assert 0 < told[3] < 20000
    log = restored(tmp_path, far)
    try:
        assert sorted(int(value) for _, value in records(log, again).values()) == list(range(100))
        assert len(records(log, still)) == 1000
    finally:
        log.end()


def test_a_topic_made_anew_under_its_old_name_is_another(broker, tmp_path):
    folder, name = tmp_path / "backup", f"t-{uuid.uuid4().hex[:8]}"
    for value in ("old", "new", "newest"):
        broker.produces(name, [value] * (10 if value == "old" else 5000))
        backs_up(broker, folder)
        log = restored(tmp_path, folder)
        try:
            assert {found for _, found in records(log, name).values()} == {value.encode()}
        finally:
            log.end()
        broker.admin.delete_topics([name])[name].result(20)
        stories.wait_for(lambda: name not in broker.admin.list_topics(timeout=10).topics)


def test_a_backup_that_is_killed_leaves_the_one_before(broker, tmp_path):
    name, folder, chance = broker.topic(segment_bytes=4 << 20, partitions=3), tmp_path / "backup", random.Random(7)
    fill_segments(broker, name, 5000)
    before = time.monotonic()
    backs_up(broker, folder)
    longest, whole, killed = time.monotonic() - before, len(records(broker, name)), 0
    for _ in range(10):
        fill_segments(broker, name, 3000)
        process = subprocess.Popen([stories.BINARY, "backup", "broker", folder, "--data", broker.data],
                                   stdout=subprocess.DEVNULL)
        try:
            process.wait(chance.uniform(0, longest))
        except subprocess.TimeoutExpired:
            process.kill()
        killed += process.wait() != 0
        assert ": 0 faults" in millrace("verify", "backup", folder)
    stories.wait_for(lambda: not (broker.data / "broker" / "snapshot").exists())
    log = restored(tmp_path, folder)
    try:
        assert len(records(log, name)) >= whole
    finally:
        log.end()
    backs_up(broker, folder)
    names = {line.split()[1] for line in (folder / "manifest").read_text().splitlines() if line.startswith("file ")}
    assert {file.name for file in (folder / "files").iterdir()} == names and killed > 0


def test_a_log_that_is_killed_while_it_is_copied(broker, tmp_path):
    name, folder = broker.topic(segment_bytes=4 << 20), tmp_path / "backup"
    broker.produces(name, ["first"])
    backs_up(broker, folder)
    fill_segments(broker, name, 30000)
    process = subprocess.Popen([stories.BINARY, "backup", "broker", folder, "--data", broker.data], stdout=subprocess.DEVNULL)
    stories.wait_for(lambda: (broker.data / "broker" / "snapshot" / "list").exists() or process.poll() is not None, 20, 0)
    broker.kill()
    assert process.wait(60) in (0, 1)
    assert ": 0 faults" in millrace("verify", "backup", folder)
    broker.start()
    stories.wait_for(lambda: not (broker.data / "broker" / "snapshot").exists())
    assert moved(backs_up(broker, folder))[1] > 30000000
    log = restored(tmp_path, folder)
    try:
        assert len(records(log, name)) == 30001
    finally:
        log.end()


def test_a_log_that_was_killed_is_backed_up_as_it_lies(broker, tmp_path):
    name = broker.topic()
    broker.produces(name, range(1000))
    broker.kill()
    with open(segments(broker, name)[0], "ab") as torn:   # a write that the kill cut short
        torn.write(segments(broker, name)[0].read_bytes()[:40])
    backs_up(broker, tmp_path / "backup")
    data = tmp_path / "restored"
    millrace("restore", "broker", tmp_path / "backup", "--data", data)
    assert ": 0 faults, 1 notes" in millrace("verify", "broker", "--data", data)
    log = Broker(tmp_path, data).start()
    try:
        assert [int(value) for _, (_, value) in sorted(records(log, name).items())] == list(range(1000))
    finally:
        log.end()
    broker.start()                                        # it cuts what was torn, and goes on there
    broker.produces(name, ["x" * 100] * 10)
    backs_up(broker, tmp_path / "backup")
    log = restored(tmp_path, tmp_path / "backup")
    try:
        assert len(records(log, name)) == 1010
    finally:
        log.end()


def test_a_damaged_backup_is_refused_by_the_name_of_its_file(broker, tmp_path):
    name, folder, data = broker.topic(), tmp_path / "backup", tmp_path / "data-2"
    broker.produces(name, range(1000))
    backs_up(broker, folder)
    number = next(line.split()[1] for line in (folder / "manifest").read_text().splitlines()
                  if line.endswith(f"topics/{name}-0/{0:020}.log"))
    file = folder / "files" / number
    whole = file.read_bytes()

    def refused(expected):
        assert expected in millrace("restore", "broker", folder, "--data", data, status=1)
        assert not (data / "broker").exists() and not list(data.glob("*.restore"))
        told = millrace("verify", "backup", folder, status=1)
        assert expected in told and ": 1 faults" in told
    file.write_bytes(whole[:500] + bytes([whole[500] ^ 1]) + whole[501:])
    refused(f"files/{number} (topics/{name}-0/{0:020}.log): expected the checksum")
    file.write_bytes(whole[:-1])
    refused(f"files/{number}: reading: the file ends 1 bytes too early")
    file.unlink()
    refused(f"files/{number} (topics/{name}-0/{0:020}.log): No such file")
    file.write_bytes(whole + b"what a backup that was killed had added")
    millrace("verify", "backup", folder)
    text = (folder / "manifest").read_text()
    (folder / "manifest").write_text(text.replace(name, name[:-1] + "x"))
    for command in (("restore", "broker", folder, "--data", data), ("verify", "backup", folder),
                    ("backup", "broker", folder, "--data", broker.data)):
        assert "manifest: its checksum does not match" in millrace(*command, status=1)
    (folder / "manifest").write_text(text)
    file.unlink()
    backs_up(broker, folder)                 # what is lost is copied again
    restored(tmp_path, folder).end()


def test_a_backup_on_a_full_disk_leaves_the_one_before(broker, tmp_path, small_disk):
    name, folder = broker.topic(segment_bytes=1 << 20), small_disk / "backup"
    fill_segments(broker, name, 5000)
    backs_up(broker, folder)
    ballast = fills(small_disk)
    fill_segments(broker, name, 5000)
    assert "No space left on device" in backs_up(broker, folder, status=1)
    assert ": 0 faults" in millrace("verify", "backup", folder)
    ballast.unlink()
    assert sum(file.stat().st_size for file in (folder / "files").iterdir()) < 6000000   # nothing is left of it
    backs_up(broker, folder)
    log = restored(tmp_path, folder)
    try:
        assert len(records(log, name)) == 10000
    finally:
        log.end()


def test_a_stranger_s_backup_is_read_from_ordinary_files_alone(broker, tmp_path):
    name, folder = broker.topic(), tmp_path / "backup"
    broker.produces(name, ["x"] * 10)
    backs_up(broker, folder)
    file = max((folder / "files").iterdir(), key=lambda path: path.stat().st_size)
    elsewhere = tmp_path / "elsewhere"
    shutil.move(file, elsewhere)
    for put in (lambda: file.symlink_to(elsewhere), lambda: os.mkfifo(file)):   # a FIFO would be waited for, for ever
        put()
        assert f"/files/{file.name}" in millrace("verify", "backup", folder, status=1)
        assert f"/files/{file.name}" in millrace("restore", "broker", folder, "--data", tmp_path / "new", status=1)
        assert not (tmp_path / "new" / "broker").exists()
        file.unlink()
    shutil.move(elsewhere, file)
    restored(tmp_path, folder).end()


def test_a_backup_that_has_stopped_keeps_no_room_that_the_log_needs(tmp_path, small_disk):
    broker = Broker(tmp_path, small_disk / "data").start()
    stopped = None
    try:
        gone, kept = broker.topic(segment_bytes=1 << 20), broker.topic()
        fill_segments(broker, gone, 40000)
        broker.produces(kept, ["one"])

        def free():
            return shutil.disk_usage(small_disk).free
        stopped = subprocess.Popen([stories.BINARY, "backup", "broker", "-", "--data", str(broker.data)],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert len(stopped.stdout.read(1000)) == 1000
        stopped.send_signal(signal.SIGSTOP)
        broker.admin.delete_topics([gone])[gone].result(20)
        stories.wait_for(lambda: not list((broker.data / "broker" / "topics").glob(f"{gone}-0/*.log")), 10, 0.1)
        assert free() < 70 << 20                                # they have a second name
        with open(small_disk / "ballast", "wb") as ballast:
            ballast.write(bytes(free() - (3 << 20)))
        stories.wait_for(lambda: free() > 30 << 20, 30, 0.1)
        stories.wait_for(lambda: "records are taken again" in broker.says, 30, 0.1)
        broker.produces(kept, ["two"])
        stopped.send_signal(signal.SIGCONT)
        told = stopped.communicate(timeout=30)[1].decode()
        assert stopped.returncode == 1 and "the log says: the disk is short of room" in told
        assert "is short of room" in broker.says
        backs_up(broker, tmp_path / "backup")
    finally:
        if stopped is not None and stopped.poll() is None:
            stopped.kill()
        broker.end()


def test_what_is_no_backup_is_never_written_over(broker, tmp_path):
    folder, mine = tmp_path / "backup", tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    assert 'expected a backup or an empty folder, found "thesis.txt"' in backs_up(broker, mine, status=1)
    assert [file.name for file in mine.iterdir()] == ["thesis.txt"]
    assert "lies in the log's own folder" in backs_up(broker, broker.data / "broker" / "deep" / "backup", status=1)
    assert "expected a backup, found none" in millrace("restore", "broker", mine, "--data", tmp_path / "d", status=1)
    assert "no such data folder" in millrace("backup", "broker", folder, "--data", tmp_path / "none", status=1)
    assert not folder.exists() and not (tmp_path / "none").exists()
    backs_up(broker, folder)
    assert "in use by another millrace" in millrace("restore", "broker", folder, "--data", broker.data, status=1)
    assert broker.process.stop() == 0
    assert "expected an empty folder or none" in millrace("restore", "broker", folder, "--data", broker.data, status=1)
    other = Broker(tmp_path, tmp_path / "other").start()
    try:
        assert "is the backup of another log" in backs_up(other, folder, status=1)
    finally:
        other.end()
    assert ": 0 faults" in millrace("verify", "backup", folder)


def test_a_backup_is_a_tar_stream_too(broker, tmp_path):
    name, stream, folder = broker.topic(segment_bytes=1 << 20), tmp_path / "backup.tar", tmp_path / "backup"
    fill_segments(broker, name, 3000)
    with open(stream, "wb") as output:
        assert moved(millrace("backup", "broker", "-", "--data", broker.data, output=output))[1] > 3000000
    folder.mkdir()
    subprocess.run(["tar", "-xf", stream, "-C", folder], check=True)
    log = restored(tmp_path, folder)
    try:
        assert len(records(log, name)) == 3000
    finally:
        log.end()
    assert moved(backs_up(broker, folder))[3] < 100000    # and it is renewed like any other

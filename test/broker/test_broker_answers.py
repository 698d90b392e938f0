"""Small answers that clients of every age read; told to a genuine Kafka as well."""
import shutil
import struct
import uuid

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import NewTopic

from broker_stories import PEER
from raw import Raw
from story import wait_for

UNSUPPORTED_VERSION, NOT_REGISTERED = 35, 102


def text(value):
    return struct.pack(">h", len(value)) + value.encode()


@pytest.fixture
def raw(log):
    host, port = log.address.rsplit(":", 1)
    with Raw(int(port)) as one:
        yield one


def code_of(future):
    try:
        future.result(20)
        return None
    except KafkaException as trouble:
        return trouble.args[0].name()


def test_two_topics_that_metrics_could_not_tell_apart(log):
    tag = uuid.uuid4().hex[:8]

    def makes(name):
        return code_of(log.admin.create_topics([NewTopic(name, 1, 1)])[name])
    assert makes(f"{tag}.one_two") is None
    assert makes(f"{tag}_one.two") == "_INVALID_TOPIC" or makes(f"{tag}_one.two") == "TOPIC_EXCEPTION"
    assert makes(f"{tag}-one-two") is None
    assert code_of(log.admin.delete_topics([f"{tag}.one_two"])[f"{tag}.one_two"]) is None
    wait_for(lambda: makes(f"{tag}_one.two") is None, 20)


def test_an_old_question_about_offsets_is_told_in_its_rows_what_is_wrong(log, raw):
    """OffsetFetch 1 has no error for the whole."""
    topic = log.topic()
    answer = raw.ask(9, 1, text("") + struct.pack(">i", 1) + text(topic) + struct.pack(">ii", 1, 0))
    rows = answer[4:]
    assert struct.unpack(">i", rows[:4])[0] == 1
    offset, = struct.unpack(">q", rows[10 + len(topic) + 4:][:8])
    assert offset == -1


@pytest.mark.parametrize("version, time_ms", [(5, -3), (7, -4), (7, -9), (9, -7)])
def test_a_special_time_is_of_a_version(log, raw, version, time_ms):
    topic = log.topic()
    body = struct.pack(">i", -1) + (b"\0" if version >= 2 else b"")
    if version >= 6:
        compact = bytes([len(topic) + 1]) + topic.encode()
        body = b"\0" + body + b"\2" + compact + b"\2" + struct.pack(">iiq", 0, -1, time_ms) + b"\0\0\0"
    else:
        body += struct.pack(">i", 1) + text(topic) + struct.pack(">iiiq", 1, 0, -1, time_ms)
    answer = raw.ask(2, version, body)
    at = (5 + 4 + 1 + 1 + len(topic) + 1 + 4) if version >= 6 else (4 + 4 + 4 + 2 + len(topic) + 4 + 4)
    assert struct.unpack(">h", answer[at:at + 2])[0] == UNSUPPORTED_VERSION


def test_the_room_of_the_disk_is_told(log, raw, tmp_path):
    if PEER:
        pytest.skip("its disk is not known here")

    def sizes():
        answer = raw.ask(35, 4, b"\0" + b"\1" + b"\0")       # of no topic
        return struct.unpack(">qq", answer[-18:-2])
    wait_for(lambda: sizes()[0] > 0, 20)
    disk = shutil.disk_usage(tmp_path)
    assert sizes()[0] == disk.total and 0 < sizes()[1] <= disk.total


def test_a_broker_that_is_not_there_cannot_be_unregistered(log, raw):
    answer = raw.ask(64, 0, b"\0" + struct.pack(">i", 77) + b"\0")
    assert struct.unpack(">h", answer[9:11])[0] == NOT_REGISTERED

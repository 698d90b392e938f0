"""kcat: what people type first."""
import json
import subprocess
import uuid

import pytest


def kcat(log, *arguments, given="", seconds=30):
    done = subprocess.run(["kcat", "-b", log.address, *arguments], input=given.encode(), capture_output=True,
                          timeout=seconds)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def test_lists_the_broker_and_its_topics(log):
    name = log.topic(partitions=3)
    told = json.loads(kcat(log, "-L", "-J"))
    assert len(told["brokers"]) == 1
    topic = next(t for t in told["topics"] if t["topic"] == name)
    assert [p["partition"] for p in topic["partitions"]] == [0, 1, 2]


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_produces_and_consumes_with_every_compression(log, codec):
    name = log.topic()
    lines = "".join(f"line {i} {'x' * (i % 50)}\n" for i in range(2000))
    kcat(log, "-P", "-t", name, "-z", codec, given=lines)
    assert kcat(log, "-C", "-t", name, "-o", "beginning", "-e", "-q") == lines


def test_keys_headers_and_timestamps_come_back(log):
    name = log.topic()
    kcat(log, "-P", "-t", name, "-K", ":", "-H", "from=story", given="k:v\n")
    assert kcat(log, "-C", "-t", name, "-o", "beginning", "-e", "-q", "-f", "%k %s %h\n") == "k v from=story\n"


def test_a_topic_is_made_on_first_use(log):
    name = f"auto-{uuid.uuid4().hex[:8]}"
    kcat(log, "-P", "-t", name, given="one\n")
    assert kcat(log, "-C", "-t", name, "-o", "beginning", "-e", "-q") == "one\n"


def test_reads_by_offset_and_by_time(log):
    name = log.topic()
    kcat(log, "-P", "-t", name, given="".join(f"{i}\n" for i in range(10)))
    assert kcat(log, "-C", "-t", name, "-o", "7", "-e", "-q").split() == ["7", "8", "9"]
    assert kcat(log, "-C", "-t", name, "-o", "-2", "-e", "-q").split() == ["8", "9"]
    assert kcat(log, "-C", "-t", name, "-o", "s@1000", "-e", "-q").split() == [str(i) for i in range(10)]
    assert kcat(log, "-Q", "-t", f"{name}:0:1000").split()[-1] == "0"


def test_a_consumer_group_goes_on_where_it_stopped(log):
    name, group = log.topic(partitions=2), f"g-{uuid.uuid4().hex[:8]}"
    kcat(log, "-P", "-t", name, given="a\nb\nc\n")
    first = kcat(log, "-G", group, "-X", "auto.offset.reset=earliest", "-e", "-q", name)
    assert sorted(first.split()) == ["a", "b", "c"]
    kcat(log, "-P", "-t", name, given="d\n")
    assert kcat(log, "-G", group, "-X", "auto.offset.reset=earliest", "-e", "-q", name) == "d\n"

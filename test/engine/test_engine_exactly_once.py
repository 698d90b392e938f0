"""The engine is killed at random moments while records pour in; afterwards every record counts exactly once in
every topic and table."""
import collections
import json
import os
import random
import shutil
import threading
import time

import story
import users
from users import STREAMS, Writer, user_id

ROWS = int(os.environ.get("ENGINE_ROWS", "40000"))
ROUNDS = int(os.environ.get("ENGINE_ROUNDS", "1"))


def iso(ms):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms / 1000)) + f".{ms % 1000:03d}Z"


def kill_while(place, engine, write, chance, lose_state):
    """Kills the engine again and again until `write` is over; returns the last one."""
    writer = threading.Thread(target=write)
    writer.start()
    kills = 0
    while writer.is_alive() or kills < 3:
        time.sleep(chance.random() * 0.8)
        engine.kill()
        kills += 1
        if lose_state and chance.random() < 0.2:
            shutil.rmtree(place.folder / "engine", ignore_errors=True)
        engine = engine.again()
    writer.join()
    return engine


def test_topics_windows_and_updates_survive_kills(log):
    for seed in range(ROUNDS):
        one_round(log, seed, f"t{seed}")


def one_round(log, seed, topic):
    chance = random.Random(seed)
    log.topic(topic)
    columns = {"topic": topic, "json": True, "schema": "k STRING, v BIGINT, c STRING, ts TIMESTAMP",
               "watermark": "ts", "delay_us": 10000000}
    streams = [
        {"name": f"{topic}_even", "sql": f"SELECT k, v FROM {topic} WHERE v % 2 = 0", "keys": ["k"]},
        {"name": f"{topic}_windows", "keys": ["c", "m"], "sql": "SELECT window.start AS m, c, count(*) AS n, sum(v) AS s "
         f"FROM {topic} GROUP BY window(ts, '10 seconds'), c"},
        {"name": f"{topic}_updates", "sql": f"SELECT c, count(*) AS n FROM {topic} GROUP BY c", "keys": ["c"],
         "update": True},
    ]
    streams = [{**stream, "json": True, "inputs": [columns]} for stream in streams]

    def write():
        producer = log.producer()
        for i in range(ROWS):
            ts = 1700000000000 + i * 10 - chance.randrange(20000)
            producer.produce(topic, key=f"k{i}", value=json.dumps({"k": f"k{i}", "v": i, "c": f"c{i % 7}", "ts": iso(ts)}))
            if i % 2000 == 0:
                producer.flush()
                time.sleep(0.05)
        producer.flush()

    engine = kill_while(log, log.engine(streams), write, random.Random(seed + 1000), True)
    producer = log.producer()
    producer.produce(topic, key="last", value=json.dumps({"k": "last", "v": 1, "c": "end", "ts": "2030-01-01T00:00:00Z"}))
    producer.flush()
    for stream in streams:
        engine.wait_read(stream["name"], ROWS + 1)

    def windows():
        return [json.loads(message.value()) for message in log.records(f"{topic}_windows")]

    def told():
        """Windows close one checkpoint after the watermark has passed them."""
        return sum(w["n"] for w in windows()) + engine.status(f"{topic}_windows")["late"]
    story.wait_for(lambda: told() >= ROWS, 20)
    assert told() == ROWS
    assert max(collections.Counter((w["m"], w["c"]) for w in windows()).values()) == 1
    even = [message.key() for message in log.records(f"{topic}_even")]
    assert len(even) == len(set(even)) == ROWS // 2
    counts = {}
    for message in log.records(f"{topic}_updates"):
        row = json.loads(message.value())
        assert row["n"] >= counts.get(row["c"], 0)
        counts[row["c"]] = row["n"]
    assert sum(counts.values()) == ROWS + 1
    assert engine.stop() == 0


def test_the_main_jobs_tables_survive_kills(house):
    house.topic("users_raw")
    writer = Writer(house)
    chance = random.Random(7)

    def write():
        for i in range(ROWS):
            writer.write(i, fetched_us=users.START_US + i * 10000 - chance.randrange(15000000))
            if i % 2000 == 0:
                writer.flush()
        writer.flush()

    engine = kill_while(house, house.engine(STREAMS), write, random.Random(8), True)
    writer.write(999999, fetched_us=users.START_US + 10**12)
    writer.flush()
    for stream in STREAMS:
        engine.wait_read(stream["name"], ROWS + 1)
    session = house.session()
    session.default_fetch_size = 5000
    found = {str(row.id): row.email for row in session.execute("SELECT id, email FROM spark_streams.created_users")}
    assert len(found) == ROWS + 1
    assert all(found[user_id(i)] == f"ada{i}@example.com" for i in range(ROWS))
    kept = [message.key() for message in house.records("users_created")]
    assert len(kept) == len(set(kept)) == ROWS + 1

    def told():
        """Windows close one checkpoint after the watermark has passed them."""
        minutes = session.execute("SELECT users FROM spark_streams.users_by_country")
        return sum(row.users for row in minutes) + engine.status("users_by_country")["late"]
    story.wait_for(lambda: told() >= ROWS, 20)
    assert told() == ROWS


def test_updated_windows_in_a_table_survive_kills(house):
    """Which rows are late depends on the batches; the table must agree with those that were committed."""
    house.topic("t")
    chance = random.Random(3)
    columns = {"topic": "t", "json": True, "schema": "c STRING, ts TIMESTAMP", "watermark": "ts", "delay_us": 5000000}
    stream = {"name": "w", "json": True, "update": True, "inputs": [columns], "keys": ["c", "m"],
              "sql": "SELECT c, window.start AS m, count(*) AS n FROM t GROUP BY window(ts, '10 seconds'), c",
              "targets": [{"driver": "cassandra", "place": "k.w"}]}

    def write():
        producer = house.producer()
        for i in range(ROWS):
            ts = 1700000000000 + i * 10 - chance.randrange(20000)
            producer.produce("t", key=f"k{i}", value=json.dumps({"c": f"c{i % 5}", "ts": iso(ts)}))
            if i % 1000 == 0:
                producer.flush()
                time.sleep(0.05)
        producer.flush()

    engine = kill_while(house, house.engine([stream]), write, random.Random(4), True)
    engine.wait_read("w", ROWS)
    session = house.session()

    def told():
        """A table learns of the groups that a watermark closes after the commit."""
        return sum(row.n for row in session.execute("SELECT n FROM k.w")) + engine.status("w")["late"]
    story.wait_for(lambda: told() >= ROWS, 20)
    assert told() == ROWS

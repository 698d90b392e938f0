"""A capture is killed at random moments, in its snapshot and in its stream, while others write; afterwards the
topic tells of each row what happened to it: once, in order, to the end."""
import json
import os
import random
import threading
import time

from confluent_kafka import Producer

from captures import capture, decode, log_and_registry, read_topic, wait_caught_up  # noqa: F401 (fixtures)
from story import wait_for

FIRST_ROWS = int(os.environ.get("CAPTURE_ROWS", "60000"))
KILLS = int(os.environ.get("CAPTURE_KILLS", "6"))


def write(capture, stop, seed):
    """Inserts, updates and deletes, in transactions of one to many rows; n counts the versions of a row."""
    chance, conn = random.Random(seed), capture.connect()
    cursor = conn.cursor()
    while not stop.is_set():
        for _ in range(chance.choice([1, 1, 1, 5, 50])):
            what = chance.random()
            if what < 0.4:
                cursor.execute("INSERT INTO raw.users(key, body) VALUES (%s, '{\"n\": 0}')",
                               (f"w{seed}-{chance.getrandbits(60)}",))
            elif what < 0.9:
                cursor.execute("UPDATE raw.users SET body = jsonb_set(body, '{n}', to_jsonb((body->>'n')::int + 1)) "
                               "WHERE id = (SELECT id FROM raw.users WHERE id >= %s ORDER BY id LIMIT 1 FOR UPDATE "
                               "SKIP LOCKED)", (chance.randrange(1, FIRST_ROWS),))
            else:
                cursor.execute("DELETE FROM raw.users WHERE id = (SELECT id FROM raw.users WHERE id >= %s ORDER BY id "
                               "LIMIT 1 FOR UPDATE SKIP LOCKED)", (chance.randrange(1, FIRST_ROWS),))
        if chance.random() < 0.1:
            conn.rollback()
        else:
            conn.commit()
    conn.commit()
    conn.close()


def check(records, rows):
    """The last record of each key is the row; versions rise one by one; nothing is told twice."""
    seen = {}
    for key, value, headers in records:
        before = seen.get(key)
        if value is None:
            assert before is not None, f"{key} was deleted before it was told"
            assert before != "gone", f"{key} was deleted twice"
            seen[key] = "gone"
            continue
        row = decode(value)
        version = json.loads(row[2])["n"]
        if before is None:
            assert headers["mr.op"] in (b"r", b"c"), f"{key} begins with {headers}"
        else:
            assert before != "gone", f"{key} was told after its end"
            assert version == before[1] + 1, f"{key}: version {version} after {before[1]} ({headers})"
        seen[key] = (row, version)
    told = {key: row[0] for key, row in seen.items() if row != "gone"}
    there = {str(row[0]): row for row in rows}
    assert told.keys() == there.keys(), (f"missing {sorted(there.keys() - told.keys())[:5]}, "
                                         f"too many {sorted(told.keys() - there.keys())[:5]}")
    for key, row in there.items():
        assert told[key][1] == row[1] and json.loads(told[key][2]) == row[2] and told[key][3] == row[3], key


def table_rows(capture):
    with capture.connect() as conn, conn.cursor() as cursor:
        cursor.execute("SELECT id, key, body, (extract(epoch FROM fetched_at) * 1000000)::bigint FROM raw.users")
        return cursor.fetchall()


def test_killed_at_random_moments(capture):
    seed = int(os.environ.get("CAPTURE_SEED", time.time_ns() % 1000000))
    print("seed", seed)
    chance, stop = random.Random(seed), threading.Event()
    wait_for(lambda: capture.status["state"] == "streaming")
    capture.stop()
    # A topic of its own, so that all rows below are there before its snapshot.
    capture.name += "_two"
    with capture.connect() as conn, conn.cursor() as cursor:
        cursor.execute("INSERT INTO raw.users(key, body) SELECT 'f' || i, jsonb_build_object('n', 0, 'pad', repeat('x', "
                       "200)) FROM generate_series(1, %s) i", (FIRST_ROWS,))
        cursor.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
    writers = [threading.Thread(target=write, args=(capture, stop, seed + i)) for i in range(3)]
    for writer in writers:
        writer.start()
    for _ in range(KILLS):
        capture.start()
        time.sleep(chance.uniform(0.05, 1.2))
        capture.kill()
    capture.start()
    time.sleep(1)
    stop.set()
    for writer in writers:
        writer.join()
    wait_caught_up(capture)
    check(read_topic(capture.kafka, capture.name), table_rows(capture))


def test_position_behind_the_open_transaction_of_somebody_else(capture):
    """All captures and streams of a log keep their positions in one topic. One that was killed leaves its
    transaction open there; another that starts meanwhile must still find what it has committed behind it."""
    wait_for(lambda: capture.status["state"] == "streaming")
    other = Producer({"bootstrap.servers": capture.kafka, "transactional.id": f"other.{time.time_ns()}",
                      "transaction.timeout.ms": 60000})
    other.init_transactions()
    other.begin_transaction()
    other.produce("_millrace_positions", key=b"other", value=b"{}")
    other.flush()
    with capture.connect() as conn, conn.cursor() as cursor:
        cursor.execute("INSERT INTO raw.users(key, body) SELECT 'k' || i, '{\"n\": 0}' FROM generate_series(1, 100) i")
    wait_for(lambda: capture.status.get("events") == 100)
    capture.kill()
    with capture.connect() as conn, conn.cursor() as cursor:
        cursor.execute("INSERT INTO raw.users(key, body) SELECT 'l' || i, '{\"n\": 0}' FROM generate_series(1, 100) i")
    capture.start()
    time.sleep(1)
    other.abort_transaction()
    wait_caught_up(capture)
    check(read_topic(capture.kafka, capture.name), table_rows(capture))

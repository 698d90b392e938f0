"""The store is killed while clients write: what was acknowledged is there afterwards."""
import os
import random
import subprocess
import threading
import time
import uuid

import pytest
from cassandra.policies import FallthroughRetryPolicy
from cassandra.protocol import OverloadedErrorMessage

import story
from stores import PEER, Store


def writes_until(session, insert, stop, acknowledged, number):
    i = 0
    while not stop.is_set():
        keys = [(number, i + j) for j in range(64)]
        futures = [session.execute_async(insert, (n, k, f"value {n} {k}")) for n, k in keys]
        i += 64
        for key, future in zip(keys, futures):
            try:
                future.result()
                acknowledged.append(key)
            except Exception:
                return


def test_nothing_acknowledged_is_lost(own_store):
    store = own_store
    session = store.connect()
    session.execute("CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
    session.execute("CREATE TABLE k.t (n int, i int, v text, PRIMARY KEY (n, i))")
    number = 0
    acknowledged = []
    for _ in range(4):
        session = store.connect()
        insert = session.prepare("INSERT INTO k.t (n, i, v) VALUES (?, ?, ?)")
        stop = threading.Event()
        threads = []
        for _ in range(3):
            threads.append(threading.Thread(target=writes_until, args=(session, insert, stop, acknowledged, number)))
            number += 1
        for thread in threads:
            thread.start()
        time.sleep(random.uniform(0.3, 1.0))
        store.kill()
        stop.set()
        for thread in threads:
            thread.join()
        store.clusters.pop().shutdown()
        store.start()
    session = store.connect()
    there = {(r.n, r.i): r.v for r in session.execute("SELECT n, i, v FROM k.t")}
    assert len(acknowledged) > 1000
    missing = [key for key in acknowledged if there.get(key) != f"value {key[0]} {key[1]}"]
    assert missing == []


def test_definitions_survive(own_store):
    store = own_store
    session = store.connect()
    session.execute("CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
    session.execute("CREATE TABLE k.t (id uuid PRIMARY KEY, a text)")
    session.execute("ALTER TABLE k.t ADD b map<text, frozen<list<int>>>")
    session.execute("CREATE TABLE k.gone (id int PRIMARY KEY)")
    session.execute("DROP TABLE k.gone")
    key = uuid.uuid4()
    session.execute("INSERT INTO k.t (id, a, b) VALUES (%s, 'x', {'k': [1]})", [key])
    host_id = session.execute("SELECT host_id FROM system.local").one().host_id
    described = store.cqlsh("DESCRIBE SCHEMA")
    store.kill()
    store.start()
    session = store.connect()
    assert session.execute("SELECT host_id FROM system.local").one().host_id == host_id
    assert store.cqlsh("DESCRIBE SCHEMA") == described
    one = session.execute("SELECT * FROM k.t WHERE id = %s", [key]).one()
    assert one.a == "x" and dict(one.b.items()) == {"k": [1]}


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 120 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=120m", "tmpfs", folder]).returncode:
        pytest.skip("mounting needs root")
    yield folder
    subprocess.run(["umount", "-l", folder], check=False)


def test_a_full_disk_refuses_writes_until_there_is_room(small_disk):
    if PEER:
        pytest.skip("fills its server's disk")
    store = Store(small_disk)
    session = store.connect()
    session.execute("CREATE KEYSPACE k WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
    session.execute("CREATE TABLE k.t (id int PRIMARY KEY, body blob)")
    insert = session.prepare("INSERT INTO k.t (id, body) VALUES (?, ?)")
    insert.retry_policy = FallthroughRetryPolicy()
    body, acknowledged = os.urandom(60000), []
    with pytest.raises(OverloadedErrorMessage, match="No space left on device"):
        for i in range(5000):
            session.execute(insert, (i, body))
            acknowledged.append(i)
    assert session.execute("SELECT id FROM k.t WHERE id = 1").one().id == 1
    subprocess.run(["mount", "-o", "remount,size=600m", small_disk], check=True)

    def written():
        session.execute(insert, (100000, body))
        return True
    story.wait_for(written, 20)
    there = {r.id for r in session.execute("SELECT id FROM k.t")}
    assert [key for key in acknowledged if key not in there] == [] and 100000 in there
    store.end()

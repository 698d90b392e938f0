#!/usr/bin/env python3
"""bench.py [start] [memory] [latency] [drain] [real]: the figures of docs/performance.md, one line each.

Nothing here judges: it measures and prints. Wall-clock figures are of a machine that others may use too;
CPU seconds are the process's own.
"""
import io
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid

import psycopg2
import requests

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "test"))
from story import ROOT, Millrace, Pipeline, free_offset, open_folder, wait_for  # noqa: E402
from measure import Peak, Tree, children, cpu_s, pss_mb, rss_mb, show  # noqa: E402

ROWS = int(os.environ.get("BENCH_ROWS", "1000000"))


def postgres_pids(pipeline):
    return children(int((pipeline.data / "postgres" / "postmaster.pid").read_text().split()[0]))


def ready_seconds(start):
    began = time.monotonic()
    pipeline = start()
    wait_for(lambda: requests.get(pipeline.url("/health"), timeout=1).status_code == 200, 30, 0.005)
    return time.monotonic() - began, pipeline


def bench_start(folder):
    first, pipeline = ready_seconds(lambda: Pipeline(folder, ["pipelines/users.yaml"]))
    wait_for(lambda: pipeline.counter("stream:users_created", "results") >= 50, 30)
    later = []
    for _ in range(5):
        pipeline.stop()
        seconds, pipeline = ready_seconds(pipeline.again)
        later.append(seconds)
    killed = []
    for _ in range(5):
        time.sleep(0.5)
        pipeline.kill()
        seconds, pipeline = ready_seconds(pipeline.again)
        killed.append(seconds)
    pipeline.stop()
    show("start", f"exec to every seam and stage ready: first {first:.2f} s (with initdb); "
                  f"initialised {statistics.median(later):.3f} s (median of 5, max {max(later):.3f}); "
                  f"after SIGKILL {statistics.median(killed):.3f} s (max {max(killed):.3f})")


def bench_memory(folder):
    pipeline = Pipeline(folder, ["pipelines/users.yaml"]).wait_ready()
    wait_for(lambda: pipeline.counter("stream:users_created", "results") >= 50, 30)
    time.sleep(25)
    before = cpu_s(pipeline.process.pid)
    time.sleep(20)
    show("memory", f"the 10 s job after 45 s: millrace {rss_mb(pipeline.process.pid):.0f} MB resident, "
                   f"PostgreSQL {pss_mb(postgres_pids(pipeline)):.0f} MB (proportional); "
                   f"millrace's CPU {(cpu_s(pipeline.process.pid) - before) / 20 * 100:.2f} % of a core")
    pipeline.stop()


def bench_latency(folder, rate=100, count=3000, connections=None, name="latency"):
    pipeline = Pipeline(folder, ["pipelines/users.yaml"], connections=connections).wait_ready(120)
    wait_for(lambda: pipeline.counter("stream:users_created", "results") >= 50, 30)
    users = requests.get(f"http://{pipeline.address('randomuser')}/api/?results=1&seed=bench", timeout=10).json()["results"]
    connection = psycopg2.connect(pipeline.postgres_dsn())
    connection.autocommit = True
    cursor = connection.cursor()
    session, cluster = pipeline.tables()
    session.set_keyspace("spark_streams")
    query = session.prepare("SELECT id FROM created_users WHERE id = ?")
    template = __import__("json").dumps(users[0])
    known = users[0]["login"]["uuid"]
    taken, waiting, lock = [], [], threading.Semaphore(0)

    def look():
        while True:
            lock.acquire()
            began, identity = waiting.pop(0)
            if identity is None:
                return
            while session.execute(query, (identity,)).one() is None:
                pass
            taken.append(time.perf_counter() - began)

    watchers = [threading.Thread(target=look) for _ in range(2)]
    for watcher in watchers:
        watcher.start()
    cpu, began = cpu_s(pipeline.process.pid), time.perf_counter()
    for number in range(count):
        due = began + number / rate
        time.sleep(max(0, due - time.perf_counter()))
        identity = uuid.uuid4()
        start = time.perf_counter()
        cursor.execute("INSERT INTO raw.users (key, body) VALUES (%s, %s)", (str(identity), template.replace(known, str(identity))))
        waiting.append((start, identity))
        lock.release()
    for _ in watchers:
        waiting.append((0, None))
        lock.release()
    for watcher in watchers:
        watcher.join()
    cpu = cpu_s(pipeline.process.pid) - cpu
    taken.sort()
    at = lambda share: taken[min(len(taken) - 1, int(share * len(taken)))] * 1000
    show(name, f"INSERT in PostgreSQL (its commit included) to readable by CQL, {rate} rows/s, {count} rows: "
                    f"p50 {at(.5):.1f} ms, p90 {at(.9):.1f} ms, p99 {at(.99):.1f} ms, max {at(1):.1f} ms; millrace's CPU {cpu:.1f} s")
    cluster.shutdown()
    pipeline.stop()


def preload(folder, connections=None):
    """A million users in PostgreSQL and, by the capture alone, in the topic users_raw, wherever the log is."""
    text = (ROOT / "pipelines" / "users.yaml").read_text()
    head, streams = text.split("streams:\n")
    capture = streams.split("  users_created:")[0]
    only = folder / "capture.yaml"
    only.write_text("pipeline: users\nstreams:\n" + capture)
    full = folder / "full.yaml"
    full.write_text("pipeline: users\nstreams:\n" + streams.split("\ntests:")[0])
    seed = Pipeline(folder, [ROOT / "pipelines" / "users.yaml"])
    seed.wait_ready()
    wait_for(lambda: seed.counter("stream:users_created", "results") >= 50, 30)
    source = f"http://{seed.address('randomuser')}/api/?results=5000"
    json = __import__("json")
    requests.patch(seed.url("/api/v1/dags/users"), json={"is_paused": True}, timeout=10)
    pages = [requests.get(f"{source}&seed=bench&page={page}", timeout=60).json()["results"] for page in range(1, 9)]
    seed.stop()
    for name in ("broker", "store", "engine"):
        shutil.rmtree(seed.data / name, ignore_errors=True)
    loader = Pipeline(folder, [only], seed.offset, seed.data, connections=connections)
    wait_for(lambda: requests.get(loader.url("/status.json"), timeout=2).json()["seams"][0]["ready"], 30)
    time.sleep(1)
    connection = psycopg2.connect(loader.postgres_dsn())
    cursor = connection.cursor()
    bodies = [(json.dumps(user, ensure_ascii=False), user["login"]["uuid"]) for page in pages for user in page]
    done, began, cpu = 0, time.monotonic(), cpu_s(loader.process.pid)
    while done < ROWS:
        lines = io.StringIO()
        for number in range(min(20000, ROWS - done)):
            body, known = bodies[(done + number) % len(bodies)]
            identity = str(uuid.uuid4())
            lines.write(identity + "\t" + body.replace(known, identity).replace("\\", "\\\\") + "\n")
        lines.seek(0)
        cursor.copy_expert("COPY raw.users (key, body) FROM STDIN", lines)
        connection.commit()
        done += min(20000, ROWS - done)
    cursor.execute("SELECT count(*) FROM raw.users")
    total = cursor.fetchone()[0]
    wait_for(lambda: loader.counter("capture:users_raw", "events") >= total, 600, 0.2)
    show("capture", f"{ROWS} rows from COPY in PostgreSQL to the topic: {ROWS / (time.monotonic() - began):,.0f} rows/s "
                    f"(PostgreSQL's own work included), {(cpu_s(loader.process.pid) - cpu) / ROWS * 1e6:.1f} CPU-us a row in millrace")
    loader.stop(60)
    return loader, full, total


def bench_drain(folder, connections=None, others=None, name="drain"):
    """`others`: {name: pid} of the systems elsewhere, whose CPU and memory are told too."""
    loader, full, total = preload(folder, connections)
    began = time.monotonic()
    pipeline = Pipeline(folder, [full], loader.offset, loader.data, connections=connections)
    peak = Peak(pipeline.process.pid)
    peak.start()
    peaks = {other: Peak(pid) for other, pid in (others or {}).items()}
    for one in peaks.values():
        one.start()
    before = {other: cpu_s(pid) for other, pid in (others or {}).items()}
    wait_for(lambda: pipeline.counter("stream:users_created", "in") > 0, 60, 0.01)
    first, start_cpu = time.monotonic(), cpu_s(pipeline.process.pid)
    wait_for(lambda: pipeline.counter("stream:users_created", "results") >= total, 600, 0.05)
    created, created_cpu = time.monotonic() - first, cpu_s(pipeline.process.pid) - start_cpu
    wait_for(lambda: pipeline.counter("stream:users_by_country", "lag") == 0, 600, 0.05)
    both = time.monotonic() - first
    peak.over.set()
    show(name, f"{total} records of users_raw to topic and table: {total / created:,.0f} rows/s, "
                  f"{created_cpu / total * 1e6:.1f} CPU-us a row in the one process (both streams; {both:.1f} s until both were done); "
                  f"started {first - began:.2f} s before; resident at most {peak.peak:.0f} MB, PostgreSQL {pss_mb(postgres_pids(pipeline)):.0f} MB")
    for other, pid in (others or {}).items():
        peaks[other].over.set()
        show(name, f"  {other}: {cpu_s(pid) - before[other]:.1f} CPU-s meanwhile, resident at most {peaks[other].peak:.0f} MB")
    pipeline.stop(60)


def events(count):
    """Users as the demo's producer sends them: flat JSON of some 700 bytes."""
    import json
    sys.path.insert(0, str(ROOT / "examples" / "pyspark"))
    from produce import flat
    offset = free_offset()
    with tempfile.TemporaryDirectory() as scratch:
        source = Millrace(pathlib.Path(scratch), "randomuser", "--port-offset", offset)
        url = f"http://127.0.0.1:{8088 + offset}/api/?results=5000&seed=bench"
        wait_for(lambda: requests.get(f"{url}&page=1", timeout=60).status_code == 200)
        users = [flat(user) for page in range(1, 5) for user in requests.get(f"{url}&page={page}", timeout=60).json()["results"]]
        source.kill()
    for number in range(count):
        user = dict(users[number % len(users)], id=str(uuid.uuid4()))
        yield user["id"], json.dumps(user)


def bench_demo(folder, systems):
    """The demo's way on the same Kafka and Cassandra: JSON in a topic, Spark, the table."""
    import confluent_kafka
    import real
    from confluent_kafka.admin import AdminClient, NewTopic
    from cassandra_stories import session_of
    kafka, cassandra = systems["kafka"], systems["cassandra"]
    session, cluster = session_of(cassandra)
    table = (ROOT / "examples/pyspark/table.cql").read_text().split("\n", 1)[1]
    for statement in filter(str.strip, table.split(";")):
        session.execute(statement)
    admin = AdminClient({"bootstrap.servers": kafka.address})
    producer = confluent_kafka.Producer({"bootstrap.servers": kafka.address, "linger.ms": 50, "batch.num.messages": 10000})
    spark = real.make("spark", free_offset(), folder / "spark", workers=0, cassandra=cassandra.address)
    ours = {name: system.processes[0].pid for name, system in systems.items()}

    def job(topic, *more):
        return spark.submit(ROOT / "bench/demo_job.py", "--kafka", kafka.address, "--topic", topic, "--checkpoint",
                            folder / f"checkpoint-{topic}{len(more)}", *more, memory="1g")

    def drained(what, *more):
        session.execute("TRUNCATE spark_streams.created_users")
        before = {name: cpu_s(pid) for name, pid in ours.items()}
        one = job("drain", "--once", *more)
        tree = Tree(one.pid)
        tree.start()
        wait_for(lambda: not one.running, 1200, 0.2)
        tree.over.set()
        seconds = float(re.search(r"query ([\d.]+)", one.log.read_text())[1])
        show("real: demo", f"{ROWS} records of JSON to {what} by Spark, local[2]: {ROWS / seconds:,.0f} rows/s; CPU-s: Spark {tree.cpu_s:.1f} "
                           f"(its start included), " + ", ".join(f"{name} {cpu_s(pid) - before[name]:.1f}" for name, pid in ours.items()) +
                           f"; Spark resident at most {tree.peak:.0f} MB")
    admin.create_topics([NewTopic(name, 4, 1) for name in ("trickle", "drain", "drained")])
    wait_for(lambda: {"trickle", "drain", "drained"} <= set(admin.list_topics(timeout=10).topics), 30)
    began = time.monotonic()
    one = job("trickle")
    query = session.prepare("SELECT id FROM spark_streams.created_users WHERE id = ?")
    taken = []
    for number, (identity, text) in enumerate(events(330)):
        start = time.perf_counter()
        producer.produce("trickle", text, key=identity)
        producer.flush()
        while session.execute(query, (uuid.UUID(identity),)).one() is None:
            time.sleep(0.002)
        if number == 0:
            show("real: demo", f"Spark submitted to the first row in the table {time.monotonic() - began:.1f} s")
        if number >= 30:            # the JVM is warm by then
            taken.append(time.perf_counter() - start)
        time.sleep(max(0, 0.1 - (time.perf_counter() - start)))
    one.stop()
    taken.sort()
    show("real: demo", f"produce to readable by CQL, at most 10 events/s, {len(taken)} events: p50 {taken[len(taken) // 2] * 1000:.0f} ms, "
                       f"p99 {taken[int(len(taken) * .99)] * 1000:.0f} ms")
    for identity, text in events(ROWS):
        while True:
            try:
                producer.produce("drain", text, key=identity)
                break
            except BufferError:
                producer.poll(0.1)
    producer.flush()
    drained("the table")
    drained("topic and table", "--topic-out", "drained")
    cluster.shutdown()
    spark.stop()


def bench_clients(cassandra):
    """The same writes of 12 columns by our CQL client alone and by the Java driver, on the same Cassandra, in turn."""
    import packages
    from cassandra_stories import session_of
    from servers import java
    session, cluster = session_of(cassandra)
    session.execute("CREATE KEYSPACE IF NOT EXISTS bench WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
    host, port = cassandra.address.split(",")[0].split(":")
    rows = max(4, ROWS // 2)
    subprocess.run(["ninja", "-C", ROOT / "build/release", "cql_program"], check=True, stdout=subprocess.DEVNULL)
    jars = packages.install(packages.Jars("cassandra-driver", "4.17.0", "com.datastax.oss:java-driver-core:4.17.0",
                                          "org.slf4j:slf4j-nop:1.7.36"))
    subprocess.run([ROOT / "build/release/cql_program", f"{host}:{port}", "bench", str(rows // 2)], check=True, capture_output=True,
                   timeout=1200)            # Cassandra is warm from here on
    for what, command in (("our client", [ROOT / "build/release/cql_program", f"{host}:{port}", "bench", rows]),
                          ("the Java driver", [java(), "-Xmx512m", "-cp", f"{jars}/*", ROOT / "bench/Writes.java", host, port,
                                               "bench", rows])):
        before = cpu_s(cassandra.processes[0].pid)
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=True, timeout=1200)
        rate, cpu, failed = done.stdout.split()
        show("real: cassandra", f"{rows} rows of 12 columns by {what} alone: {float(rate):,.0f} rows/s; {cpu} CPU-us a row in it, "
                                f"{failed} failed; CPU-s of Cassandra {cpu_s(cassandra.processes[0].pid) - before:.1f}")
    session.execute("DROP KEYSPACE bench")
    cluster.shutdown()


def bench_real(folder):
    """The same records: everything embedded; with genuine Kafka and Cassandra; the demo's way on them, with Spark."""
    sys.path.insert(0, str(ROOT / "test" / "real"))
    import real
    for number, names in enumerate([(), ("kafka", "cassandra")]):
        place = folder / str(number)
        place.mkdir(mode=0o711)
        what, began, systems = " + ".join(names) or "embedded", time.monotonic(), {}
        try:
            for name in names:
                systems[name] = real.make(name, free_offset(), place / name, heap="1g")
                systems[name].start()
            connections = {name: system.address for name, system in systems.items()}
            others = {name: system.processes[0].pid for name, system in systems.items()}
            (place / "ready").mkdir(mode=0o711)
            pipeline = Pipeline(place / "ready", ["pipelines/users.yaml"], connections=connections).wait_ready(120)
            show("real", f"{what}: from nothing to ready {time.monotonic() - began:.1f} s")
            pipeline.end()
            for name, system in systems.items():
                __import__(f"{name}_stories").empty(system)
            (place / "latency").mkdir(mode=0o711)
            bench_latency(place / "latency", 10, 300, connections, f"real: {what}")
            for name, system in systems.items():
                __import__(f"{name}_stories").empty(system)
            (place / "drain").mkdir(mode=0o711)
            bench_drain(place / "drain", connections, others, f"real: {what}")
            if names:
                bench_clients(systems["cassandra"])
                for name, system in systems.items():
                    __import__(f"{name}_stories").empty(system)
                (place / "demo").mkdir(mode=0o711)
                bench_demo(place / "demo", systems)
        finally:
            for system in systems.values():
                system.stop()


def main():
    chosen = sys.argv[1:] or ["start", "memory", "latency", "drain"]
    for name in chosen:
        folder = open_folder(tempfile.mkdtemp(prefix="millrace-bench-", dir=os.environ.get("BENCH_FOLDER")))
        folder.chmod(0o711)
        try:
            globals()[f"bench_{name}"](folder)
        finally:
            for pidfile in folder.glob("**/postmaster.pid"):
                try:
                    os.kill(int(pidfile.read_text().split()[0]), signal.SIGQUIT)
                except (OSError, ValueError):
                    pass
            shutil.rmtree(folder, ignore_errors=True)


main()

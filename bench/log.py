#!/usr/bin/env python3
"""log.py [ROW...]: the log beside a genuine Kafka: the same client program (log_load.c) against both in turn, in one
run, several rounds; the median of the rounds is printed with the least and the most, and the CPU that the server
used for a record. Rows: see row_*; those of KILLS only when they are asked for.

BENCH_KAFKA: none (only ours is measured), or a folder of jars; else the genuine one of test/real is taken, and fetched
when it is not there. BENCH_ROUNDS (3), BENCH_SCALE (1.0: how many records), BENCH_FOLDER (where data lies).
"""
import functools
import json
import os
import pathlib
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

TEST = pathlib.Path(__file__).resolve().parent.parent / "test"
sys.path[:0] = [str(TEST), str(TEST / "real")]
import packages  # noqa: E402
import servers  # noqa: E402
from confluent_kafka.admin import AdminClient, NewTopic  # noqa: E402
from story import Millrace, ROOT, free_offset, wait_for  # noqa: E402
from measure import Peak, cpu_ns, cpu_s, rss_mb  # noqa: E402

LOAD, GROUP_LOAD = ROOT / "build" / "log_load", ROOT / "build" / "release" / "group_load"
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
SCALE = float(os.environ.get("BENCH_SCALE", "1"))
BULK = ["linger.ms=5", "batch.num.messages=10000", "batch.size=1000000"]


def load(*arguments, program=LOAD):
    """One run of a load generator; its line of JSON."""
    done = subprocess.run([program, *map(str, arguments)], stdout=subprocess.PIPE, text=True, timeout=900)
    if done.returncode != 0:
        raise SystemExit(f"{program.name} {' '.join(map(str, arguments))} ended with {done.returncode}")
    return json.loads(done.stdout)


def answers(port):
    """Whether a Metadata request for all topics is answered."""
    request = struct.pack(">hhih5si", 3, 1, 7, 5, b"bench", -1)
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as peer:
            peer.settimeout(30)
            peer.sendall(struct.pack(">i", len(request)) + request)
            return len(peer.recv(4)) == 4
    except OSError:
        return False


class Server:
    """A log under measurement: started on a folder, stopped, killed."""

    @functools.cached_property
    def admin(self):
        return AdminClient({"bootstrap.servers": self.address, "log_level": 0})

    def topic(self, name, partitions=6, **config):
        config = {key.replace("_", "."): str(value) for key, value in config.items()}
        self.admin.create_topics([NewTopic(name, partitions, 1, config=config)])[name].result(60)

    def drop(self, name):
        self.admin.delete_topics([name])[name].result(60)

    def ready(self, seconds=120):
        began = time.monotonic()
        self.launch()
        wait_for(lambda: answers(self.port), seconds, 0.001)
        return time.monotonic() - began

    def measured(self, *arguments, program=LOAD):
        """A run of a load generator, with the server's CPU and its largest memory meanwhile."""
        peak = Peak(self.pid)
        peak.start()
        before = cpu_s(self.pid)
        result = load(*arguments, program=program)
        result["server_cpu"] = cpu_s(self.pid) - before
        peak.over.set()
        peak.join()
        result["peak_mb"] = peak.peak
        return result


class Ours(Server):
    def __init__(self, folder, *options):
        self.name = "page cache" if options else "on disk"
        self.folder, self.options, self.offset = folder, options, free_offset()
        self.port = 9092 + self.offset
        self.address = f"127.0.0.1:{self.port}"

    def launch(self):
        self.process = Millrace(self.folder, "broker", "--data", self.folder / "data", "--port-offset", self.offset,
                                *self.options)
        self.pid = self.process.process.pid

    def stop(self):
        self.process.stop(60)

    def kill(self):
        self.process.kill()


class Kafka(Server):
    """Genuine, one node of KRaft, 1 GiB of heap, its defaults otherwise: nothing is synced at the acknowledgement."""

    def __init__(self, folder, jars):
        self.name, self.folder, self.jars = "Kafka", folder, jars
        offset = free_offset()
        self.port, controller = 9092 + offset, 9042 + offset
        self.address = f"127.0.0.1:{self.port}"
        self.settings = folder / "server.properties"
        self.settings.write_text("\n".join([
            "process.roles=broker,controller", "node.id=1", f"controller.quorum.voters=1@127.0.0.1:{controller}",
            f"listeners=PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{controller}",
            f"advertised.listeners=PLAINTEXT://127.0.0.1:{self.port}", "controller.listener.names=CONTROLLER",
            f"log.dirs={folder}/kafka", "offsets.topic.replication.factor=1", "group.initial.rebalance.delay.ms=0",
            "transaction.state.log.replication.factor=1", "transaction.state.log.min.isr=1"]) + "\n")
        (folder / "log4j.properties").write_text("log4j.rootLogger=WARN, out\nlog4j.appender.out=org.apache.log4j.ConsoleAppender\n"
                                                 "log4j.appender.out.layout=org.apache.log4j.SimpleLayout\n")
        subprocess.run([*self.java("256m"), "kafka.tools.StorageTool", "format", "-t", "bWlsbHJhY2UtYmVuY2gtMQ",
                        "-c", str(self.settings)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def java(self, heap):
        return [servers.java(), f"-Xms{heap}", f"-Xmx{heap}", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20",
                f"-Dlog4j.configuration=file:{self.folder}/log4j.properties", "-cp", f"{self.jars}/*"]

    def launch(self):
        with open(self.folder / "output.txt", "ab") as output:
            self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", *self.java("1g"), "kafka.Kafka", str(self.settings)], stdout=output,
                                            stderr=output, stdin=subprocess.DEVNULL)
        self.pid = self.process.pid

    def stop(self):
        self.process.terminate()
        self.process.wait(60)

    def kill(self):
        self.process.kill()
        self.process.wait()


def kafka_jars():
    wish = os.environ.get("BENCH_KAFKA")
    return None if wish == "none" else wish or packages.install("kafka")


# ---- rows: each takes a server and gives figures by name ----

def bulk(server, count, size, acks, *settings, partitions=6, **config):
    count = int(count * SCALE)
    server.topic("bulk", partitions, **config)
    result = server.measured("produce", server.address, "bulk", count, size, f"acks={acks}", *settings)
    server.drop("bulk")
    return {"records/s": count / result["seconds"], "CPU-us": result["server_cpu"] / count * 1e6, "peak MB": result["peak_mb"]}


def row_produce(server):
    return bulk(server, 1500000, 1024, 1, *BULK)


def row_all(server):
    return bulk(server, 1500000, 1024, -1, *BULK)


def row_small(server):
    return bulk(server, 4000000, 100, 1, *BULK)


def row_single(server):
    """One record a request, 64 of them in flight."""
    return bulk(server, 200000, 100, 1, "linger.ms=0", "batch.num.messages=1", "max.in.flight=64", partitions=1)


def consume(server, count, passes):
    server.topic("read")
    load("produce", server.address, "read", count, 1024, "acks=1", *BULK)
    result = server.measured("consume", server.address, "read", count, 6, passes)
    server.drop("read")
    return {"records/s": count * passes / result["seconds"], "CPU-us": result["server_cpu"] / count / passes * 1e6}


def row_consume(server):
    """The last 20 MB, again and again."""
    return consume(server, 20000, max(1, int(60 * SCALE)))


def row_behind(server):
    """1.2 GB, from the beginning."""
    return consume(server, int(1200000 * SCALE), 1)


def echo(server, acks):
    server.topic("echo", 1)
    result = server.measured("echo", server.address, "echo", int(5000 * SCALE), 1024, f"acks={acks}")
    server.drop("echo")
    return {"p50 us": result["p50_us"], "p99 us": result["p99_us"], "p99.9 us": result["p999_us"]}


def row_echo(server):
    return echo(server, 1)


def row_echo_all(server):
    return echo(server, -1)


def row_topics(server):
    """1,000 topics of 10 partitions: made in requests of 100 until all are listed; then listed, and dropped."""
    admin, names = server.admin, [f"many-{i}" for i in range(1000)]
    began = time.monotonic()

    for at in range(0, 1000, 100):
        for made in admin.create_topics([NewTopic(name, 10, 1) for name in names[at:at + 100]]).values():
            made.result(600)

    def all_listed():
        return sum(len(topic.partitions) for topic in admin.list_topics(timeout=60).topics.values()) >= 10000
    wait_for(all_listed, 600, 0)
    create, began = time.monotonic() - began, time.monotonic()
    for _ in range(5):
        assert all_listed()
    listing = (time.monotonic() - began) / 5
    memory = rss_mb(server.pid)
    for dropped in admin.delete_topics(names, operation_timeout=600).values():
        dropped.result(600)
    return {"create s": create, "list ms": listing * 1000, "MB": memory}


def row_groups(server):
    """2,000 connections, members of 200 groups, from each of which one leaves and comes back, ten times over."""
    server.topic("groups", 10)
    result = server.measured(server.address, 200, 10, 10, program=GROUP_LOAD)
    server.drop("groups")
    return {"slowest ms": result["max_ms"], **{f"{kind} p99 ms": result[kind][2] for kind in ("heartbeat", "commit", "join", "sync")},
            "CPU-us a request": result["server_cpu"] / result["requests"] * 1e6, "s": result["seconds"]}


def row_idle(server):
    """Half a minute with nothing to do, on a folder of its own: what `ready` has just started."""
    time.sleep(5)
    before = cpu_ns(server.pid)
    time.sleep(20)
    return {"MB": rss_mb(server.pid), "% of a core": (cpu_ns(server.pid) - before) / 20e9 * 100}


def row_recovery(server):
    """Killed with 10 GB in the log, the last of it a moment ago."""
    count = int(10000000 * SCALE)
    server.topic("large")
    load("produce", server.address, "large", count, 1024, "acks=1", *BULK)
    server.kill()
    return {"ready s": server.ready(300)}


def row_recovery_many(server):
    """Killed with a little in each of many partitions."""
    server.topic("many", 100)
    load("produce", server.address, "many", int(2400000 * SCALE), 1024, "acks=1", *BULK)
    server.kill()
    return {"ready s": server.ready(300)}


ROWS = {name[4:]: function for name, function in list(globals().items()) if name.startswith("row_")}
KILLS = ("recovery", "recovery_many")
FRESH = ("idle", *KILLS)  # rows that want a server of their own


def show(row, name, rounds):
    figures = []
    for key in rounds[0]:
        values = [one[key] for one in rounds]
        middle = statistics.median(values)
        spread = f" ({min(values):,.4g} to {max(values):,.4g})" if len(values) > 1 else ""
        figures.append(f"{key} {middle:,.0f}{spread}" if middle >= 1000 else f"{key} {middle:.4g}{spread}")
    print(f"{row:<10} {name:<11} {'; '.join(figures)}", flush=True)


def fresh(kind, jars):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="millrace-bench-", dir=os.environ.get("BENCH_FOLDER")))
    if kind == "Kafka":
        return Kafka(folder, jars)
    return Ours(folder, *(["--page-cache"] if kind == "page cache" else []))


def one_round(kind, jars, rows, figures):
    server = fresh(kind, jars)
    try:
        figures.setdefault(("ready", kind), []).append({"s": server.ready()})
        if "idle" in rows:
            figures.setdefault(("idle", kind), []).append(row_idle(server))
        if kind == "Kafka":  # the first records meet a cold machine
            bulk(server, 300000, 1024, 1, *BULK)
        for row in rows:
            if row not in FRESH:
                figures.setdefault((row, kind), []).append(ROWS[row](server))
    finally:
        server.stop()
        shutil.rmtree(server.folder, ignore_errors=True)


def recovery(row, kind, jars, figures):
    server = fresh(kind, jars)
    try:
        server.ready()
        figures.setdefault((row, kind), []).append(ROWS[row](server))
    finally:
        server.stop()
        shutil.rmtree(server.folder, ignore_errors=True)


def main():
    rows = sys.argv[1:] or [row for row in ROWS if row not in KILLS]
    unknown = [row for row in rows if row not in ROWS]
    if unknown:
        raise SystemExit(f"bench: there is no row {unknown[0]}; there are {', '.join(ROWS)}")
    jars, figures, kinds = kafka_jars(), {}, ["page cache", "on disk"]
    if jars:
        kinds.append("Kafka")
    else:
        print("only ours is measured", flush=True)
    folder = pathlib.Path(os.environ.get("BENCH_FOLDER") or tempfile.gettempdir())
    try:
        for _ in range(ROUNDS):
            figures.setdefault(("machine", "disk"), []).append(load("disk", folder, 1 << 30))
            bare = load("socket", 2 << 30, 1 << 18)
            figures.setdefault(("machine", "socket"), []).append({"CPU-us a KiB": bare["cpu"] / (2 << 20) * 1e6})
            for kind in kinds:
                if not set(rows) <= set(KILLS):
                    one_round(kind, jars, rows, figures)
        for row in rows:
            for kind in kinds if row in KILLS else []:
                recovery(row, kind, jars, figures)
    finally:
        for row in ["machine", "ready", *rows]:
            for (name, kind), rounds in figures.items():
                if name == row:
                    show(row, kind, rounds)


main()

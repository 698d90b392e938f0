"""examples/pyspark, the known demo's own way: a genuine Spark reads our log and writes our tables."""
import json
import re
import subprocess
import sys

import pytest
from cassandra.cluster import Cluster

import packages
import real
from comparison import values_of
from story import ROOT, Millrace, free_offset, open_folder, wait_for

EXAMPLE = ROOT / "examples/pyspark"
USERS = 3000


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A log, tables and a source of Millrace's: {"kafka": address, "cassandra": address, "source": URL}."""
    folder, offset = open_folder(tmp_path_factory.mktemp("parts")), free_offset()
    running = [Millrace(folder, name, "--data", folder / name, "--port-offset", offset) for name in ("broker", "store")]
    running.append(Millrace(folder, "randomuser", "--port-offset", offset))
    for port in (9092, 9042, 8088):
        wait_for(lambda: real.servers.listens(port + offset))
    yield {"kafka": f"127.0.0.1:{9092 + offset}", "cassandra": f"127.0.0.1:{9042 + offset}",
           "source": f"http://127.0.0.1:{8088 + offset}"}
    for one in running:
        one.kill()


@pytest.fixture(scope="module")
def spark(tmp_path_factory):
    one = real.make("spark", free_offset(), open_folder(tmp_path_factory.mktemp("spark")), workers=0)
    yield one
    one.stop()


def produce(parts, users):
    subprocess.run([sys.executable, EXAMPLE / "produce.py", "--kafka", parts["kafka"], "--source", parts["source"], "--users",
                    str(users), "--batch", "500"], check=True, timeout=120)


@pytest.fixture(scope="module")
def session(parts):
    host, port = parts["cassandra"].split(":")
    cluster = Cluster([host], port=int(port))
    one = cluster.connect()
    for statement in re.sub(r"--.*", "", (EXAMPLE / "table.cql").read_text()).split(";"):
        if statement.strip():
            one.execute(statement)
    yield one
    cluster.shutdown()


def count(session):
    return session.execute("SELECT count(*) FROM spark_streams.created_users").one()[0]


def stream(spark, parts, folder, *more):
    return spark.submit(EXAMPLE / "stream.py", "--kafka", parts["kafka"], "--cassandra", parts["cassandra"], "--checkpoint",
                        folder / "checkpoint", "--records", 500, *more)


@pytest.fixture(scope="module")
def loaded(spark, parts, session, tmp_path_factory):
    """Every user in the table, by a job that was killed in mid-stream: {id: the JSON that was sent}."""
    folder = tmp_path_factory.mktemp("checkpoint")
    produce(parts, USERS)
    subprocess.run(["kcat", "-b", parts["kafka"], "-P", "-t", "users_created"], input=b"no JSON\n", check=True, timeout=30)
    job = stream(spark, parts, folder)
    wait_for(lambda: count(session) >= 1000, 120)
    job.kill()
    before = count(session)
    produce(parts, 500)
    packages.say(f"the job was killed with {before} rows in the table")
    job = stream(spark, parts, folder)
    wait_for(lambda: count(session) >= USERS + 500, 120)
    job.stop()
    job = stream(spark, parts, folder, "--once")
    wait_for(lambda: not job.running, 120)
    assert "Exception" not in job.log.read_text(), job.log.read_text()[-3000:]
    rows = [json.loads(value) for value in values_of(parts["kafka"], "users_created") if value != b"no JSON"]
    return {row["id"]: row for row in rows}


def test_a_job_that_is_killed_and_comes_back_writes_every_user_once(loaded, session):
    assert len(loaded) == USERS + 500
    table = {str(row.id): {**row._asdict(), "id": str(row.id)} for row in
             session.execute("SELECT * FROM spark_streams.created_users")}
    assert table == loaded


def test_spark_reads_the_table_by_ranges_of_tokens_and_writes_to_the_log(loaded, spark, parts):
    job = spark.submit("--conf", "spark.cassandra.input.split.sizeInMB=1", EXAMPLE / "read_back.py", "--kafka", parts["kafka"],
                       "--cassandra", parts["cassandra"])
    wait_for(lambda: not job.running, 180)
    told = job.log.read_text()
    assert f"users {len(loaded)}, distinct {len(loaded)}" in told, told[-3000:]
    assert "one 1" in told
    assert int(re.search(r"partitions (\d+)", told)[1]) >= 2
    sums = [json.loads(value) for value in values_of(parts["kafka"], "users_by_gender")]
    assert sum(one["count"] for one in sums) == len(loaded) and {one["gender"] for one in sums} == {"female", "male"}

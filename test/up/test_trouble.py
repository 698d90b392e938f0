"""Ordinary trouble: one clear sentence with the place, and the right exit status."""
import os
import pathlib
import shutil
import socket
import subprocess

import psycopg2
import pytest
import requests
from cassandra.cluster import Cluster

from story import BINARY, PORTS, ROOT, free_offset, wait_for

USERS = "pipelines/users.yaml"


def millrace(*arguments, **options):
    return subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=60, cwd=ROOT,
                          stdin=subprocess.DEVNULL, **options)


def root_only():
    if os.getuid() != 0:
        pytest.skip("only root can mount")


@pytest.fixture
def small_disk(folder):
    """A file system of its own with 400 MB."""
    root_only()
    place = folder / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m,mode=755", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("this machine does not let us mount")
    yield place
    subprocess.run(["umount", "-l", place], check=False)


def fill(place, leave):
    """Takes all but `leave` bytes of a file system, while others may be writing to it."""
    path = place / "ballast"
    with open(path, "wb") as ballast:
        taken = 0
        while True:
            space = os.statvfs(place)
            more = space.f_bavail * space.f_frsize - leave
            if more <= 0:
                return path
            try:
                os.posix_fallocate(ballast.fileno(), taken, more)
                taken += more
            except OSError:
                pass


def test_a_wrong_file_tells_every_mistake_with_its_place(folder):
    text = (ROOT / USERS).read_text()
    wrong = folder / "wrong.yaml"
    wrong.write_text(text.replace("every: 10s", "evry: 10s").replace("timeout: 30s", "timeout: soon"))
    ended = millrace("up", wrong, "--data", folder / "data")
    assert ended.returncode == 2
    lines = ended.stderr.strip().split("\n")
    assert len(lines) == 2
    assert lines[0].startswith(f"{wrong}:4:1: ") and "did you mean `every`" in lines[0]
    assert f"{wrong}:13:14: " in lines[1] and "soon" in lines[1]
    assert not (folder / "data").exists(), "nothing was started"


def test_text_that_is_no_yaml_tells_the_place(folder):
    wrong = folder / "wrong.yaml"
    wrong.write_text("pipeline: a\nsteps: {fetch: [}\n")
    ended = millrace("check", wrong)
    assert ended.returncode == 2 and ended.stderr.startswith(f"{wrong}:2:17: this is no YAML")


@pytest.mark.parametrize("right, wrong_text, inside, words", [
    ("body.name.first AS first_name", "body.name.frist AS first_name", 0, "first"),
    ("FROM users_raw\n    into", "FROM users_rwa\n    into", None, "users_raw"),
    ("count(*) AS users", "coun(*) AS users", 0, "coun"),
    ("body.gender AS gender,", "body.gender AS gender,,", 22, ","),
])
def test_a_wrong_sql_text_tells_the_place(folder, right, wrong_text, inside, words):
    text = (ROOT / USERS).read_text()
    assert right in text
    wrong = folder / "wrong.yaml"
    wrong.write_text(text.replace(right, wrong_text))
    ended = millrace("check", wrong)
    assert ended.returncode == 2, ended.stdout
    first = ended.stderr.split("\n")[0]
    lines = text[:text.index(right)].split("\n")
    place = f"{len(lines)}:{len(lines[-1]) + 1 + inside}: " if inside is not None else ""
    assert first.startswith(f"{wrong}:{place}") and words in first, first


def test_a_missing_file_and_a_wrong_option(folder):
    ended = millrace("up", folder / "none.yaml")
    assert ended.returncode == 2 and "none.yaml" in ended.stderr and ended.stderr.count("\n") == 1
    ended = millrace("up", USERS, "--prot-offset", "1")
    assert ended.returncode == 2 and "--prot-offset" in ended.stderr
    ended = millrace("upp")
    assert ended.returncode == 2 and "upp" in ended.stderr


def test_another_address_needs_the_word_insecure(folder):
    ended = millrace("up", USERS, "--host", "0.0.0.0", "--data", folder / "data")
    assert ended.returncode == 2 and "--insecure" in ended.stderr


@pytest.mark.parametrize("name", ["kafka", "registry", "cassandra", "console", "randomuser", "postgres"])
def test_a_busy_port_is_named(folder, name):
    offset = free_offset()
    with socket.socket() as busy:
        busy.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        busy.bind(("127.0.0.1", PORTS[name] + offset))
        busy.listen()
        ended = millrace("up", USERS, "--plain", "--data", folder / "data", "--port-offset", offset)
    assert ended.returncode == 1
    assert str(PORTS[name] + offset) in ended.stderr and ended.stderr.count("\n") == 1, ended.stderr


def test_a_data_folder_that_cannot_be_entered(folder):
    if os.getuid() == 0:
        closed = folder / "closed"
        closed.mkdir(mode=0o700)
        ended = millrace("up", USERS, "--plain", "--data", closed / "data", "--port-offset", free_offset())
    else:
        closed = folder / "closed"
        closed.mkdir(mode=0o000)
        ended = millrace("up", USERS, "--plain", "--data", closed / "data")
    assert ended.returncode == 1
    assert str(closed) in ended.stderr and ended.stderr.count("\n") == 1, ended.stderr


def test_a_data_folder_in_use_names_its_holder(run_pipeline):
    running = run_pipeline(USERS).wait_ready()
    ended = millrace("up", USERS, "--data", running.data, "--port-offset", free_offset())
    assert ended.returncode == 1 and str(running.process.pid) in ended.stderr and str(running.data) in ended.stderr


def test_a_folder_of_a_newer_release_is_refused(folder):
    data = folder / "data"
    data.mkdir(mode=0o711)
    (data / "format").write_text("99\n")
    ended = millrace("up", USERS, "--data", data)
    assert ended.returncode == 1 and "format 99" in ended.stderr


def test_missing_postgresql_names_the_package(folder):
    root_only()
    if shutil.which("unshare") is None or not pathlib.Path("/usr/lib/postgresql").is_dir():
        pytest.skip("unshare or /usr/lib/postgresql is missing")
    script = (f"mount -t tmpfs tmpfs /usr/lib/postgresql && "
              f"exec {BINARY} up {USERS} --plain --data {folder / 'data'} --port-offset {free_offset()}")
    ended = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, timeout=60, cwd=ROOT)
    if "unshare" in ended.stderr or "mount:" in ended.stderr:
        pytest.skip(f"no mount namespace: {ended.stderr.strip()}")
    assert ended.returncode == 1 and "postgresql" in ended.stderr and "apt" in ended.stderr and ended.stderr.count("\n") == 1


def test_a_disk_that_is_full_at_the_start(small_disk):
    fill(small_disk, 10 << 20)
    ended = millrace("up", USERS, "--plain", "--data", small_disk / "data", "--port-offset", free_offset())
    assert ended.returncode == 1 and str(small_disk) in ended.stderr and "MB free" in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_a_disk_that_fills_while_running_pauses_and_goes_on(run_pipeline, small_disk):
    pipeline = run_pipeline("test/pipelines/flat_out.yaml", data=small_disk / "data").wait_ready()
    wait_for(lambda: pipeline.counter("stream:users_created", "results") >= 2000, 60)
    ballast = fill(small_disk, 12 << 20)

    def waits():
        return "MB free" in pipeline.node("step:fetch")["error"]
    wait_for(waits, 30)
    wait_for(lambda: "in trouble: the disk of " in pipeline.text, 30)
    standing = pipeline.counter("table:raw.users", "rows")
    assert pipeline.process.poll() is None
    ballast.unlink()
    wait_for(lambda: pipeline.counter("table:raw.users", "rows") > standing, 60)
    wait_for(lambda: not pipeline.node("step:fetch").get("error"), 30)
    rows = pipeline.counter("stream:users_created", "results")
    wait_for(lambda: pipeline.counter("stream:users_created", "results") > rows, 60)
    requests.patch(pipeline.url("/api/v1/dags/flat_out"), json={"is_paused": True}, timeout=10)
    with psycopg2.connect(pipeline.postgres_dsn()) as connection, connection.cursor() as cursor:
        def through():
            cursor.execute("SELECT count(*) FROM raw.users")
            return pipeline.counter("stream:users_created", "results") == cursor.fetchone()[0]
        wait_for(through, 60)
    cluster = Cluster(["127.0.0.1"], port=pipeline.port("cassandra"))
    assert cluster.connect().execute("SELECT count(*) FROM spark_streams.created_users").one()[0] == \
        pipeline.counter("stream:users_created", "results")
    cluster.shutdown()
    assert pipeline.stop() == 0


def test_stopped_and_started_again_it_goes_on_where_it_stopped(run_pipeline):
    pipeline = run_pipeline(USERS).wait_ready()
    wait_for(lambda: pipeline.counter("stream:users_created", "results") >= 50, 60)
    assert pipeline.stop() == 0
    assert pipeline.text.rstrip().endswith("stopped")
    assert not (pipeline.data / "postgres" / "postmaster.pid").exists(), "PostgreSQL was stopped too"
    pipeline = pipeline.again().wait_ready()
    wait_for(lambda: pipeline.counter("stream:users_created", "results") >= 100, 60)
    with psycopg2.connect(pipeline.postgres_dsn()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM raw.users")
        assert cursor.fetchone()[0] == pipeline.counter("stream:users_created", "results")


def test_lost_connections_are_made_again(run_pipeline):
    """PostgreSQL is killed under the running pipeline; it is started again and everything goes on."""
    pipeline = run_pipeline("test/pipelines/flat_out.yaml").wait_ready()
    wait_for(lambda: pipeline.counter("stream:users_created", "results") >= 1000, 60)
    pid = int((pipeline.data / "postgres" / "postmaster.pid").read_text().split()[0])
    os.kill(pid, 3)
    wait_for(lambda: not pathlib.Path(f"/proc/{pid}").exists(), 20)
    before = pipeline.counter("stream:users_created", "results")
    wait_for(lambda: pipeline.counter("stream:users_created", "results") > before + 2000, 60)
    assert pipeline.stop() == 0


def test_a_wrong_address_is_a_wrong_command_line(folder):
    ran = millrace("up", USERS, "--data", folder / "data", "--kafka", ":::")
    assert ran.returncode == 2
    assert "--kafka :::" in ran.stderr


def test_a_kafka_that_is_away_is_named(run_pipeline):
    pipeline = run_pipeline(USERS, arguments=["--kafka", "127.0.0.1:1"])
    wait_for(lambda: "127.0.0.1:1" in pipeline.text and "refused" in pipeline.text, 30)
    assert "not ready: registry: starting, waits: " in pipeline.text
    reasons = requests.get(pipeline.url("/health"), timeout=5)
    assert reasons.status_code == 503 and "127.0.0.1:1" in reasons.text
    assert pipeline.stop() == 0

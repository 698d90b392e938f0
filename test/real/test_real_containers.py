"""The image and the compose file: built, run and stopped by podman."""
import json
import shutil
import subprocess
import time

import pytest
import requests
import yaml
from cassandra.cluster import Cluster
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

import containers
import packages
from story import ROOT, free_offset, open_folder, wait_for

COMPOSE = packages.Wheels("podman-compose", "1.6.0", ["podman-compose==1.6.0"])


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    why = containers.missing()
    if why:
        pytest.skip(why)
    one = containers.Engine(open_folder(tmp_path_factory.mktemp("engine")))
    try:
        why = containers.forbidden(one)
        if why:
            pytest.skip(why)
        yield one
    finally:
        one.end()


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """What a clone has: the files that git knows, as they are now."""
    folder = tmp_path_factory.mktemp("sources")
    for name in subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines():
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def build(engine, sources, tag, *more):
    begun = time.monotonic()
    engine.run("buildah", "bud", "--pull-never", "--layers", "--build-arg", f"BASE={containers.BASE}", *more, "-t", tag, ".",
               cwd=sources, seconds=1500)
    packages.say(f"{tag}: built in {time.monotonic() - begun:.0f} s")
    return tag


@pytest.fixture(scope="module")
def image(engine, sources):
    return build(engine, sources, "localhost/millrace")


@pytest.fixture(scope="module")
def slim(engine, sources, image):
    return build(engine, sources, "localhost/millrace:slim", "--target", "slim")


SAFE = ("--read-only", "--tmpfs", "/tmp", "--cap-drop=all", "--security-opt", "no-new-privileges")


class Container:
    def __init__(self, engine, image, name, ports, *arguments, options=()):
        self.engine, self.name = engine, name
        published = [word for inside, outside in ports.items() for word in ("-p", f"127.0.0.1:{outside}:{inside}")]
        engine.run("podman", "run", "-d", "--pull=never", "--name", name, *SAFE, *published, *options, image, *arguments)

    def healthy(self):
        return self.engine.run("podman", "healthcheck", "run", self.name, check=False).returncode == 0

    def state(self):
        return json.loads(self.engine.run("podman", "inspect", self.name))[0]

    def logs(self):
        done = self.engine.run("podman", "logs", self.name, check=False)
        return done.stdout + done.stderr

    def stop(self):
        self.engine.run("podman", "stop", "-t", "30", self.name)
        status = self.state()["State"]["ExitCode"]
        self.engine.run("podman", "rm", self.name)
        return status


def count_of_users(port):
    cluster = Cluster(["127.0.0.1"], port=port)
    try:
        return cluster.connect().execute("SELECT count(*) FROM spark_streams.created_users").one()[0]
    finally:
        cluster.shutdown()


def test_the_whole_pipeline_runs_in_one_container_and_goes_on_where_it_stopped(engine, image):
    offset = free_offset()
    ports = {9092: 9092 + offset, 9042: 9042 + offset, 8080: 8080 + offset}

    def begin():
        one = Container(engine, image, "whole", ports, "up", "/usr/share/millrace/pipelines/users.yaml",
                        "--advertise", f"127.0.0.1:{9092 + offset}", options=("-v", "whole:/data"))
        wait_for(one.healthy, 90)
        return one
    one = begin()
    assert one.engine.run("podman", "exec", "whole", "id", "-u").strip() == "10001"
    assert one.engine.run("podman", "exec", "whole", "touch", "/usr/x", check=False).returncode != 0
    assert requests.get(f"http://127.0.0.1:{8080 + offset}/health", timeout=5).status_code == 200
    assert "ready" in one.engine.run("podman", "exec", "whole", "millrace", "status")
    told = AdminClient({"bootstrap.servers": f"127.0.0.1:{9092 + offset}"}).list_topics(timeout=10)
    assert {"users_raw", "users_created", "users_by_country"} <= set(told.topics)
    assert [(broker.host, broker.port) for broker in told.brokers.values()] == [("127.0.0.1", 9092 + offset)]
    wait_for(lambda: count_of_users(9042 + offset) >= 50, 60)
    before = count_of_users(9042 + offset)
    assert one.stop() == 0
    one = begin()
    assert count_of_users(9042 + offset) >= before
    wait_for(lambda: count_of_users(9042 + offset) > before, 60)
    assert one.stop() == 0


def test_other_containers_reach_the_log_by_its_second_port(engine, image):
    engine.run("podman", "network", "create", "inside")
    offset = free_offset()
    log = Container(engine, image, "log", {9092: 9092 + offset}, "broker", "--advertise", f"127.0.0.1:{9092 + offset}",
                    "--inside-port", "29092", options=("--network", "inside"))
    try:
        def told(port):
            done = engine.run("podman", "run", "--rm", "--pull=never", "--network", "inside", image, "topic", "--create",
                              "--if-not-exists", "--topic", f"t{port}", "--partitions", "1",
                              "--bootstrap-server", f"log:{port}", check=False, seconds=90)
            return done.stdout
        wait_for(lambda: "Created topic t29092." in told(29092), 60)
        assert log.healthy(), "a part alone is well when it answers"
        here = f"127.0.0.1:{9092 + offset}"
        producer = Producer({"bootstrap.servers": here})
        producer.produce("t29092", b"from the host")
        assert producer.flush(30) == 0
        read = engine.run("podman", "run", "--rm", "--pull=never", "--network", "inside", image, "consume", "--topic", "t29092",
                          "--from-beginning", "--max-messages", "1", "--bootstrap-server", "log:29092", seconds=90)
        assert read.strip() == "from the host"
    finally:
        assert log.stop() == 0


def test_the_slim_image_says_what_it_lacks_and_runs_with_a_postgresql_elsewhere(engine, image, slim):
    alone = engine.run("podman", "run", "--rm", "--pull=never", *SAFE, slim, check=False, seconds=90)
    assert alone.returncode == 1 and "PostgreSQL" in alone.stderr + alone.stdout
    offset = free_offset()
    engine.run("podman", "network", "create", "apart")
    # The server of the whole image, alone and open to its network, stands for any PostgreSQL elsewhere.
    server = "/usr/lib/postgresql/15/bin"
    engine.run("podman", "run", "-d", "--pull=never", "--name", "database", "--network", "apart", "--entrypoint", "bash", image,
               "-c", f"{server}/initdb -D /data/elsewhere -U ann -A trust >/dev/null && echo 'host all,replication all all trust' "
               f">>/data/elsewhere/pg_hba.conf && exec {server}/postgres -D /data/elsewhere -c wal_level=logical "
               "-c listen_addresses=* -k /tmp")
    one = Container(engine, slim, "slim", {9042: 9042 + offset}, "up", "/usr/share/millrace/pipelines/users.yaml",
                    "--postgres", "postgres://ann@database:5432/postgres", options=("--network", "apart", "-v", "slim:/data"))
    try:
        wait_for(one.healthy, 90)
        wait_for(lambda: count_of_users(9042 + offset) >= 50, 60)
    finally:
        print(one.logs())
        assert one.stop() == 0


def compose(engine, project, *arguments, **options):
    return engine.run(packages.install(COMPOSE) / "bin" / "podman-compose", "-p", project, *arguments, **options)


def test_the_compose_file_is_sound_and_its_images_are_pinned(engine):
    alone = yaml.safe_load(compose(engine, "plain", "config", cwd=ROOT))
    whole = yaml.safe_load(compose(engine, "plain", "--profile", "real", "config", cwd=ROOT))
    assert "millrace" in alone["services"]
    assert {"zookeeper", "kafka", "schema-registry", "cassandra", "spark-master", "spark-worker-1", "spark-worker-2",
            "spark-connect", "postgres", "airflow", "millrace-real"} <= set(whole["services"])
    for name, service in whole["services"].items():
        assert service.get("build") or ":" in service["image"], f"{name}: a pinned image"
        for port in service.get("ports", []):
            assert str(port).startswith("127.0.0.1:"), f"{name}: published on this machine only"


def test_compose_brings_the_single_container_up(engine, image):
    offset = free_offset()
    environment = {"CONSOLE_PORT": 8080 + offset, "KAFKA_PORT": 9092 + offset, "REGISTRY_PORT": 8081 + offset,
                   "CASSANDRA_PORT": 9042 + offset, "RANDOMUSER_PORT": 8088 + offset}
    engine.environment.update({name: str(value) for name, value in environment.items()})
    compose(engine, "single", "up", "-d", "--no-build", cwd=ROOT)
    try:
        wait_for(lambda: requests.get(f"http://127.0.0.1:{8080 + offset}/health", timeout=5).status_code == 200, 90)
        told = AdminClient({"bootstrap.servers": f"127.0.0.1:{9092 + offset}"}).list_topics(timeout=10)
        assert "users_raw" in told.topics
        wait_for(lambda: count_of_users(9042 + offset) >= 50, 60)
    finally:
        compose(engine, "single", "down", "-v", cwd=ROOT)

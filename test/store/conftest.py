"""A table store for the stories of this folder: ours, or with PEER (host:port) a genuine Cassandra, which is the
judge."""
import itertools
import os
import pathlib
import re
import subprocess
import sys
import time

import pytest
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.policies import RoundRobinPolicy

import story

PEER = os.environ.get("PEER")
_names = itertools.count()


class Store:
    """One process of the store; killed and started again on the same port and folder."""

    def __init__(self, folder):
        self.folder, self.port = pathlib.Path(folder), 0
        self.host, self.process, self.clusters = "127.0.0.1", None, []
        if PEER:
            self.host, port = PEER.rsplit(":", 1)
            self.port = int(port)
        else:
            self.start()

    def start(self):
        self.millrace = story.Millrace(self.folder, "store", "--data", self.folder / "data", "--port", self.port)
        self.process = self.millrace.process
        self.millrace.wait_for_text("listens on")
        self.port = int(re.search(r"listens on [^:]+:(\d+)", self.millrace.text).group(1))

    def kill(self):
        self.millrace.kill()

    def connect(self, **options):
        profile = ExecutionProfile(load_balancing_policy=RoundRobinPolicy(), request_timeout=30)
        cluster = Cluster([self.host], port=self.port, protocol_version=options.pop("protocol_version", 4),
                          execution_profiles={EXEC_PROFILE_DEFAULT: profile}, **options)
        self.clusters.append(cluster)
        return cluster.connect()

    def cqlsh(self, text, *arguments):
        """What cqlsh prints, and its errors behind it."""
        ran = subprocess.run([str(pathlib.Path(sys.executable).parent / "cqlsh"), self.host, str(self.port),
                              *arguments, "-e", text], capture_output=True, text=True, timeout=60)
        return ran.stdout + ran.stderr

    def end(self):
        for cluster in self.clusters:
            cluster.shutdown()
        if self.process is not None and self.process.poll() is None:
            assert self.millrace.stop() == 0, self.millrace.text


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    one = Store(tmp_path_factory.mktemp("store"))
    yield one
    one.end()


@pytest.fixture
def own_store(tmp_path):
    """A store of the story's own, which it may kill."""
    if PEER:
        pytest.skip("kills its server")
    one = Store(tmp_path)
    yield one
    one.end()


@pytest.fixture(scope="module")
def session(store):
    return store.connect()


@pytest.fixture
def keyspace(session):
    """A keyspace of the story's own, in use; gone afterwards."""
    name = f"k{int(time.time() * 1000) % 10**9}_{next(_names)}"
    session.execute(f"CREATE KEYSPACE {name} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}")
    session.set_keyspace(name)
    yield name
    session.execute(f"DROP KEYSPACE {name}")

"""A table store for the stories of this folder: ours, or with PEER (host:port) a genuine Cassandra, which is the
judge."""
import os
import pathlib
import re
import subprocess
import sys
import time

from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable
from cassandra.policies import RoundRobinPolicy

import story

PEER = os.environ.get("PEER")


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
        """A session; a store that says that it is still starting is asked again."""
        deadline = time.monotonic() + 30
        while True:
            try:
                return self.connect_once(**options)
            except NoHostAvailable as error:
                if "still starting" not in str(error) or time.monotonic() > deadline:
                    raise
                self.clusters.pop().shutdown()
                time.sleep(0.2)

    def connect_once(self, **options):
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

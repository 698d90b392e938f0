"""What all stories share: the binary, free ports, folders, and processes."""
import os
import pathlib
import signal
import socket
import subprocess
import time

import requests

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARY = os.environ.get("MILLRACE_BINARY") or os.environ.get("MILLRACE") or str(ROOT / "build" / "millrace")
PORTS = {"kafka": 9092, "registry": 8081, "cassandra": 9042, "console": 8080, "randomuser": 8088, "postgres": 5433}
_next_offset = [int(os.environ.get("MILLRACE_TEST_OFFSET", "12000"))]


def _free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_offset():
    """A --port-offset whose ports are all free."""
    while True:
        _next_offset[0] += 7
        if all(_free(port + _next_offset[0]) for port in PORTS.values()):
            return _next_offset[0]


def wait_for(what, seconds=30, pause=0.05):
    """Calls `what` until it answers something true; the last trouble is told when it never does."""
    deadline, trouble = time.monotonic() + seconds, None
    while time.monotonic() < deadline:
        try:
            answer = what()
            if answer:
                return answer
        except Exception as error:  # the story goes on until the deadline, whatever it is
            trouble = error
        time.sleep(pause)
    raise AssertionError(f"nothing after {seconds} s{': ' + repr(trouble) if trouble else ''}")


class Millrace:
    """One process of the program, with its output in a file."""

    def __init__(self, folder, *arguments, environment=None):
        self.log_path = pathlib.Path(folder) / f"output-{time.monotonic_ns()}.txt"
        self.arguments = [BINARY, *map(str, arguments)]
        self.output = open(self.log_path, "wb")
        self.process = subprocess.Popen(self.arguments, stdin=subprocess.DEVNULL, stdout=self.output,
                                        stderr=subprocess.STDOUT, cwd=ROOT, start_new_session=True,
                                        env={**os.environ, **(environment or {})})

    @property
    def text(self):
        return self.log_path.read_text(errors="replace")

    def kill(self):
        """SIGKILL: nothing is finished, nothing is said."""
        self.process.kill()
        self.process.wait()

    def stop(self, seconds=30):
        """SIGTERM, and the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def wait_for_text(self, text, seconds=30):
        def there():
            if self.process.poll() is not None and text not in self.text:
                raise AssertionError(f"ended with {self.process.returncode}: {self.text}")
            return text in self.text
        wait_for(there, seconds)


class Pipeline(Millrace):
    """`millrace up` with its own ports and data folder; started again on the same ones by again(). `connections` are
    the addresses of systems elsewhere, in place of embedded parts: {"kafka": "host:port"}."""

    def __init__(self, folder, files, offset=None, data=None, arguments=(), environment=None, connections=None):
        self.folder, self.files = pathlib.Path(folder), files
        self.offset = free_offset() if offset is None else offset
        self.data = pathlib.Path(data or self.folder / "data")
        self.extra, self.environment, self.connections = arguments, environment, dict(connections or {})
        elsewhere = [part for name, address in self.connections.items() for part in (f"--{name}", address)]
        super().__init__(folder, "up", *files, "--data", self.data, "--port-offset", self.offset, "--plain", *elsewhere,
                         *arguments, environment=environment)

    def port(self, name):
        return PORTS[name] + self.offset

    def address(self, name):
        return self.connections.get(name) or f"127.0.0.1:{self.port(name)}"

    def tables(self):
        """A session of the Python driver with whoever serves the tables, and its cluster to shut down."""
        from cassandra import ConsistencyLevel
        from cassandra.cluster import Cluster
        hosts = [address.rsplit(":", 1) for address in self.address("cassandra").split(",")]
        cluster = Cluster([host for host, _ in hosts], port=int(hosts[0][1]))
        session = cluster.connect()
        session.default_consistency_level = ConsistencyLevel.LOCAL_QUORUM    # one node alone may have been away
        return session, cluster

    def url(self, path="/"):
        return f"http://{self.address('console')}{path}"

    def wait_ready(self, seconds=60):
        def ready():
            if self.process.poll() is not None:
                raise SystemExit(f"ended with {self.process.returncode}: {self.text}")
            return requests.get(self.url("/health"), timeout=2).status_code == 200
        self.wait_for(ready, seconds)
        return self

    def wait_for(self, what, seconds=30):
        """wait_for(), and what the pipeline says when it waits in vain."""
        try:
            wait_for(what, seconds)
        except AssertionError as trouble:
            log = self.data / "millrace.log"
            raise AssertionError(f"{trouble}; it says {self.text[-3000:]} "
                                 f"{log.read_text(errors='replace')[-3000:] if log.exists() else ''}") from trouble

    def status(self):
        return requests.get(self.url("/status.json"), timeout=5).json()

    def node(self, identity):
        for pipeline in self.status()["pipelines"]:
            for node in pipeline["nodes"]:
                if node["id"] == identity:
                    return node
        raise KeyError(identity)

    def counter(self, identity, name):
        return self.node(identity)["counters"][name]

    def postgres_dsn(self):
        password = (self.data / "postgres.password").read_text().strip()
        return f"host=127.0.0.1 port={self.port('postgres')} user=millrace dbname=millrace password={password}"

    def again(self):
        return Pipeline(self.folder, self.files, self.offset, self.data, self.extra, self.environment, self.connections)

    def end(self):
        """Whatever is left: the process, and the PostgreSQL that outlives a kill."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        pidfile = self.data / "postgres" / "postmaster.pid"
        if pidfile.exists():
            pid = int(pidfile.read_text().split()[0])
            try:
                os.kill(pid, signal.SIGQUIT)
                wait_for(lambda: not pathlib.Path(f"/proc/{pid}").exists(), 10)
            except ProcessLookupError:
                pass


def open_folder(path):
    """PostgreSQL's own user must be able to pass through every folder above its data."""
    path = pathlib.Path(path)
    for part in [path, *path.parents]:
        try:
            if part != part.parent and part.stat().st_uid == os.getuid() and not part.stat().st_mode & 0o001:
                part.chmod(part.stat().st_mode | 0o011)
        except PermissionError:
            break
    return path

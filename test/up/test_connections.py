"""Connections to systems outside: what signs in there, and what is said when one of them is not well."""
import base64
import http.server
import re
import select
import socket
import ssl
import subprocess
import threading

import pytest
import requests

import story
from story import BINARY, ROOT, wait_for

USERS = "pipelines/users.yaml"
TOKEN, PASSWORD = "t0ken-nobody-may-see", "passw0rd-nobody-may-see"


def check(*arguments, environment=None):
    return subprocess.run([BINARY, "check", *map(str, arguments)], capture_output=True, text=True, timeout=60, cwd=ROOT,
                          env={"PATH": "/usr/bin:/bin", **(environment or {})}, stdin=subprocess.DEVNULL)


@pytest.fixture
def parts(start, folder):
    """A log and a registry of their own; where they are."""
    offset = story.free_offset()
    kafka, registry = f"127.0.0.1:{9092 + offset}", f"http://127.0.0.1:{8081 + offset}"
    start("broker", "--port-offset", offset, "--data", folder / "broker")
    start("registry", "--port-offset", offset, "--kafka", kafka)
    wait_for(lambda: requests.get(registry + "/subjects", timeout=2).status_code == 200)
    return kafka, registry


@pytest.fixture
def guarded(parts, folder):
    """The registry behind TLS, for those who sign in: by a bearer token or as ann."""
    expected = {f"Bearer {TOKEN}", "Basic " + base64.b64encode(f"ann:{PASSWORD}".encode()).decode()}
    key, cert = folder / "key.pem", folder / "cert.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"], check=True, capture_output=True)

    class Guard(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_all(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.headers.get("Authorization") in expected:
                answer = requests.request(self.command, parts[1] + self.path, data=body,
                                          headers={"Content-Type": self.headers.get("Content-Type", "")}, timeout=20)
                status, text = answer.status_code, answer.content
            else:
                status, text = 401, b'{"error_code": 401, "message": "Unauthorized"}'
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)
        do_GET = do_POST = do_PUT = do_DELETE = handle_all

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Guard)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://127.0.0.1:{server.server_port}", cert
    server.shutdown()


def test_the_users_pipeline_signs_in_and_no_secret_is_ever_shown(run_pipeline, parts, guarded, folder):
    kafka, (url, cert) = parts[0], guarded
    token = folder / "token"
    token.write_text(TOKEN + "\n")
    text = (ROOT / USERS).read_text()
    file = folder / "users.yaml"
    file.write_text(text + f"\nconnections:\n  kafka: {kafka}\n  registry:\n    address: {url}\n"
                    f"    token_file: {token}\n    tls_ca: {cert}\n")
    pipeline = run_pipeline(file, environment={"MILLRACE_POSTGRES_PASSWORD": PASSWORD}).wait_ready()
    wait_for(lambda: pipeline.counter("stream:users_created", "results") >= 50, 60)
    subjects = requests.get(f"{parts[1]}/subjects", timeout=5).json()
    assert {"users_raw-value", "users_created-value"} <= set(subjects)
    shown = [pipeline.text, pipeline.status(), requests.get(pipeline.url("/metrics"), timeout=5).text,
             (pipeline.data / "millrace.log").read_text()]
    assert TOKEN not in str(shown) and PASSWORD not in str(shown)
    assert pipeline.stop() == 0


def test_check_tries_each_connection_and_says_what_answered(parts, guarded, run_pipeline):
    kafka, (url, cert) = parts[0], guarded
    other = run_pipeline(USERS).wait_ready()
    outside = ["--kafka", kafka, "--registry", url, "--registry-tls-ca", cert, "--registry-user", "ann",
               "--cassandra", other.address("cassandra"), "--randomuser", f"http://{other.address('randomuser')}",
               "--postgres", other.address("postgres") + "", "--postgres-user", "millrace",
               "--postgres-password-file", other.data / "postgres.password"]
    ran = check(USERS, *outside, environment={"MILLRACE_REGISTRY_PASSWORD": PASSWORD})
    assert ran.returncode == 0, ran.stderr
    assert re.search(r"^kafka +\S+: 1 brokers, \d+ topics$", ran.stdout, re.M)
    assert re.search(r"^registry +https://\S+: answers$", ran.stdout, re.M)
    assert re.search(r"^postgres +\S+: PostgreSQL 15", ran.stdout, re.M)
    assert re.search(r"^cassandra +\S+: Cassandra ", ran.stdout, re.M)
    assert re.search(r"^randomuser +\S+: answers with \d+ bytes", ran.stdout, re.M)
    assert other.stop() == 0


def test_check_says_which_connection_fails_and_why(parts, guarded):
    url, cert = guarded
    ran = check(USERS, "--kafka", "127.0.0.1:1", "--cassandra", "127.0.0.1:1", "--postgres", "127.0.0.1:1",
                "--randomuser", "http://127.0.0.1:1", "--registry", url, "--registry-tls-ca", cert,
                environment={"MILLRACE_REGISTRY_TOKEN": "wrong" + TOKEN})
    assert ran.returncode == 1
    for name in ("kafka", "cassandra", "postgres", "randomuser"):
        assert re.search(rf"^{name} .*127\.0\.0\.1:1.*FAILED: .*(refused|connect to server)", ran.stderr, re.M | re.I), ran.stderr
    assert re.search(r"^registry .*FAILED: .*Unauthorized", ran.stderr, re.M), ran.stderr
    assert "wrong" not in ran.stderr + ran.stdout
    untrusted = check(USERS, "--registry", url)
    assert untrusted.returncode == 1 and re.search(r"^registry .*FAILED: .*certificate", untrusted.stderr, re.M)


def test_check_with_a_wrong_password_of_postgres(run_pipeline):
    other = run_pipeline(USERS).wait_ready()
    ran = check(USERS, "--postgres", other.address("postgres"), "--postgres-user", "millrace",
                environment={"MILLRACE_POSTGRES_PASSWORD": PASSWORD})
    assert ran.returncode == 1
    assert re.search(r"^postgres .*FAILED: .*password authentication failed", ran.stderr, re.M), ran.stderr
    assert PASSWORD not in ran.stderr + ran.stdout
    assert other.stop() == 0


def test_a_secret_file_that_is_missing_is_one_sentence(folder):
    ran = check(USERS, "--registry", "http://127.0.0.1:1", "--registry-token-file", folder / "nothing")
    assert ran.returncode == 2
    assert "registry.token_file" in ran.stderr and str(folder / "nothing") in ran.stderr




# ---- a log and tables that let nobody in unseen ----

class Terminator:
    """Speaks TLS, and passes the plain bytes on."""

    def __init__(self, port, cert, key):
        self.target = ("127.0.0.1", port)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(cert, key)
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port, self.taken = self.server.getsockname()[1], 0
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.server.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        try:
            client = self.context.wrap_socket(client, server_side=True)
        except OSError:
            return
        self.taken += 1
        other = socket.create_connection(self.target)
        client.setblocking(False)
        other.setblocking(False)
        try:
            while True:
                if not (hasattr(client, "pending") and client.pending()):
                    select.select([client, other], [], [])
                for source, sink in ((client, other), (other, client)):
                    try:
                        data = source.recv(65536)
                    except (BlockingIOError, ssl.SSLWantReadError):
                        continue
                    if not data:
                        return
                    sink.setblocking(True)
                    sink.sendall(data)
                    sink.setblocking(False)
        except OSError:
            pass
        finally:
            client.close()
            other.close()


@pytest.fixture
def certified(folder):
    """A certificate of 127.0.0.1 and its key."""
    key, cert = folder / "node-key.pem", folder / "node-cert.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-keyout", key, "-out", cert, "-days", "2", "-subj", "/CN=node",
                    "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"], check=True, capture_output=True)
    return cert, key


@pytest.fixture
def guarded_log(start, folder, certified):
    """A log that speaks TLS and has its clients sign in: as ann."""
    offset, (cert, key) = story.free_offset(), certified
    (folder / "users").write_text(f"ann:{PASSWORD}\n")
    start("broker", "--port-offset", offset, "--data", folder / "guarded", "--tls-cert", cert, "--tls-key", key,
          "--sasl", "PLAIN,SCRAM-SHA-512", "--users", folder / "users")
    return f"127.0.0.1:{9092 + offset}"


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
def test_the_users_pipeline_signs_in_to_a_kafka_by_tls(run_pipeline, guarded_log, certified, folder, mechanism):
    secret = folder / "secret"
    secret.write_text(PASSWORD + "\n")
    file = folder / "users.yaml"
    file.write_text((ROOT / USERS).read_text() + f"\nconnections:\n  kafka:\n    address: {guarded_log}\n    user: ann\n"
                    f"    password_file: {secret}\n    sasl: {mechanism}\n    tls_ca: {certified[0]}\n")
    ran = check(file)
    assert ran.returncode == 0 and re.search(r"^kafka +\S+: 1 brokers", ran.stdout, re.M), ran.stderr
    pipeline = run_pipeline(file).wait_ready()
    wait_for(lambda: pipeline.counter("stream:users_created", "results") >= 50, 60)
    wait_for(lambda: len(requests.get(pipeline.url("/api/v1/dags/users/dagRuns"), timeout=5).json()["dag_runs"]) > 0)
    assert requests.get(pipeline.url("/console/topics"), timeout=10).status_code in (200, 404)
    shown = [pipeline.text, pipeline.status(), (pipeline.data / "millrace.log").read_text()]
    assert PASSWORD not in str(shown)
    assert pipeline.stop() == 0


def test_a_wrong_password_of_kafka_is_told_and_the_right_one_goes_on(run_pipeline, guarded_log, certified):
    arguments = ["--kafka", guarded_log, "--kafka-user", "ann", "--kafka-tls-ca", certified[0]]
    ran = check(USERS, *arguments, environment={"MILLRACE_KAFKA_PASSWORD": "wrong" + PASSWORD})
    assert ran.returncode == 1
    assert re.search(r"^kafka .*FAILED: .*SCRAM-SHA-512.*ann", ran.stderr, re.M), ran.stderr
    pipeline = run_pipeline(USERS, arguments=arguments, environment={"MILLRACE_KAFKA_PASSWORD": "wrong" + PASSWORD})
    wait_for(lambda: re.search(r"not ready: .*SCRAM-SHA-512.*ann", pipeline.text), 30)
    assert pipeline.stop() == 0
    assert PASSWORD not in ran.stderr + ran.stdout + pipeline.text
    pipeline.environment = {"MILLRACE_KAFKA_PASSWORD": PASSWORD}
    pipeline = pipeline.again().wait_ready()
    wait_for(lambda: pipeline.counter("stream:users_created", "results") >= 50, 60)
    assert pipeline.stop() == 0


def test_a_kafka_whose_certificate_nobody_trusts_is_told(guarded_log):
    ran = check(USERS, "--kafka", guarded_log, "--kafka-user", "ann", "--kafka-tls", "true",
                environment={"MILLRACE_KAFKA_PASSWORD": PASSWORD})
    assert ran.returncode == 1 and re.search(r"^kafka .*FAILED: .*certificate", ran.stderr, re.M), ran.stderr
    plain = check(USERS, "--kafka", guarded_log)
    assert plain.returncode == 1 and re.search(r"^kafka .*FAILED", plain.stderr, re.M)
    wrong = check(USERS, "--kafka", guarded_log, "--kafka-tls", "perhaps")
    assert wrong.returncode == 2 and "kafka.tls: perhaps" in wrong.stderr


def test_tables_are_reached_by_tls(run_pipeline, start, folder, certified):
    offset, (cert, key) = story.free_offset(), certified
    start("store", "--port-offset", offset, "--data", folder / "store")
    tables = Terminator(9042 + offset, cert, key)
    wait_for(lambda: socket.create_connection(("127.0.0.1", 9042 + offset), 1).close() is None)
    address = f"127.0.0.1:{tables.port}"
    assert check(USERS, "--cassandra", address, "--cassandra-tls-ca", cert).returncode == 0
    untrusted = check(USERS, "--cassandra", address, "--cassandra-tls", "true")
    assert untrusted.returncode == 1 and re.search(r"^cassandra .*FAILED: .*certificate", untrusted.stderr, re.M), untrusted.stderr
    taken = tables.taken
    pipeline = run_pipeline(USERS, arguments=["--cassandra", address, "--cassandra-tls-ca", cert]).wait_ready()
    wait_for(lambda: pipeline.counter("stream:users_created", "results") >= 50, 60)
    assert tables.taken > taken
    assert pipeline.stop() == 0


def test_rows_go_compressed_when_that_is_wished(run_pipeline, start, folder):
    offset = story.free_offset()
    start("store", "--port-offset", offset, "--data", folder / "store")
    wait_for(lambda: socket.create_connection(("127.0.0.1", 9042 + offset), 1).close() is None)
    seen = []

    class Tap(threading.Thread):
        """Passes bytes on, and keeps those that go to the tables."""

        def __init__(self):
            super().__init__(daemon=True)
            self.server = socket.create_server(("127.0.0.1", 0))
            self.port = self.server.getsockname()[1]

        def run(self):
            while True:
                client, _ = self.server.accept()
                other = socket.create_connection(("127.0.0.1", 9042 + offset))
                threading.Thread(target=self.copy, args=(client, other, seen), daemon=True).start()
                threading.Thread(target=self.copy, args=(other, client, []), daemon=True).start()

        @staticmethod
        def copy(source, sink, kept):
            try:
                while data := source.recv(65536):
                    kept.append(data)
                    sink.sendall(data)
            except OSError:
                pass
            sink.close()
    tap = Tap()
    tap.start()
    pipeline = run_pipeline(USERS, connections={"cassandra": f"127.0.0.1:{tap.port}"},
                            arguments=["--cassandra-compression", "lz4"]).wait_ready()
    wait_for(lambda: pipeline.counter("stream:users_created", "results") >= 50, 60)
    sent = b"".join(seen)
    assert b"COMPRESSION" in sent and b"lz4" in sent
    session, cluster = pipeline.tables()
    assert session.execute("SELECT count(*) FROM spark_streams.created_users").one()[0] >= 50
    cluster.shutdown()
    assert pipeline.stop() == 0
    wrong = check(USERS, "--cassandra", f"127.0.0.1:{tap.port}", "--cassandra-compression", "zip")
    assert wrong.returncode == 2 and "cassandra.compression: zip" in wrong.stderr

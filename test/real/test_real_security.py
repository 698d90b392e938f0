"""Genuine systems that let nobody in unseen: Kafka by SASL over TLS, Cassandra with roles and TLS."""
import re
import ssl
import subprocess

import pytest
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import Cluster

from kafka_stories import empty, grows
from source import whole_result
from story import BINARY, ROOT, free_offset, wait_for

PASSWORD = "passw0rd-nobody-may-see"


@pytest.fixture(scope="module")
def secrets(tmp_path_factory):
    """cert.pem of 127.0.0.1, key.pem, both in both.pem; a right and a wrong password in files."""
    folder = tmp_path_factory.mktemp("secrets")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", folder / "key.pem", "-days", "2",
                    "-out", folder / "cert.pem", "-subj", "/CN=node", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
                   check=True, capture_output=True)
    (folder / "both.pem").write_text((folder / "key.pem").read_text() + (folder / "cert.pem").read_text())
    (folder / "right").write_text(f"{PASSWORD}\n")
    (folder / "wrong").write_text(f"not-{PASSWORD}\n")
    (folder / "cassandra").write_text("cassandra\n")
    folder.chmod(0o755)
    return folder


def check(*arguments):
    done = subprocess.run([BINARY, "check", "pipelines/users.yaml", *map(str, arguments)], capture_output=True, text=True,
                          timeout=60, cwd=ROOT)
    assert PASSWORD not in done.stdout + done.stderr
    return done


# ---- Kafka ----

@pytest.fixture(scope="module")
def kafka(genuine, secrets):
    """PLAINTEXT for the judge; GUARDED for us: `guarded`."""
    port = 9392 + free_offset()
    login = "org.apache.kafka.common.security"
    settings = {"sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
                "listener.name.guarded.plain.sasl.jaas.config":
                    f'{login}.plain.PlainLoginModule required user_ann="{PASSWORD}";',
                "listener.name.guarded.scram-sha-512.sasl.jaas.config": f"{login}.scram.ScramLoginModule required;",
                "listener.name.guarded.ssl.keystore.type": "PEM",
                "listener.name.guarded.ssl.keystore.location": secrets / "both.pem"}
    one = genuine("kafka", listeners={"GUARDED": (port, "SASL_SSL")}, settings=settings)
    one.guarded = f"127.0.0.1:{port}"
    subprocess.run([BINARY, "config", "--alter", "--user", "ann", "--add-config", f"SCRAM-SHA-512=[password={PASSWORD}]",
                    "--bootstrap-server", one.address], check=True, timeout=60)
    return one


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "PLAIN"])
def test_the_result_is_the_embedded_one_on_a_kafka_by_sasl_and_tls(kafka, secrets, run_users, source, embedded, mechanism):
    empty(kafka)
    signs_in = ["--kafka-user", "ann", "--kafka-password-file", secrets / "right", "--kafka-sasl", mechanism,
                "--kafka-tls-ca", secrets / "cert.pem"]
    wait_for(lambda: check("--kafka", kafka.guarded, *signs_in).returncode == 0, 30)    # a new user takes a moment
    pipeline = run_users({"kafka": kafka.guarded}, *signs_in).wait_ready(120)
    pipeline.connections["kafka"] = kafka.address
    if mechanism == "SCRAM-SHA-512":
        assert whole_result(pipeline, source) == embedded
    else:
        grows(pipeline)
    assert PASSWORD not in pipeline.text + (pipeline.data / "millrace.log").read_text()
    assert pipeline.stop() == 0


def test_a_wrong_password_of_kafka_is_told(kafka, secrets, run_users):
    signs_in = ["--kafka-user", "ann", "--kafka-password-file", secrets / "wrong", "--kafka-tls-ca", secrets / "cert.pem"]
    ran = check("--kafka", kafka.guarded, *signs_in)
    assert ran.returncode == 1 and re.search(r"^kafka .*FAILED: .*SCRAM-SHA-512.*ann", ran.stderr, re.M), ran.stderr
    untrusted = check("--kafka", kafka.guarded, "--kafka-user", "ann", "--kafka-password-file", secrets / "right",
                      "--kafka-tls", "true")
    assert untrusted.returncode == 1 and re.search(r"^kafka .*FAILED: .*certificate", untrusted.stderr, re.M), untrusted.stderr
    pipeline = run_users({"kafka": kafka.guarded}, *signs_in)
    wait_for(lambda: re.search(r"not ready: .*SCRAM-SHA-512.*ann", pipeline.text), 60)
    assert pipeline.stop() == 0


# ---- Cassandra ----

@pytest.fixture(scope="module")
def cassandra(genuine, secrets):
    factory = {"class_name": "org.apache.cassandra.security.PEMBasedSslContextFactory"}
    return genuine("cassandra", settings={
        "authenticator": "PasswordAuthenticator", "authorizer": "CassandraAuthorizer",
        "client_encryption_options": {"enabled": True, "optional": False, "require_client_auth": True,
                                      "keystore": str(secrets / "both.pem"), "truststore": str(secrets / "cert.pem"),
                                      "ssl_context_factory": factory}})


def test_tables_of_a_cassandra_with_roles_and_certificates_on_both_sides(cassandra, secrets, run_users):
    ours = ["--cassandra-tls-ca", secrets / "cert.pem", "--cassandra-tls-cert", secrets / "both.pem"]
    password = ["--cassandra-user", "cassandra", "--cassandra-password-file", secrets / "cassandra"]
    signs_in = [*password, *ours, "--cassandra-compression", "lz4"]
    wait_for(lambda: check("--cassandra", cassandra.address, *signs_in).returncode == 0, 60)   # its first role takes a while
    wrong = check("--cassandra", cassandra.address, "--cassandra-user", "cassandra", "--cassandra-password-file",
                  secrets / "wrong", *ours)
    assert wrong.returncode == 1 and re.search(r"^cassandra .*FAILED: .*(username|password|credentials)", wrong.stderr,
                                               re.M | re.I), wrong.stderr
    untrusted = check("--cassandra", cassandra.address, "--cassandra-tls", "true")
    assert untrusted.returncode == 1 and re.search(r"^cassandra .*FAILED: .*certificate", untrusted.stderr, re.M)
    nameless = check("--cassandra", cassandra.address, *password, "--cassandra-tls-ca", secrets / "cert.pem")
    assert nameless.returncode == 1 and re.search(r"^cassandra .*FAILED: .*certificate", nameless.stderr, re.M), nameless.stderr
    pipeline = run_users({"cassandra": cassandra.address}, *signs_in).wait_ready(120)
    grows(pipeline)
    context = ssl.create_default_context(cafile=secrets / "cert.pem")
    context.check_hostname = False
    context.load_cert_chain(secrets / "both.pem")
    cluster = Cluster(["127.0.0.1"], port=cassandra.port(), ssl_context=context,
                      auth_provider=PlainTextAuthProvider("cassandra", "cassandra"))
    assert cluster.connect().execute("SELECT count(*) FROM spark_streams.created_users").one()[0] >= 50
    cluster.shutdown()
    assert pipeline.stop() == 0

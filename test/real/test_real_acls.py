"""Access rules: the stories of test/broker/test_broker_acls.py are told to a genuine Kafka with its authorizer, which is their
judge, and Kafka's own kafka-acls.sh to it and to us."""
import os
import subprocess
import sys
import uuid

import pytest

import packages
from servers import java
from story import ROOT, free_offset, open_folder

sys.path.insert(0, str(ROOT / "test/broker"))
from broker_stories import Broker  # noqa: E402
from certificates import certificate  # noqa: E402

USERS = ("root", "ann", "bob", "eve")
PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"


@pytest.fixture(scope="module")
def ruled(genuine, tmp_path_factory):
    """A genuine Kafka with rules: users sign in by SASL on one listener, and by their certificates on another."""
    folder, port = open_folder(tmp_path_factory.mktemp("certificates")), 9292 + free_offset()
    certificate(folder, "log", "DNS:localhost,IP:127.0.0.1")
    for name in ("root", "ann"):
        certificate(folder, name)
    (folder / "both.pem").write_text((folder / "log.key").read_text() + (folder / "log.pem").read_text())
    kafka = genuine("kafka", version="4", listeners={"SASL": (port, "SASL_PLAINTEXT"), "TLS": (port + 1, "SSL")}, settings={
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:root;User:CN=root,O=Stories;User:ANONYMOUS",    # the last for the controller's listener
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl.plain.sasl.jaas.config": PLAIN + "".join(f' user_{name}="secret"' for name in USERS) + ";",
        "listener.name.tls.ssl.keystore.type": "PEM", "listener.name.tls.ssl.keystore.location": folder / "both.pem",
        "listener.name.tls.ssl.truststore.type": "PEM", "listener.name.tls.ssl.truststore.location": folder / "ca.pem",
        "listener.name.tls.ssl.client.auth": "required"})
    kafka.environment = {"PEER": kafka.address, "PEER_ACLS": f"127.0.0.1:{port}", "PEER_TLS": f"127.0.0.1:{port + 1}",
                         "PEER_CERTIFICATES": str(folder)}
    return kafka


def test_a_genuine_kafka_tells_the_same_stories(ruled):
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test/broker/test_broker_acls.py"],
                          cwd=ROOT, env={**os.environ, **ruled.environment}, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-5000:]


@pytest.fixture(params=["ours", "genuine"])
def address(request, tmp_path):
    if request.param == "genuine":
        yield request.getfixturevalue("ruled").environment["PEER_ACLS"]
        return
    folder = open_folder(tmp_path)
    (folder / "users").write_text("".join(f"{name}:secret\n" for name in USERS))
    broker = Broker(folder, arguments=("--sasl", "PLAIN", "--users", folder / "users", "--acls", "--super-users", "User:root"))
    broker.client = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": "root",
                     "sasl.password": "secret"}
    broker.start()
    yield broker.address
    broker.end()


@pytest.mark.parametrize("jars", ["kafka", "kafka-4"])
def test_kafkas_own_command(address, jars, tmp_path):
    command = "org.apache.kafka.tools.AclCommand" if jars == "kafka-4" else "kafka.admin.AclCommand"
    names = {part: f"{part}-{uuid.uuid4().hex[:8]}" for part in ("orders", "billing", "tx")}

    def acls(*arguments, user="root", status=0):
        (tmp_path / user).write_text(f"security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.jaas.config={PLAIN} "
                                     f'username="{user}" password="secret";\n')
        done = subprocess.run([java(), "-Xmx128m", "-cp", f"{packages.install(jars)}/*", command, "--bootstrap-server", address,
                               "--command-config", tmp_path / user, *arguments], capture_output=True, text=True, timeout=120)
        assert done.returncode == status, done.stdout[-2000:] + done.stderr[-3000:]
        return done.stdout + done.stderr

    def known(*arguments):
        return sorted(line.strip() for line in acls("--list", *arguments).splitlines() if line.strip().startswith("("))
    topic = ("--topic", names["orders"])
    acls("--add", "--allow-principal", "User:ann", "--producer", *topic, "--transactional-id", names["tx"])
    acls("--add", "--allow-principal", "User:ann", "--consumer", *topic, "--group", names["billing"],
         "--resource-pattern-type", "prefixed")
    acls("--add", "--deny-principal", "User:bob", "--deny-host", "10.0.0.1", "--operation", "Write", *topic)
    by = "(principal=User:{}, host={}, operation={}, permissionType={})"
    allowed = [by.format("ann", "*", operation, "ALLOW") for operation in ("CREATE", "DESCRIBE", "WRITE")]
    denied = by.format("bob", "10.0.0.1", "WRITE", "DENY")
    assert known(*topic) == [*allowed, denied]
    assert known(*topic, "--principal", "User:bob") == [denied]
    assert known("--topic", names["orders"] + "-more", "--resource-pattern-type", "match") == [
        by.format("ann", "*", operation, "ALLOW") for operation in ("DESCRIBE", "READ")]
    assert known("--group", names["billing"], "--resource-pattern-type", "any") == [by.format("ann", "*", "READ", "ALLOW")]
    assert known("--transactional-id", names["tx"]) == [by.format("ann", "*", operation, "ALLOW")
                                                       for operation in ("DESCRIBE", "WRITE")]
    acls("--remove", "--force", "--deny-principal", "User:bob", "--deny-host", "10.0.0.1", "--operation", "Write", *topic)
    assert known(*topic) == allowed
    acls("--remove", "--force", *topic, "--resource-pattern-type", "any")
    assert known(*topic, "--resource-pattern-type", "match") == []
    assert "ClusterAuthorizationException" in acls("--list", user="eve", status=1)

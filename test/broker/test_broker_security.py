"""Who may come in: SASL, TLS and users, told by librdkafka, kafka-python, kcat and bare sockets."""
import base64
import json
import socket
import ssl
import struct
import subprocess
import time

import pytest
from broker_stories import PEER, Broker, Log, stories
from certificates import by_certificate, certificate, openssl
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import (AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialDeletion,
                                   UserScramCredentialUpsertion)
from kafka import KafkaProducer
from kafka.errors import KafkaError
from raw import Raw

if PEER:
    pytest.skip("stories about our own process and its options", allow_module_level=True)

MECHANISMS = "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER"


def signing_in(user, password, mechanism="SCRAM-SHA-256", protocol="SASL_PLAINTEXT", **more):
    return {"security.protocol": protocol, "sasl.mechanism": mechanism, "sasl.username": user,
            "sasl.password": password, **more}


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Issuer:
    """Signs tokens with an RSA key, and tells its public half as a JWKS file."""

    def __init__(self, folder, key_id="k1"):
        self.folder, self.key_id = folder, key_id
        openssl(folder, "genrsa", "-out", "issuer.key", "2048")
        openssl(folder, "rsa", "-in", "issuer.key", "-pubout", "-out", "issuer.pub")
        text = subprocess.run(["openssl", "rsa", "-in", "issuer.key", "-noout", "-modulus"], cwd=folder, check=True,
                              capture_output=True, text=True).stdout
        modulus = bytes.fromhex(text.strip().split("=")[1])
        (folder / "jwks.json").write_text(json.dumps({"keys": [
            {"kty": "RSA", "kid": key_id, "use": "sig", "n": b64url(modulus), "e": "AQAB"}]}))

    def token(self, subject, seconds=600, algorithm="RS256", **claims):
        header = {"alg": algorithm, "kid": self.key_id}
        claims = {"sub": subject, "exp": time.time() + seconds, "iss": "stories", "aud": ["log"], **claims}
        text = b64url(json.dumps(header).encode()) + "." + b64url(json.dumps(claims).encode())
        if algorithm == "none":
            return text + "."
        signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", "issuer.key"], cwd=self.folder,
                                   input=text.encode(), check=True, capture_output=True).stdout
        return text + "." + b64url(signature)


def with_token(token):
    return {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "OAUTHBEARER",
            "oauth_cb": lambda _: (token, time.time() + 600)}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A log that everybody signs in to; `ann` exists."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "users").write_text("# first users\nann:pencil, with = and :colon\nkat:mouse\n")
    broker = Broker(folder, arguments=("--sasl", MECHANISMS, "--users", folder / "users", "--token-keys",
                                       folder / "jwks.json", "--token-issuer", "stories", "--token-audience", "log"))
    broker.issuer = Issuer(folder)
    broker.client = signing_in("ann", "pencil, with = and :colon")
    broker.start()
    yield broker
    broker.end()


def expect_refused(address, config, seconds=10):
    """No client of these settings comes in."""
    errors = []
    producer = Producer({"bootstrap.servers": address, "error_cb": errors.append, "log_level": 0, **config})

    def told():
        producer.poll(0.1)
        return [e.str() for e in errors if e.name() in ("_AUTHENTICATION", "_SSL") or "SSL" in e.str()]
    stories.wait_for(told, seconds, 0)
    with pytest.raises(KafkaException):
        producer.list_topics(timeout=0.3)
    return told()[0]


def as_user(log, **client):
    other = Log(log.address)
    other.client = client
    return other


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_user_signs_in_by_every_mechanism(guarded, mechanism):
    log = as_user(guarded, **signing_in("ann", "pencil, with = and :colon", mechanism))
    topic = log.topic()
    log.produces(topic, range(100))
    assert log.reads(topic, 100) == [str(i) for i in range(100)]


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
@pytest.mark.parametrize("user, password", [("ann", "Pencil"), ("bob", "pencil, with = and :colon")])
def test_a_wrong_password_and_an_unknown_user_look_the_same(guarded, mechanism, user, password):
    text = expect_refused(guarded.address, signing_in(user, password, mechanism))
    assert f"invalid credentials with SASL mechanism {mechanism}" in text
    assert f'SASL {mechanism} as {user}: refused' in guarded.says
    assert password not in guarded.says


def test_who_does_not_sign_in_is_not_heard(guarded):
    with pytest.raises(KafkaException):
        AdminClient({"bootstrap.servers": guarded.address, "log_level": 0}).list_topics(timeout=1)
    assert "a request before authentication" in guarded.says


def test_kafka_python_signs_in_too(guarded):
    topic = guarded.topic()
    for mechanism in ("PLAIN", "SCRAM-SHA-512"):
        producer = KafkaProducer(bootstrap_servers=guarded.address, security_protocol="SASL_PLAINTEXT",
                                 sasl_mechanism=mechanism, sasl_plain_username="ann",
                                 sasl_plain_password="pencil, with = and :colon")
        producer.send(topic, mechanism.encode()).get(10)
        producer.close()
    assert guarded.reads(topic, 2) == ["PLAIN", "SCRAM-SHA-512"]
    with pytest.raises(KafkaError):
        KafkaProducer(bootstrap_servers=guarded.address, security_protocol="SASL_PLAINTEXT", sasl_mechanism="PLAIN",
                      sasl_plain_username="ann", sasl_plain_password="wrong", max_block_ms=2000,
                      bootstrap_timeout_ms=2000).send(topic, b"x").get(5)


def test_kcat_signs_in_too(guarded):
    topic = guarded.topic()
    arguments = [part for key, value in signing_in("kat", "mouse", "SCRAM-SHA-512").items()
                 for part in ("-X", f"{key}={value}")]
    subprocess.run(["kcat", "-b", guarded.address, *arguments, "-P", "-t", topic], input=b"one\ntwo\n", check=True,
                   timeout=30)
    assert guarded.reads(topic, 2) == ["one", "two"]


def test_users_are_made_changed_and_deleted_by_the_admin_protocol(guarded):
    admin = guarded.admin

    def alter(*alterations):
        return [future.exception(10) for future in admin.alter_user_scram_credentials(list(alterations)).values()]

    def upsert(password, mechanism=ScramMechanism.SCRAM_SHA_512, iterations=5000):
        return UserScramCredentialUpsertion("carl", ScramCredentialInfo(mechanism, iterations), password.encode())

    assert alter(upsert("first")) == [None]
    as_user(guarded, **signing_in("carl", "first", "SCRAM-SHA-512")).topic()
    as_user(guarded, **signing_in("carl", "first", "PLAIN")).topic()
    expect_refused(guarded.address, signing_in("carl", "first", "SCRAM-SHA-256"))  # has no such credential
    assert alter(upsert("second")) == [None]
    expect_refused(guarded.address, signing_in("carl", "first", "SCRAM-SHA-512"))
    found = admin.describe_user_scram_credentials(["carl", "ann", "nobody"])
    assert [(i.mechanism.name, i.iterations) for i in found["carl"].result(10).scram_credential_infos] == [
        ("SCRAM_SHA_512", 5000)]
    assert len(found["ann"].result(10).scram_credential_infos) == 2
    assert found["nobody"].exception(10).args[0].name() == "RESOURCE_NOT_FOUND"
    assert alter(upsert("weak", iterations=100))[0].args[0].name() == "UNACCEPTABLE_CREDENTIAL"
    guarded.kill()
    guarded.start()
    as_user(guarded, **signing_in("carl", "second", "SCRAM-SHA-512")).topic()  # it is on the disk
    assert alter(UserScramCredentialDeletion("carl", ScramMechanism.SCRAM_SHA_512)) == [None]
    assert alter(UserScramCredentialDeletion("carl", ScramMechanism.SCRAM_SHA_512))[0].args[0].name() == "RESOURCE_NOT_FOUND"
    expect_refused(guarded.address, signing_in("carl", "second", "SCRAM-SHA-512"))
    kept = (guarded.data / "broker" / "security").read_text()
    assert "carl" not in kept and "pencil" not in kept and "ann" in kept


def test_tokens_come_in_when_signed_and_in_time(guarded):
    issuer = guarded.issuer
    log = as_user(guarded, **with_token(issuer.token("tina")))
    topic = log.topic()
    log.produces(topic, ["by token"])
    assert log.reads(topic, 1) == ["by token"]
    for token, why in [(issuer.token("tina", seconds=-100), "expired"),
                       (issuer.token("tina", iss="another"), "another issuer"),
                       (issuer.token("tina", aud="other"), "another audience"),
                       (issuer.token("tina", algorithm="none"), "not signed"),
                       (issuer.token("tina")[:-8] + "AAAAAAAA", "no key that is known"),
                       (issuer.token("tina", exp=None), "no time of expiry"),
                       ("a.b.c", "not a JSON Web Token")]:
        with Raw(guarded.port) as raw:
            assert raw.handshake("OAUTHBEARER") == 0
            assert raw.token(f"n,,\x01auth=Bearer {token}\x01\x01".encode()) == (0, b'{"status":"invalid_token"}')
            assert raw.token(b"\x01")[0] == 58
        assert why in guarded.says
    expect_refused(guarded.address, with_token(issuer.token("tina", seconds=-100)))


def test_a_session_is_renewed_on_the_same_connection(tmp_path):
    (tmp_path / "users").write_text("ann:pencil\n")
    broker = Broker(tmp_path, arguments=("--sasl", "SCRAM-SHA-256", "--users", tmp_path / "users", "--sasl-session", "2"))
    broker.client = signing_in("ann", "pencil")
    broker.start()
    try:
        topic, errors = broker.topic(), []
        producer = Producer({"bootstrap.servers": broker.address, "error_cb": errors.append, **broker.client})
        until = time.monotonic() + 5
        while time.monotonic() < until:
            producer.produce(topic, b"x")
            assert producer.flush(10) == 0
            time.sleep(0.2)
        assert errors == [] and "session of" not in broker.says
        # one that never renews is closed at its next request after the end
        with Raw(broker.port) as raw:
            raw.scram("ann", "pencil")
            assert raw.metadata()
            stories.wait_for(lambda: not raw.metadata(), 10, 0.2)
        stories.wait_for(lambda: "the session of User:ann has ended" in broker.says, 5)
    finally:
        broker.end()


def test_the_old_way_without_saslauthenticate_still_works(guarded):
    with Raw(guarded.port) as raw:
        assert raw.handshake("SCRAM-SHA-256", version=0) == 0

        def bare(data):
            raw.frame(data)
            return 0, raw.answer()
        assert raw.scram("ann", "pencil, with = and :colon", bare)[1].startswith(b"v=")
        assert raw.metadata()
    with Raw(guarded.port) as raw:
        assert raw.handshake("PLAIN", version=0) == 0
        raw.frame(b"\0ann\0wrong")
        assert raw.answer() is None


@pytest.mark.parametrize("tokens", [
    [b""], [b"\0"], [b"n,,n=ann,r=x"], [b"\0ann\0pencil"], [b"n,,n=ann,r=" + b"x" * 5000], [b"\xff" * 100000],
    [b"n,,n=ann,r=x", b"c=biws,r=x,p=AAAA"], [b"n,,n=ann,r=x", b""], [b"n,,n=ann,r=x", b"c=" + b"A" * 400000 + b",r=x,p=x"]])
def test_nonsense_in_place_of_tokens_is_refused_and_the_others_go_on(guarded, tokens):
    for mechanism in MECHANISMS.split(","):
        with Raw(guarded.port) as raw:
            assert raw.handshake(mechanism) == 0
            for token in tokens:
                answer = raw.token(token)
                if answer is None or answer[0] != 0:
                    break
            assert raw.metadata() is False
    assert guarded.admin.list_topics(timeout=10)


def test_before_authentication_requests_are_small_and_few(guarded):
    with Raw(guarded.port) as raw:
        raw.socket.sendall(struct.pack(">i", 50_000_000))
        assert raw.answer() is None
    with Raw(guarded.port) as raw:
        assert raw.handshake("GSSAPI") == 33
        assert raw.answer() is None
    with Raw(guarded.port) as raw:
        assert raw.handshake("PLAIN") == 0
        assert raw.metadata() is False


# ---- TLS ----

@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    """A log that speaks TLS and knows its clients by their certificates."""
    folder = tmp_path_factory.mktemp("sealed")
    certificate(folder, "log", "DNS:localhost,IP:127.0.0.1")
    certificate(folder, "ann")
    certificate(folder, "eve", ca="other")
    broker = Broker(folder, arguments=("--tls-cert", folder / "log.pem", "--tls-key", folder / "log.key",
                                       "--tls-client-ca", folder / "ca.pem"))
    broker.client = by_certificate(folder, "ann")
    broker.start()
    yield broker
    broker.end()


def test_a_client_with_a_certificate_comes_in_by_tls(sealed):
    topic = sealed.topic()
    sealed.produces(topic, ["x" * 500_000] + list(range(5000)))
    assert sealed.reads(topic, 5001)[1:] == [str(i) for i in range(5000)]


def test_certificates_of_strangers_are_refused(sealed):
    folder = sealed.folder
    expect_refused(sealed.address, {"security.protocol": "SSL", "ssl.ca.location": str(folder / "ca.pem")})
    expect_refused(sealed.address, by_certificate(folder, "eve"))
    text = expect_refused(sealed.address, {**by_certificate(folder, "ann"), "ssl.ca.location": str(folder / "other.pem")})
    assert "certificate verify failed" in text
    assert "the client has shown no certificate" in sealed.says


def test_who_speaks_no_tls_is_dropped_and_logged(sealed):
    with Raw(sealed.port) as raw:
        raw.frame(struct.pack(">hhih", 18, 0, 7, -1))
        while True:  # an alert, then the end
            try:
                if not raw.socket.recv(100):
                    break
            except ConnectionResetError:
                break
    stories.wait_for(lambda: "the client does not speak TLS" in sealed.says, 10)


def test_tls_and_sasl_go_together(tmp_path):
    certificate(tmp_path, "log", "DNS:localhost,IP:127.0.0.1")
    (tmp_path / "users").write_text("ann:pencil\n")
    broker = Broker(tmp_path, arguments=("--tls-cert", tmp_path / "log.pem", "--tls-key", tmp_path / "log.key",
                                         "--sasl", "PLAIN", "--users", tmp_path / "users", "--conns-per-address", "4"))
    broker.client = signing_in("ann", "pencil", "PLAIN", "SASL_SSL", **{"ssl.ca.location": str(tmp_path / "ca.pem")})
    broker.start()
    try:
        topic = broker.topic()
        broker.produces(topic, range(10))
        context = ssl.create_default_context(cafile=tmp_path / "ca.pem")
        held = []
        for _ in range(6):  # a fifth connection from one address is closed at once
            plain = socket.create_connection(("127.0.0.1", broker.port), 10)
            try:
                held.append(context.wrap_socket(plain, server_hostname="localhost"))
            except OSError:
                break
        assert len(held) < 5 and "refused a connection of 127.0.0.1" in broker.says
        for one in held:
            one.close()
    finally:
        broker.end()


def test_options_that_do_not_fit_are_told_before_anything_starts(start, folder):
    def says(*arguments):
        process = start("broker", "--data", folder / "x", "--port", 0, *arguments)
        assert process.process.wait(20) == 2
        return process.text

    assert "expected PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER" in says("--sasl", "PLAIN,KERBEROS")
    assert "need --tls-cert" in says("--tls-key", "x")
    assert "OAUTHBEARER needs the keys" in says("--sasl", "OAUTHBEARER")
    assert "say --insecure" in says("--host", "0.0.0.0")
    (folder / "users").write_text("ann\n")
    assert "expected user:password" in says("--sasl", "PLAIN", "--users", folder / "users")

"""Who may do what: access rules told, changed and obeyed. `./dev real acls` tells the stories to a genuine Kafka with its
authorizer: PEER_ACLS=host:port (README.md)."""
import contextlib
import functools
import os
import pathlib
import struct
import uuid

import pytest
from broker_stories import PEER, Broker, Log, stories, tool
from confluent_kafka import Consumer, ElectionType, KafkaError, KafkaException, Producer, TopicCollection, TopicPartition
from certificates import by_certificate, certificate
from confluent_kafka.admin import (AclBinding, AclBindingFilter, AclOperation, AclPermissionType, ConfigResource,
                                   NewPartitions, NewTopic, ResourcePatternType, ResourceType, ScramCredentialInfo,
                                   ScramMechanism, UserScramCredentialDeletion, UserScramCredentialUpsertion)
from kafka import KafkaAdminClient
from kafka import TopicPartition as PythonPartition
from kafka.admin import ACL, AbortTransactionSpec, ACLFilter, ACLOperation, ACLPermissionType, ACLResourcePatternType
from kafka.admin import ResourcePattern as PythonPattern
from kafka.admin import ResourcePatternFilter
from kafka.admin import ResourceType as PythonType
from kafka.errors import (ClusterAuthorizationFailedError, GroupAuthorizationFailedError, NoError, SecurityDisabledError,
                          TopicAuthorizationFailedError)
from raw import Raw

PEER_ACLS = os.environ.get("PEER_ACLS")
if PEER and not PEER_ACLS:
    pytest.skip("stories about a log with access rules: PEER_ACLS names one", allow_module_level=True)

OPTIONS = ("--sasl", "PLAIN", "--acls", "--super-users", "User:root")
USERS = "root:secret\nann:secret\nbob:secret\n"


class User(Log):
    """A user's own way to a log, with one admin client for all that it asks."""

    @functools.cached_property
    def admin(self):
        return super().admin


@functools.cache
def user_of(address, name):
    other = User(address)
    other.client = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": name,
                    "sasl.password": "secret"}
    return other


def user(log, name):
    return user_of(log.address, name)


@pytest.fixture(scope="module")
def ruled(tmp_path_factory):
    if PEER_ACLS:
        yield user(Log(PEER_ACLS), "root")
        return
    folder = tmp_path_factory.mktemp("ruled")
    (folder / "users").write_text(USERS)
    broker = Broker(folder, arguments=(*OPTIONS, "--users", folder / "users"))
    broker.client = user(broker, "root").client
    broker.start()
    yield broker
    broker.end()


@pytest.fixture
def root(ruled):
    """A log without rules, as its super user sees it."""
    forget(ruled)
    return user(ruled, "root")


def forget(log):
    everything = AclBindingFilter(ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY,
                                  AclPermissionType.ANY)
    for future in user(log, "root").admin.delete_acls([everything]).values():
        future.result(20)
    settle(log, 0)


def rules(log, **more):
    asked = {"restype": ResourceType.ANY, "name": None, "resource_pattern_type": ResourcePatternType.ANY,
             "principal": None, "host": None, "operation": AclOperation.ANY, "permission_type": AclPermissionType.ANY,
             **more}
    return user(log, "root").admin.describe_acls(AclBindingFilter(**asked)).result(20)


@contextlib.contextmanager
def python_admin(log, name=None):
    login = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", "sasl_plain_username": name,
             "sasl_plain_password": "secret"} if name else {}
    client = KafkaAdminClient(bootstrap_servers=log.address, **login)
    try:
        yield client
    finally:
        client.close()


def rules_told(log, name=None):
    """All rules, or the error, as kafka-python tells them (confluent-kafka keeps the error to itself)."""
    with python_admin(log, name) as client:
        return client.describe_acls(ACLFilter(None, None, ACLOperation.ANY, ACLPermissionType.ANY,
                                              ResourcePatternFilter(PythonType.ANY, None, ACLResourcePatternType.ANY)))


def settle(log, count):
    """A genuine Kafka obeys a rule a moment after it has taken it."""
    stories.wait_for(lambda: len(rules(log)) == count, 20)


def rule(kind, name, operation, who="ann", permission="ALLOW", pattern="LITERAL", host="*"):
    return AclBinding(ResourceType[kind], name, ResourcePatternType[pattern], f"User:{who}", host,
                      AclOperation[operation], AclPermissionType[permission])


def say(log, *more):
    before = len(rules(log))
    for future in user(log, "root").admin.create_acls(list(more)).values():
        future.result(20)
    settle(log, before + len(more))


def code_of(done):
    with pytest.raises(KafkaException) as trouble:
        done()
    return trouble.value.args[0].code()


def produced(log, topic, **config):
    """The error of one record's delivery, or None."""
    told = []
    producer = log.producer(**{"message.timeout.ms": 8000, **config})
    try:
        producer.produce(topic, b"x", on_delivery=lambda error, _: told.append(error))
        producer.flush(10)
    except KafkaException as trouble:  # an idempotent producer ends with its first fatal error
        return trouble.args[0].code()
    return told[0].code() if told and told[0] else None


def consumed(log, topic, group):
    """The first error that a consumer tells, or None once it has a record."""
    consumer = log.consumer(topic, group=group)
    try:
        told = []

        def heard():
            told.extend(consumer.consume(1, 0.2))
            return told
        stories.wait_for(heard, 20, 0)
        return told[0].error().code() if told[0].error() else None
    finally:
        consumer.close()


def test_rules_are_made_told_and_removed_by_filters(root):
    mine = [rule("TOPIC", "orders", "READ"), rule("TOPIC", "ord", "WRITE", pattern="PREFIXED"),
            rule("TOPIC", "*", "DESCRIBE", who="bob"), rule("GROUP", "orders", "READ", permission="DENY"),
            rule("BROKER", "kafka-cluster", "CREATE", host="10.0.0.1"),
            rule("TRANSACTIONAL_ID", "tx", "WRITE")]
    say(root, *mine)
    assert set(rules(root)) == set(mine)
    for future in root.admin.create_acls(mine[:1]).values():
        future.result(20)  # said twice is said once
    assert len(rules(root)) == len(mine)
    assert set(rules(root, restype=ResourceType.TOPIC, name="orders",
                     resource_pattern_type=ResourcePatternType.MATCH)) == set(mine[:3])
    assert rules(root, restype=ResourceType.TOPIC, name="orders",
                 resource_pattern_type=ResourcePatternType.LITERAL) == mine[:1]
    assert rules(root, resource_pattern_type=ResourcePatternType.PREFIXED) == [mine[1]]
    assert rules(root, principal="User:bob") == [mine[2]]
    assert rules(root, permission_type=AclPermissionType.DENY) == [mine[3]]
    assert rules(root, host="10.0.0.1") == [mine[4]]
    assert rules(root, operation=AclOperation.ALTER) == []
    gone = root.admin.delete_acls([AclBindingFilter(ResourceType.TOPIC, "orders", ResourcePatternType.MATCH, None,
                                                    None, AclOperation.ANY, AclPermissionType.ANY)])
    assert set(list(gone.values())[0].result(20)) == set(mine[:3])
    settle(root, 3)
    assert set(rules(root)) == set(mine[3:])


def test_a_rule_that_means_nothing_is_refused(root):
    wrong = AclBinding(ResourceType.TOPIC, "orders", ResourcePatternType.LITERAL, "ann", "*", AclOperation.READ,
                       AclPermissionType.ALLOW)
    assert code_of(list(root.admin.create_acls([wrong]).values())[0].result) == KafkaError.INVALID_REQUEST
    assert rules(root) == []


def test_so_many_rules_and_no_more(root):
    if PEER_ACLS:
        pytest.skip("Kafka keeps as many as fit")
    rules = [AclBinding(ResourceType.TOPIC, f"many-{number}", ResourcePatternType.LITERAL, "User:ann", "*", AclOperation.READ,
                        AclPermissionType.ALLOW) for number in range(5001)]
    refused = []
    for at in range(0, len(rules), 1000):
        for answer in root.admin.create_acls(rules[at:at + 1000]).values():
            try:
                answer.result(30)
            except KafkaException as error:
                refused.append(error.args[0].name())
    assert refused == ["POLICY_VIOLATION"]


def test_kafka_python_makes_and_tells_rules(root):
    with python_admin(root, "root") as client:
        made = ACL("User:ann", "*", ACLOperation.READ, ACLPermissionType.ALLOW,
                   PythonPattern(PythonType.TOPIC, "orders"))
        assert client.create_acls([made])["succeeded"] == [made]
        settle(root, 1)
        found, error = client.describe_acls(ACLFilter("User:ann", None, ACLOperation.ANY, ACLPermissionType.ANY,
                                                      PythonPattern(PythonType.TOPIC, "orders")))
        assert found == [made]


def test_nothing_is_allowed_that_no_rule_allows(root):
    topic, ann = root.topic(), user(root, "ann")
    root.produces(topic, ["seen"])
    assert produced(ann, topic) == KafkaError.TOPIC_AUTHORIZATION_FAILED
    assert topic not in ann.admin.list_topics(timeout=10).topics
    assert ann.admin.list_topics(topic, timeout=10).topics[topic].error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    assert code_of(lambda: list(ann.admin.create_topics([NewTopic(topic + "-2", 1)]).values())[0].result(20)) == \
        KafkaError.TOPIC_AUTHORIZATION_FAILED
    assert code_of(lambda: list(ann.admin.delete_topics([topic]).values())[0].result(20)) == \
        KafkaError.TOPIC_AUTHORIZATION_FAILED
    assert code_of(lambda: list(ann.admin.create_partitions([NewPartitions(topic, 5)]).values())[0].result(20)) == \
        KafkaError.TOPIC_AUTHORIZATION_FAILED
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    assert code_of(lambda: list(ann.admin.describe_configs([resource]).values())[0].result(20)) == \
        KafkaError.TOPIC_AUTHORIZATION_FAILED
    node = ConfigResource(ConfigResource.Type.BROKER, "1")
    assert code_of(lambda: list(ann.admin.describe_configs([node]).values())[0].result(20)) == \
        KafkaError.CLUSTER_AUTHORIZATION_FAILED
    with pytest.raises(ClusterAuthorizationFailedError):
        rules_told(root, "ann")
    assert code_of(lambda: list(ann.admin.create_acls([rule("TOPIC", topic, "READ")]).values())[0].result(20)) == \
        KafkaError.CLUSTER_AUTHORIZATION_FAILED
    assert ann.admin.list_consumer_groups().result(20).valid == []
    assert root.reads(topic, 1) == ["seen"]


def test_a_reader_needs_the_topic_and_the_group(root):
    topic, ann, group = root.topic(), user(root, "ann"), f"mine-{uuid.uuid4().hex[:8]}"
    root.produces(topic, ["seen"])
    say(root, rule("TOPIC", topic, "READ"))
    assert consumed(ann, topic, group) == KafkaError.GROUP_AUTHORIZATION_FAILED
    say(root, rule("GROUP", "mine-", "READ", pattern="PREFIXED"))
    assert consumed(ann, topic, group) is None
    assert produced(ann, topic) == KafkaError.TOPIC_AUTHORIZATION_FAILED
    assert [row.group_id for row in ann.admin.list_consumer_groups().result(20).valid] == [group]
    assert code_of(lambda: list(ann.admin.delete_consumer_groups([group]).values())[0].result(20)) == \
        KafkaError.GROUP_AUTHORIZATION_FAILED


def test_a_right_that_is_taken_away_ends_a_reader_in_the_midst(root):
    topic, ann = root.topic(), user(root, "ann")
    root.produces(topic, ["one"])
    say(root, rule("TOPIC", topic, "READ"))
    consumer = Consumer({"bootstrap.servers": ann.address, "group.id": "none", "enable.auto.commit": False, **ann.client})
    consumer.assign([TopicPartition(topic, 0, 0)])
    told = []

    def hears(what):
        return stories.wait_for(lambda: told.extend(consumer.consume(1, 0.2)) or any(map(what, told)), 20, 0)
    hears(lambda message: not message.error())
    forget(root)
    root.produces(topic, ["two"])
    hears(lambda message: message.error() and message.error().code() == KafkaError.TOPIC_AUTHORIZATION_FAILED)
    if not PEER_ACLS:  # Kafka lets a fetch that waits already have it
        assert [message.value() for message in told if not message.error()] == [b"one"]
    consumer.close()


def test_a_deny_wins_and_rules_know_prefixes_hosts_and_everybody(root):
    topics, ann, bob = [root.topic() for _ in range(3)], user(root, "ann"), user(root, "bob")
    say(root, rule("TOPIC", "*", "WRITE", who="*"), rule("TOPIC", topics[0], "WRITE", permission="DENY"),
        rule("TOPIC", topics[1][:-1], "ALL", who="bob", permission="DENY", pattern="PREFIXED"),
        rule("TOPIC", topics[2], "WRITE", permission="DENY", host="10.1.2.3"))
    denied = KafkaError.TOPIC_AUTHORIZATION_FAILED
    assert [produced(ann, topic) for topic in topics] == [denied, None, None]
    assert [produced(bob, topic) for topic in topics] == [None, denied, None]


def test_a_producer_is_told_which_of_its_topics_it_may_not_write(root):
    good, bad, ann = root.topic(), root.topic(), user(root, "ann")
    say(root, rule("TOPIC", good, "WRITE"), rule("TOPIC", bad, "DESCRIBE"))
    told = {}
    producer = ann.producer(**{"linger.ms": 200})
    for topic in (good, bad):
        producer.produce(topic, b"x", on_delivery=lambda error, message: told.update(
            {message.topic(): error and error.code()}))
    producer.flush(20)
    assert told == {good: None, bad: KafkaError.TOPIC_AUTHORIZATION_FAILED}


def test_topics_made_need_create_and_made_by_use_do_too(root):
    ann, name = user(root, "ann"), f"made-{uuid.uuid4().hex[:8]}"
    say(root, rule("TOPIC", "made-", "CREATE", pattern="PREFIXED"))
    list(ann.admin.create_topics([NewTopic(name, 1)]).values())[0].result(20)
    say(root, rule("TOPIC", "used-", "WRITE", pattern="PREFIXED"))
    assert produced(ann, f"used-{name}") in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError._UNKNOWN_TOPIC)
    assert f"used-{name}" not in root.admin.list_topics(timeout=10).topics
    say(root, rule("BROKER", "kafka-cluster", "CREATE"))
    list(ann.admin.create_topics([NewTopic(f"other-{name}", 1)]).values())[0].result(20)


def test_transactions_need_their_id(root):
    topic, ann = root.topic(), user(root, "ann")
    say(root, rule("TOPIC", topic, "WRITE"))

    def transaction():
        producer = Producer({"bootstrap.servers": ann.address, "transactional.id": "tx-1", **ann.client})
        producer.init_transactions(15)
        producer.begin_transaction()
        producer.produce(topic, b"whole")
        producer.commit_transaction(15)
    assert code_of(transaction) == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    say(root, rule("TRANSACTIONAL_ID", "tx-", "WRITE", pattern="PREFIXED"))
    transaction()
    assert root.reads(topic, 1) == ["whole"]


def test_an_idempotent_producer_needs_any_topic(root):
    topic, ann = root.topic(), user(root, "ann")
    say(root, rule("TOPIC", topic, "DESCRIBE"))
    assert produced(ann, topic, **{"enable.idempotence": True}) == KafkaError.CLUSTER_AUTHORIZATION_FAILED
    say(root, rule("TOPIC", topic, "WRITE"))
    assert produced(ann, topic, **{"enable.idempotence": True}) is None


def test_leaders_are_elected_by_who_may_alter_the_cluster(root):
    topic, ann = root.topic(), user(root, "ann")

    def elected():
        try:
            return list(ann.admin.elect_leaders(ElectionType.PREFERRED, [TopicPartition(topic, 0)]).result(20).values())[0].code()
        except KafkaException as trouble:
            return trouble.args[0].code()
    assert elected() == KafkaError.CLUSTER_AUTHORIZATION_FAILED
    say(root, rule("BROKER", "kafka-cluster", "ALTER"))
    assert elected() == KafkaError.ELECTION_NOT_NEEDED


def test_records_are_deleted_by_who_may(root):
    topic, ann = root.topic(), user(root, "ann")
    root.produces(topic, ["one", "two"])

    def deletes():
        return list(ann.admin.delete_records([TopicPartition(topic, 0, 1)]).values())[0].result(20).low_watermark
    say(root, rule("TOPIC", topic, "WRITE"), rule("TOPIC", topic, "READ"))
    assert code_of(deletes) == KafkaError.TOPIC_AUTHORIZATION_FAILED
    say(root, rule("TOPIC", topic, "DELETE"))
    assert deletes() == 1


def test_passwords_are_changed_by_who_may_alter_the_cluster(root):
    ann, name = user(root, "ann"), f"carl-{uuid.uuid4().hex[:8]}"

    def alters(alteration):
        return list(ann.admin.alter_user_scram_credentials([alteration]).values())[0].result(20)
    upsertion = UserScramCredentialUpsertion(name, ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096), b"pencil")
    deletion = UserScramCredentialDeletion(name, ScramMechanism.SCRAM_SHA_256)
    say(root, rule("BROKER", "kafka-cluster", "DESCRIBE"), rule("BROKER", "kafka-cluster", "ALTER_CONFIGS"))
    for alteration in (upsertion, deletion):
        assert code_of(lambda: alters(alteration)) == KafkaError.CLUSTER_AUTHORIZATION_FAILED
    assert code_of(lambda: root.admin.describe_user_scram_credentials([name])[name].result(20)) == \
        KafkaError.RESOURCE_NOT_FOUND
    say(root, rule("BROKER", "kafka-cluster", "ALTER"))
    alters(upsertion)
    alters(deletion)


def test_offsets_of_a_group_are_deleted_by_who_may(root):
    topic, ann, group = root.topic(), user(root, "ann"), f"g-{uuid.uuid4().hex[:8]}"
    consumer = root.consumer(group=group)
    consumer.commit(offsets=[TopicPartition(topic, 0, 0)], asynchronous=False)
    consumer.close()
    place = PythonPartition(topic, 0)
    with python_admin(root, "ann") as client:
        say(root, rule("GROUP", group, "READ"), rule("TOPIC", topic, "WRITE"))
        with pytest.raises(GroupAuthorizationFailedError):
            client.delete_group_offsets(group, [place])
        say(root, rule("GROUP", group, "DELETE"))
        assert client.delete_group_offsets(group, [place]) == {place: TopicAuthorizationFailedError}
        say(root, rule("TOPIC", topic, "READ"))
        assert client.delete_group_offsets(group, [place]) == {place: NoError}


@pytest.mark.parametrize("operation", ["CLUSTER_ACTION", "ALTER"])
def test_a_transaction_is_ended_by_hand_by_who_may(root, operation):
    topic, ann = root.topic(), user(root, "ann")
    producer = root.producer(transactional_id=f"tx-{uuid.uuid4().hex[:8]}")
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(topic, b"open")
    assert producer.flush(20) == 0
    place = PythonPartition(topic, 0)
    with python_admin(root, "root") as client:
        held = list(client.describe_producers([place])[place].active_producers)[0]
    spec = AbortTransactionSpec(place, held.producer_id, held.producer_epoch)
    with python_admin(root, "ann") as client:
        say(root, rule("TOPIC", topic, "ALL"), rule("BROKER", "kafka-cluster", "DESCRIBE"))
        with pytest.raises(ClusterAuthorizationFailedError):
            client.abort_transaction(spec)
        say(root, rule("BROKER", "kafka-cluster", operation))
        client.abort_transaction(spec)
    root.produces(topic, ["after"])
    assert root.reads(topic, 1, isolation_level="read_committed") == ["after"]


def test_who_hears_no_answers_is_told_by_the_end_of_the_connection(root):
    topic, ann = root.topic(), user(root, "ann")
    name, record = topic.encode(), b"not looked at"
    body = struct.pack(">hhii", -1, 0, 1000, 1) + struct.pack(">h", len(name)) + name + \
        struct.pack(">iii", 1, 0, len(record)) + record
    with Raw(int(root.address.rsplit(":", 1)[1])) as raw:
        assert raw.handshake("PLAIN") == 0
        assert raw.token(b"\0ann\0secret")[0] == 0
        assert raw.ask(0, 3, body) is None
    say(root, rule("TOPIC", topic, "WRITE"))
    assert produced(ann, topic, acks=0) is None
    assert root.reads(topic, 1) == ["x"]


# ---- users that are known by their certificates ----

@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    """A log that asks for certificates; `root` is its super user. PEER_TLS=host:port names a genuine one, and
    PEER_CERTIFICATES the folder of its authority and of its clients' certificates."""
    if os.environ.get("PEER_TLS"):
        log = Log(os.environ["PEER_TLS"])
        log.folder = pathlib.Path(os.environ["PEER_CERTIFICATES"])
        yield log
        return
    if PEER_ACLS:
        pytest.skip("PEER_TLS names no log")
    folder = tmp_path_factory.mktemp("sealed")
    certificate(folder, "log", "DNS:localhost,IP:127.0.0.1")
    for name in ("root", "ann"):
        certificate(folder, name)
    broker = Broker(folder, arguments=("--tls-cert", folder / "log.pem", "--tls-key", folder / "log.key", "--tls-client-ca",
                                       folder / "ca.pem", "--acls", "--super-users", "User:CN=root,O=Stories"))
    broker.client = by_certificate(folder, "root")
    broker.start()
    yield broker
    broker.end()


def test_a_certificate_s_subject_is_its_principal(sealed):
    def known(name):
        log = Log(sealed.address)
        log.client = by_certificate(sealed.folder, name)
        return log
    root, ann, other = known("root"), known("ann"), f"other-{uuid.uuid4().hex[:8]}"
    topic = root.topic()
    assert produced(ann, topic) == KafkaError.TOPIC_AUTHORIZATION_FAILED
    wanted = [AclBinding(ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, principal, "*", AclOperation.WRITE,
                         AclPermissionType.ALLOW) for principal in ("User:ann", "User:O=Stories,CN=ann")]
    for future in root.admin.create_acls(wanted).values():
        future.result(20)
    assert produced(ann, topic) == KafkaError.TOPIC_AUTHORIZATION_FAILED
    for future in root.admin.create_acls([rule("TOPIC", topic, "WRITE", who="CN=ann,O=Stories")]).values():
        future.result(20)
    stories.wait_for(lambda: produced(ann, topic) is None, 20)
    assert code_of(lambda: list(ann.admin.create_topics([NewTopic(other, 1)]).values())[0].result(20)) == \
        KafkaError.TOPIC_AUTHORIZATION_FAILED


# ---- millrace acl ----

LOGIN = ("security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.jaas.config=org.apache.kafka.common.security.plain."
         'PlainLoginModule required username="{}" password="secret";\n')


@pytest.fixture
def acl(root, tmp_path):
    """Our own command, as root signs in; `user` names another."""
    def run(*arguments, user="root", **options):
        (tmp_path / user).write_text(LOGIN.format(user))
        return tool(root, "acl", *arguments, "--command-config", tmp_path / user, **options)
    return run


def told_rules(text):
    """Resources and their rules, as kafka-acls.sh prints them and we do."""
    found = {}
    for line in text.splitlines():
        if line.startswith("Current ACLs for resource `ResourcePattern("):
            resource = line.split("(", 1)[1].split(")`")[0]
        elif line.startswith("\t("):
            found.setdefault(resource, set()).add(line.strip("\t()"))
    return found


def test_our_command_adds_tells_and_removes_rules(root, acl):
    said = acl("--add", "--allow-principal", "User:ann", "--allow-principal=User:bob", "--operation", "Read", "--operation",
               "describeconfigs", "--topic", "orders", "--topic", "bills", "--allow-host", "10.0.0.1")
    assert said.startswith("Adding ACLs for resource `ResourcePattern(resourceType=TOPIC, name=orders, patternType=LITERAL)`: \n"
                           " \t(principal=User:ann, host=10.0.0.1, operation=READ, permissionType=ALLOW)\n")
    settle(root, 8)
    assert set(rules(root)) == {rule("TOPIC", name, operation, who=who, host="10.0.0.1") for name in ("orders", "bills")
                                for operation in ("READ", "DESCRIBE_CONFIGS") for who in ("ann", "bob")}
    acl("--add", "--deny-principal", "User:eve", "--topic", "ord", "--resource-pattern-type", "PREFIXED")
    acl("--add", "--allow-principal", "User:ann", "--cluster", "--operation", "Create")
    acl("--add", "--allow-principal", "User:*", "--topic", "*", "--operation", "Describe")
    settle(root, 11)
    ann = "principal=User:ann, host=10.0.0.1, operation={}, permissionType=ALLOW"
    assert told_rules(acl("--list", "--topic", "orders", "--principal", "User:ann")) == \
        {"resourceType=TOPIC, name=orders, patternType=LITERAL": {ann.format("READ"), ann.format("DESCRIBE_CONFIGS")}}
    assert len(told_rules(acl("--list"))) == 5
    assert set(told_rules(acl("--list", "--topic", "orders", "--resource-pattern-type", "match"))) == {
        f"resourceType=TOPIC, name={name}, patternType={pattern}"
        for name, pattern in (("orders", "LITERAL"), ("ord", "PREFIXED"), ("*", "LITERAL"))}
    assert told_rules(acl("--list", "--topic", "ord")) == {}
    assert told_rules(acl("--list", "--cluster")) == {"resourceType=CLUSTER, name=kafka-cluster, patternType=LITERAL": {
        "principal=User:ann, host=*, operation=CREATE, permissionType=ALLOW"}}
    acl("--remove", "--allow-principal", "User:ann", "--allow-host", "10.0.0.1", "--operation", "Read", "--topic", "orders",
        "--force")
    settle(root, 10)
    assert rule("TOPIC", "orders", "READ", host="10.0.0.1") not in rules(root)
    assert acl("--remove", "--topic", "orders", given="n\n") == ""
    assert "nobody has said yes" in acl("--remove", "--topic", "orders", status=2)
    assert len(rules(root)) == 10
    assert acl("--remove", "--topic", "orders", given="y\n").count("Removed an ACL") == 3
    acl("--remove", "--topic", "ord", "--resource-pattern-type", "any", "--force")
    settle(root, 6)


def test_our_command_gives_a_producer_and_a_consumer_what_they_need(root, acl):
    topic, ann, group = root.topic(), user(root, "ann"), f"g-{uuid.uuid4().hex[:8]}"
    acl("--add", "--allow-principal", "User:ann", "--producer", "--topic", topic, "--transactional-id", "tx", "--idempotent")
    settle(root, 6)
    assert set(rules(root)) == {
        *(rule("TOPIC", topic, operation) for operation in ("WRITE", "DESCRIBE", "CREATE")),
        *(rule("TRANSACTIONAL_ID", "tx", operation) for operation in ("WRITE", "DESCRIBE")),
        rule("BROKER", "kafka-cluster", "IDEMPOTENT_WRITE")}
    producer = ann.producer(transactional_id="tx")
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(topic, b"x")
    producer.commit_transaction(20)
    assert consumed(ann, topic, group) == KafkaError.TOPIC_AUTHORIZATION_FAILED or \
        consumed(ann, topic, group) == KafkaError.GROUP_AUTHORIZATION_FAILED
    acl("--add", "--allow-principal", "User:ann", "--consumer", "--topic", topic, "--group", group)
    settle(root, 8)
    assert consumed(ann, topic, group) is None
    acl("--remove", "--allow-principal", "User:ann", "--consumer", "--producer", "--topic", topic, "--group", group, "--force")
    settle(root, 3)


def test_our_command_says_what_is_wrong_before_it_asks_anybody(root, acl):
    ann = ("--allow-principal", "User:ann")
    for words, complaint in [
            ((), "exactly one of --list, --add, --remove"), (("--list", "--add"), "exactly one of"),
            (("--add", *ann), "expected a --topic"), (("--add", "--topic", "t"), "needs an --allow-principal"),
            (("--add", "--allow-principal", "ann", "--topic", "t"), "expected TYPE:NAME"),
            (("--add", *ann, "--topic", "t", "--operation", "Wrote"), "--operation Wrote"),
            (("--add", *ann, "--topic", "t", "--operation", "ClusterAction"), "CLUSTER_ACTION means nothing on TOPIC"),
            (("--add", *ann, "--topic", "t", "--group", "g", "--operation", "Write"), "WRITE means nothing on GROUP"),
            (("--add", *ann, "--topic", "t", "--resource-pattern-type", "match"), "literal or prefixed"),
            (("--add", *ann, "--topic", "t", "--resource-pattern-type", "suffixed"), "expected literal"),
            (("--add", *ann, "--topic", "t", "--deny-host", "10.0.0.1"), "a host is of a principal"),
            (("--add", *ann, "--topic", "t", "--consumer"), "--consumer needs a --group"),
            (("--add", *ann, "--topic", "t", "--idempotent"), "goes with --producer"),
            (("--add", *ann, "--topic", "t", "--producer", "--operation", "Read"), "no --operation"),
            (("--remove", *ann, "--force"), "expected a --topic"),
            (("--remove", "--topic", "t", "--operation", "Read", "--force"), "needs an --allow-principal"),
            (("--list", "--topic", "t", *ann), "--list is about")]:
        assert complaint in acl(*words, status=2)
    assert rules(root) == []


def test_our_command_tells_who_may_not_and_that_there_are_no_rules(root, acl, request):
    assert "access rules: " in acl("--list", user="ann", status=1)
    assert "access rules: " in acl("--add", "--allow-principal", "User:ann", "--topic", "t", user="ann", status=1)
    if not PEER_ACLS:
        assert "access rules: No Authorizer is configured" in tool(request.getfixturevalue("log"), "acl", "--list", status=1)


def test_rights_are_told_to_who_asks(root):
    topic, ann = root.topic(), user(root, "ann")
    say(root, rule("TOPIC", topic, "READ"), rule("BROKER", "kafka-cluster", "DESCRIBE"))
    told = list(ann.admin.describe_topics(TopicCollection([topic]), include_authorized_operations=True)
                .values())[0].result(20)
    assert set(told.authorized_operations) == {AclOperation.READ, AclOperation.DESCRIBE}
    cluster = ann.admin.describe_cluster(include_authorized_operations=True).result(20)
    assert set(cluster.authorized_operations) == {AclOperation.DESCRIBE}


def test_rules_outlive_a_kill(tmp_path):
    if PEER_ACLS:
        pytest.skip("a story about our own process")
    (tmp_path / "users").write_text(USERS)
    broker = Broker(tmp_path, arguments=(*OPTIONS, "--users", tmp_path / "users"))
    broker.client = user(broker, "root").client
    broker.start()
    try:
        topic = broker.topic()
        say(broker, rule("TOPIC", topic, "READ"), rule("TOPIC", 'odd"\\ name', "WRITE", who="bob"))
        known = set(rules(broker))
        broker.kill()
        broker.start()
        assert set(rules(broker)) == known
        assert produced(user(broker, "ann"), topic) == KafkaError.TOPIC_AUTHORIZATION_FAILED
    finally:
        broker.end()


def test_everybody_may_what_no_rule_is_about_if_so_said(tmp_path):
    if PEER_ACLS:
        pytest.skip("a story about our own options")
    broker = Broker(tmp_path, arguments=("--acls", "--allow-everyone", "--super-users", "User:nobody"))
    broker.start()
    try:
        open_topic, closed, admin = broker.topic(), broker.topic(), broker.admin
        for future in admin.create_acls([rule("TOPIC", closed, "WRITE", who="bob")]).values():
            future.result(20)
        assert produced(broker, open_topic) is None
        assert produced(broker, closed) == KafkaError.TOPIC_AUTHORIZATION_FAILED
    finally:
        broker.end()


def test_without_an_authorizer_there_are_no_rules(log):
    if PEER_ACLS:
        pytest.skip("told to the log of the other stories")
    with pytest.raises(SecurityDisabledError):
        rules_told(log)
    admin = log.admin
    assert code_of(list(admin.create_acls([rule("TOPIC", "orders", "READ")]).values())[0].result) == \
        KafkaError.SECURITY_DISABLED


def test_the_options_need_each_other(tmp_path):
    if PEER_ACLS:
        pytest.skip("a story about our own options")
    process = stories.Millrace(tmp_path, "broker", "--data", tmp_path / "data", "--port-offset", stories.free_offset(),
                               "--super-users", "User:ann")
    stories.wait_for(lambda: "--acls" in process.text, 10)
    process.kill()

"""The broker's own settings, said when it starts and changed while it runs: told, checked, followed, kept."""
import time

import pytest
from broker_stories import PEER, Broker, stories
from confluent_kafka import KafkaException
from kafka import KafkaAdminClient
from kafka.protocol.admin.configs import DescribeConfigsRequest, IncrementalAlterConfigsRequest

TOPIC, BROKER, CLUSTER = 2, 4, ""
SET, DELETE, APPEND = 0, 1, 2
OF_TOPIC, OF_BROKER, OF_CLUSTER, STATIC, DEFAULT = 1, 2, 3, 4, 5
INVALID_REQUEST = 42


def sends(log, message):
    """librdkafka has no name for the whole cluster's settings, so kafka-python's messages ask."""
    admin = KafkaAdminClient(bootstrap_servers=log.address)

    async def send():
        return await admin._manager.send(message)
    try:
        return admin._manager.run(send)
    finally:
        admin.close()


def node(log):
    return str(next(iter(log.admin.list_topics(timeout=10).brokers)))


def asks(log, kind, name):
    Resource = DescribeConfigsRequest.DescribeConfigsResource
    [answer] = sends(log, DescribeConfigsRequest(include_synonyms=True, include_documentation=False, resources=[
        Resource(resource_type=kind, resource_name=name, configuration_keys=None)])).results
    assert answer.error_code == 0, answer
    return {row.name: row for row in answer.configs}


def told(log, kind, name, setting):
    """Value, source, and whether it is read only."""
    row = asks(log, kind, name)[setting]
    return row.value, row.config_source, row.read_only


def tries(log, name, operation=SET, validate_only=False, **settings):
    Resource = IncrementalAlterConfigsRequest.AlterConfigsResource
    [answer] = sends(log, IncrementalAlterConfigsRequest(validate_only=validate_only, resources=[
        Resource(resource_type=BROKER, resource_name=name, configs=[
            Resource.AlterableConfig(name=key.replace("_", "."), config_operation=operation,
                                     value=None if operation == DELETE else str(value))
            for key, value in settings.items()])])).responses
    return answer.error_code, answer.error_message


def changes(log, name, *arguments, **settings):
    assert tries(log, name, *arguments, **settings)[0] == 0


def becomes(log, kind, name, setting, *expected):
    stories.wait_for(lambda: told(log, kind, name, setting) == expected, 15)


@pytest.fixture
def settings(log):
    names = dict.fromkeys(("log.retention.ms", "message.max.bytes", "log.cleanup.policy", "log.segment.bytes"))
    yield log
    for where in (CLUSTER, node(log)):
        changes(log, where, DELETE, **names)


def test_topics_follow_what_they_have_no_value_for(settings):
    log, broker = settings, node(settings)
    followed, own = log.topic(), log.topic(retention_ms=1000)
    source = OF_CLUSTER
    changes(log, CLUSTER, log_retention_ms=50_000_000)
    becomes(log, TOPIC, followed, "retention.ms", "50000000", source, False)
    becomes(log, BROKER, broker, "log.retention.ms", "50000000", source, False)
    assert told(log, TOPIC, own, "retention.ms") == ("1000", OF_TOPIC, False)
    changes(log, broker, log_retention_ms=60_000_000)
    becomes(log, TOPIC, followed, "retention.ms", "60000000", OF_BROKER, False)
    row = asks(log, BROKER, broker)["log.retention.ms"]
    assert [(one.value, one.source) for one in row.synonyms][:2] == [("60000000", OF_BROKER), ("50000000", OF_CLUSTER)]
    changes(log, broker, DELETE, log_retention_ms=None)
    becomes(log, TOPIC, followed, "retention.ms", "50000000", source, False)
    changes(log, CLUSTER, DELETE, log_retention_ms=None)
    stories.wait_for(lambda: told(log, TOPIC, followed, "retention.ms")[0] == "604800000", 15)


def test_a_topic_takes_no_more_than_the_broker_says(settings):
    log, topic = settings, settings.topic()
    changes(log, CLUSTER, message_max_bytes=2000)
    stories.wait_for(lambda: told(log, TOPIC, topic, "max.message.bytes")[0] == "2000", 15)
    wrong = []
    producer = log.producer()
    producer.produce(topic, bytes(3000), callback=lambda error, message: wrong.append(error and error.name()))
    assert producer.flush(30) == 0 and wrong == ["MSG_SIZE_TOO_LARGE"]
    changes(log, CLUSTER, DELETE, message_max_bytes=None)
    stories.wait_for(lambda: told(log, TOPIC, topic, "max.message.bytes")[0] == "1048588", 15)
    log.produces(topic, ["x" * 3000])


def test_what_cannot_be_changed_is_told(settings):
    log = settings
    assert tries(log, CLUSTER, log_segment_bytes="many")[0] == INVALID_REQUEST
    assert tries(log, CLUSTER, log_cleanup_policy="burn")[0] == INVALID_REQUEST
    code, why = tries(log, node(log), log_dirs="/elsewhere")
    assert code == INVALID_REQUEST and "Cannot update these configs dynamically" in why
    assert tries(log, "77", log_retention_ms=1)[0] != 0
    changes(log, CLUSTER, validate_only=True, log_retention_ms=77_000)
    assert "log.retention.ms" not in asks(log, BROKER, CLUSTER)
    changes(log, CLUSTER, APPEND, log_cleanup_policy="compact")
    stories.wait_for(lambda: "compact" in asks(log, BROKER, CLUSTER)["log.cleanup.policy"].value, 15)
    assert told(log, BROKER, node(log), "log.dirs")[2]


def test_settings_outlive_a_kill(broker):
    topic = broker.topic()
    changes(broker, CLUSTER, log_segment_bytes=1_000_000, producer_id_expiration_ms=1000)
    changes(broker, "1", log_roll_ms=7000, max_connections=100)
    broker.kill()
    broker.start()
    assert told(broker, TOPIC, topic, "segment.bytes") == ("1000000", OF_CLUSTER, False)
    assert told(broker, TOPIC, topic, "segment.ms") == ("7000", OF_BROKER, False)
    assert told(broker, BROKER, "1", "max.connections") == ("100", OF_BROKER, False)
    assert {row for row in asks(broker, BROKER, CLUSTER)} == {"log.segment.bytes", "producer.id.expiration.ms"}


@pytest.fixture
def started(tmp_path):
    """A log that is started with such settings."""
    if PEER:
        pytest.skip("a story about our own process")
    logs = []

    def start(*settings, environment=None):
        log = Broker(tmp_path / f"started-{len(logs)}", arguments=[f"--config={one}" for one in settings])
        log.environment = environment
        log.folder.mkdir()
        logs.append(log)
        return log.start()
    yield start
    for log in logs:
        log.end()


def init_error(log, **config):
    try:
        log.producer(transactional_id="t", **config).init_transactions(10)
    except KafkaException as error:
        return error.args[0].name()
    return None


def test_a_broker_is_started_with_settings(started):
    log = started("transaction.max.timeout.ms=3600000", "auto.create.topics.enable=false", "num.partitions = 7",
                  "log.retention.hours=1", "delete.topic.enable=false", "message.max.bytes=2000")
    assert init_error(log, transaction_timeout_ms=3_600_000) is None
    assert init_error(log, transaction_timeout_ms=3_600_001) == "INVALID_TRANSACTION_TIMEOUT"
    assert told(log, BROKER, "1", "transaction.max.timeout.ms") == ("3600000", STATIC, True)
    assert told(log, BROKER, "1", "transactional.id.expiration.ms") == ("604800000", DEFAULT, True)
    row = asks(log, BROKER, "1")["transaction.max.timeout.ms"]
    assert [(one.value, one.source) for one in row.synonyms] == [("3600000", STATIC), ("900000", DEFAULT)]
    assert tries(log, "1", transaction_max_timeout_ms=5)[0] == INVALID_REQUEST
    topic = log.topic(partitions=-1)
    assert len(log.admin.list_topics(topic, timeout=10).topics[topic].partitions) == 7
    assert told(log, TOPIC, topic, "retention.ms") == ("3600000", STATIC, False)
    changes(log, "1", message_max_bytes=3000)
    assert told(log, TOPIC, topic, "max.message.bytes") == ("3000", OF_BROKER, False)
    changes(log, "1", DELETE, message_max_bytes=None)
    assert told(log, TOPIC, topic, "max.message.bytes") == ("2000", STATIC, False)
    log.producer(allow_auto_create_topics=True).list_topics("never-made", timeout=10)
    assert "never-made" not in log.admin.list_topics(timeout=10).topics
    with pytest.raises(KafkaException, match="TOPIC_DELETION_DISABLED"):
        log.admin.delete_topics([topic])[topic].result(10)


def test_settings_come_from_a_file_and_the_command_line_wins(started, tmp_path):
    file = tmp_path / "server.properties"
    file.write_text("# as Kafka's\nnum.network.threads=3\nnum.partitions=2\nlog.retention.hours=168\n"
                    "offsets.topic.replication.factor=1\ngroup.min.session.timeout.ms=100\n")
    log = started("num.partitions=5", environment={"MILLRACE_CONFIG_FILE": str(file)})
    assert told(log, BROKER, "1", "num.partitions") == ("5", STATIC, True)
    assert told(log, BROKER, "1", "num.network.threads") == ("3", STATIC, False)
    assert told(log, BROKER, "1", "group.min.session.timeout.ms") == ("100", STATIC, True)


@pytest.mark.parametrize("setting, why", [
    ("transaction.max.timeout=5", "there is no setting `transaction.max.timeout`"),
    ("transaction.max.timeout.ms=soon", "expected a number from 1 to"),
    ("auto.create.topics.enable=yes", "expected true or false"),
    ("offsets.topic.replication.factor=3", "expected a number from 1 to 1"),
    ("group.consumer.assignors=sticky", "expected uniform, range or both"),
    ("group.consumer.session.timeout.ms=1000", "expected at most group.consumer.session.timeout.ms=1000"),
    ("listeners=PLAINTEXT://:9092", "(--host, --port)"),
    ("nonsense", "expected NAME=VALUE"),
])
def test_a_wrong_setting_is_named_at_the_start(tmp_path, setting, why):
    process = stories.Millrace(tmp_path, "broker", "--data", tmp_path / "other", "--port-offset", stories.free_offset(),
                               "--config", setting)
    assert process.process.wait(20) == 2 and why in process.text, process.text


def test_an_empty_group_waits_for_more_members_if_that_is_wished(started):
    log = started("group.initial.rebalance.delay.ms=1500")
    topic, began = log.topic(partitions=2), time.monotonic()
    owned = []
    consumers = [log.consumer(group="late") for _ in range(2)]
    for consumer in consumers:
        consumer.subscribe([topic], on_assign=lambda _, parts: owned.append((time.monotonic() - began, len(parts))))
    stories.wait_for(lambda: [one.poll(0.1) for one in consumers] and len(owned) == 2, 20, 0)
    assert [count for _, count in owned] == [1, 1] and min(after for after, _ in owned) >= 1.4
    for consumer in consumers:
        consumer.close()

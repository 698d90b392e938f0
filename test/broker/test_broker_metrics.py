"""What /metrics tells of the log, and what its own log tells of requests that are refused."""
import re
import socket
import uuid

import pytest
import requests
from broker_stories import PEER, Broker, Log, stories
from confluent_kafka import KafkaError, TopicPartition
from confluent_kafka.admin import NewTopic

if PEER:
    pytest.skip("stories about our own process", allow_module_level=True)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("measured")
    (folder / "users").write_text("root:secret\nann:secret\n")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    broker = Broker(folder, arguments=("--sasl", "PLAIN", "--users", folder / "users", "--acls", "--super-users", "User:root",
                                       "--metrics-port", port))
    broker.client, broker.metrics_port = signing_in("root"), port
    broker.start()
    yield broker
    broker.end()


def signing_in(user):
    return {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": user, "sasl.password": "secret"}


def numbers(log):
    """{name{labels}: value}, from a page that is well-formed: each name once, its type before its numbers."""
    page = requests.get(f"http://127.0.0.1:{log.metrics_port}/metrics", timeout=10)
    assert page.status_code == 200 and page.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    found, names, name = {}, set(), None
    for line in page.text.splitlines():
        if line.startswith("# TYPE "):
            name = line.split()[2]
            assert name not in names, f"{name} begins twice"
            names.add(name)
        elif not line.startswith("#"):
            key, value = line.rsplit(" ", 1)
            assert key.split("{")[0].removesuffix("_sum").removesuffix("_count") == name.removesuffix("_count") and key not in found, line
            found[key] = float(value)
    return found


def test_topics_and_groups_are_told_by_the_names_that_dashboards_know(measured):
    topic, group = measured.topic(partitions=2), f'odd "group"\\{uuid.uuid4().hex[:8]}'
    before = numbers(measured)
    producer = measured.producer()
    for number in range(10):
        producer.produce(topic, b"x" * 100, partition=number % 2)
    assert producer.flush(20) == 0
    consumer = measured.consumer(group=group)
    consumer.commit(offsets=[TopicPartition(topic, 0, 2)], asynchronous=False)
    consumer.close()
    now = numbers(measured)
    where = f'{{topic="{topic}",partition="0"}}'
    assert now["kafka_server_brokertopicmetrics_messagesin_total"] - before["kafka_server_brokertopicmetrics_messagesin_total"] >= 10
    assert now["kafka_server_brokertopicmetrics_bytesin_total"] == now["millrace_broker_bytes_in_total"]
    assert now['kafka_network_requestmetrics_requests_total{request="OffsetCommit"}'] >= 1
    assert now[f"kafka_log_log_logendoffset{where}"] == now[f"kafka_topic_partition_current_offset{where}"] == 5
    assert now[f"kafka_log_log_logstartoffset{where}"] == 0 and now[f"kafka_log_log_size{where}"] > 500
    assert now[f'kafka_topic_partitions{{topic="{topic}"}}'] == 2
    assert now["kafka_server_replicamanager_partitioncount"] == now["kafka_server_replicamanager_leadercount"] > 2
    assert now["kafka_controller_kafkacontroller_activecontrollercount"] == 1
    assert now["kafka_controller_kafkacontroller_offlinepartitionscount"] == 0
    told = group.replace("\\", "\\\\").replace('"', '\\"')
    group_where = f'{{consumergroup="{told}",topic="{topic}",partition="0"}}'
    assert now[f"kafka_consumergroup_current_offset{group_where}"] == 2
    assert now[f"kafka_consumergroup_lag{group_where}"] == 3
    assert now[f'kafka_consumergroup_members{{consumergroup="{told}"}}'] == 0
    measured.admin.delete_topics([topic])[topic].result(20)
    stories.wait_for(lambda: not any(topic in key for key in numbers(measured)), 20)


def test_traffic_times_and_errors_are_told_as_kafkas_exporter_names_them(measured):
    topic = measured.topic()
    before = numbers(measured)
    measured.produces(topic, ["x" * 1000] * 50)
    assert len(measured.reads(topic, 50)) == 50
    with pytest.raises(Exception, match="TOPIC_ALREADY_EXISTS"):
        measured.admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(10)
    now = numbers(measured)
    where = f'{{topic="{topic}"}}'
    traffic = "kafka_server_brokertopicmetrics_"
    assert now[f"{traffic}messagesin_total{where}"] == 50
    assert now[f"{traffic}bytesin_total{where}"] == now[f"{traffic}bytesout_total{where}"] == now[f'kafka_log_log_size{{topic="{topic}",partition="0"}}']
    assert now[f"{traffic}bytesin_total"] - before[f"{traffic}bytesin_total"] >= now[f"{traffic}bytesin_total{where}"]
    time = "kafka_network_requestmetrics_totaltimems"
    counted = now[f'{time}_count{{request="Produce"}}']
    assert counted == now['kafka_network_requestmetrics_requests_total{request="Produce"}'] >= 1
    quantiles = [now[f'{time}{{request="Produce",quantile="{q}"}}'] for q in ("0.50", "0.75", "0.95", "0.98", "0.99", "0.999")]
    assert quantiles == sorted(quantiles) and 0 < quantiles[0] and quantiles[-1] < 5000
    assert 0 < now[f'{time}_sum{{request="Produce"}}'] < counted * 5000
    error = 'kafka_network_requestmetrics_errors_total{request="CreateTopics",error="TOPIC_ALREADY_EXISTS"}'
    assert now[error] - before.get(error, 0) == 1


def test_metrics_are_for_this_machine_unless_it_is_said_otherwise(tmp_path, measured):
    arguments = ("--data", tmp_path / "data", "--port-offset", stories.free_offset(), "--metrics-port", measured.metrics_port + 1,
                 "--metrics-host", "0.0.0.0")
    process = stories.Millrace(tmp_path, "broker", *arguments)
    assert process.process.wait(20) != 0 and "--metrics-host 0.0.0.0 would let anybody" in process.text, process.text
    process = stories.Millrace(tmp_path, "broker", *arguments, "--insecure")
    stories.wait_for(lambda: requests.get(f"http://127.0.0.2:{measured.metrics_port + 1}/metrics", timeout=1).status_code == 200, 20)
    process.kill()


def test_a_refused_request_is_logged_with_its_client_and_the_reason_and_counted(measured):
    topic, ann = measured.topic(max_message_bytes=1000), Log(measured.address)
    ann.client = {**signing_in("ann"), "client.id": 'strange "id"'}
    told = []
    producer = ann.producer(message_timeout_ms=5000)
    producer.produce(topic, b"x", on_delivery=lambda error, _: told.append(error.code()))
    producer.flush(10)
    assert told == [KafkaError.TOPIC_AUTHORIZATION_FAILED]
    line = re.search(r"refused: .*ann.*", measured.says)[0]
    assert re.fullmatch(r'refused: client=127\.0\.0\.1:\d+ id="strange \\"id\\"" principal="User:ann" request=\w+ version=\d+ '
                        rf'error=TOPIC_AUTHORIZATION_FAILED reason="no right to \w+ TOPIC {topic}"', line), line
    assert numbers(measured)['millrace_broker_refused_total{error="TOPIC_AUTHORIZATION_FAILED"}'] >= 1
    producer = measured.producer(message_max_bytes=100000)
    producer.produce(topic, b"x" * 50000)
    producer.flush(10)
    assert re.search(r'refused: .* principal="User:root" request=produce version=\d+ error=MESSAGE_TOO_LARGE reason="', measured.says)


def test_refusals_of_groups_and_of_administration_are_logged_as_well(measured):
    topic = measured.topic()
    with pytest.raises(Exception, match="TOPIC_ALREADY_EXISTS"):
        measured.admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(10)
    with pytest.raises(Exception, match="GROUP_ID_NOT_FOUND"):
        measured.admin.delete_consumer_groups(["nobody"])["nobody"].result(10)
    for request, error in (("create_topics", "TOPIC_ALREADY_EXISTS"), ("delete_groups", "GROUP_ID_NOT_FOUND")):
        assert re.search(rf'refused: .* principal="User:root" request={request} version=\d+ error={error} reason="[^"]+"', measured.says)


def test_who_asks_in_vain_all_the_time_does_not_fill_the_log(measured):
    ann = Log(measured.address)
    ann.client = signing_in("ann")
    for number in range(100):
        assert ann.admin.list_topics(f"secret-{number}", timeout=10).topics[f"secret-{number}"].error
    assert len(re.findall("refused: .*secret-", measured.says)) <= 40
    assert numbers(measured)['millrace_broker_refused_total{error="TOPIC_AUTHORIZATION_FAILED"}'] >= 100

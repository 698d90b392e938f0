"""The users pipeline, unchanged, on genuine Kafka, a genuine registry and genuine Cassandra at once."""
import pytest

from cassandra_stories import KEPT
from cassandra_stories import empty as empty_tables
from kafka_stories import empty as empty_log
from kafka_stories import grows, whole_at_the_end
from source import whole_result


@pytest.fixture(scope="module")
def running(genuine):
    kafka = genuine("kafka-zookeeper")
    return {"kafka": kafka, "registry": genuine("registry", kafka=kafka.address),
            "cassandra": genuine("cassandra", settings=KEPT)}


@pytest.fixture
def systems(running):
    for system in running.values():
        system.start()
    empty_log(running["kafka"], keep=lambda name: "kafkasql" in name)
    empty_tables(running["cassandra"])
    return running


def addresses(systems):
    return {name: system.url if name == "registry" else system.address for name, system in systems.items()}


def test_the_result_is_the_embedded_one(systems, run_users, source, embedded):
    pipeline = run_users(addresses(systems)).wait_ready(120)
    assert whole_result(pipeline, source) == embedded
    assert pipeline.stop() == 0


def test_all_of_them_killed_and_back_lose_and_double_nothing(systems, run_flat_out):
    pipeline = run_flat_out(addresses(systems)).wait_ready(120)
    grows(pipeline, 1000)
    for system in systems.values():
        system.kill()
    pipeline.kill()
    for system in systems.values():
        system.start()
    pipeline = pipeline.again().wait_ready(180)
    grows(pipeline, 1000, 240)
    whole_at_the_end(pipeline)

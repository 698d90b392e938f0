"""The users pipeline, unchanged, with its schemas in Apicurio by the interface of Confluent's registry."""
import pytest
import requests

from kafka_stories import empty, grows, whole_at_the_end
from source import whole_result
from story import wait_for


@pytest.fixture(scope="module")
def kafka(genuine):
    return genuine("kafka")


@pytest.fixture(scope="module")
def registry(genuine, kafka):
    """It keeps its schemas in a topic, as Confluent's does, and so over restarts."""
    return genuine("registry", kafka=kafka.address)


def test_the_result_is_the_embedded_one_and_the_schemas_are_there(registry, run_users, source, embedded):
    pipeline = run_users({"registry": registry.url}).wait_ready(120)
    assert whole_result(pipeline, source) == embedded
    subjects = set(requests.get(f"{registry.url}/subjects", timeout=10).json())
    assert {"users_raw-value", "users_created-value", "users_by_country-value"} <= subjects
    assert pipeline.stop() == 0


def test_a_registry_that_is_away_makes_the_pipeline_wait(kafka, registry, run_flat_out):
    pipeline = run_flat_out({"kafka": kafka.address, "registry": registry.url}).wait_ready(120)
    grows(pipeline, 1000)
    registry.kill()
    pipeline.kill()
    pipeline = pipeline.again()
    wait_for(lambda: "registry" in requests.get(pipeline.url("/health"), timeout=5).text or
             str(registry.port()) in requests.get(pipeline.url("/health"), timeout=5).text, 60)
    registry.start()
    pipeline.wait_ready(120)
    grows(pipeline, 1000)
    whole_at_the_end(pipeline)


def test_a_schema_that_is_not_compatible_is_refused_in_its_words(kafka, registry, run_users, source):
    empty_but_registry(kafka)
    subject = "users_created-value"
    headers = {"Content-Type": "application/vnd.schemaregistry.v1+json"}
    requests.delete(f"{registry.url}/subjects/{subject}", timeout=10)
    requests.delete(f"{registry.url}/subjects/{subject}?permanent=true", timeout=10)
    schema = '{"type":"record","name":"other","fields":[{"name":"n","type":"int"}]}'
    assert requests.put(f"{registry.url}/config/{subject}", json={"compatibility": "FULL"}, headers=headers, timeout=10).ok
    made = requests.post(f"{registry.url}/subjects/{subject}/versions", json={"schema": schema}, headers=headers, timeout=10)
    assert made.ok, made.text
    pipeline = run_users({"registry": registry.url})
    wait_for(lambda: subject in (pipeline.node("stream:users_created")["error"] or ""), 60)


def empty_but_registry(kafka):
    empty(kafka, keep=lambda name: "kafkasql" in name)

"""The users pipeline, unchanged, on genuine Kafka in KRaft mode."""
import pytest

from source import fetch_pages, whole_result
from story import wait_for


@pytest.fixture(scope="module")
def kafka(genuine):
    return genuine("kafka")


def test_the_result_is_the_embedded_one(kafka, run_users, source, embedded):
    pipeline = run_users({"kafka": kafka.address}).wait_ready(120)
    assert whole_result(pipeline, source) == embedded
    assert pipeline.stop() == 0

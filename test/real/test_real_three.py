"""The users pipeline, unchanged, on three brokers: replication 3, min.insync.replicas 2."""
import pytest

from kafka_stories import *  # noqa: F401,F403
from kafka_stories import empty

del test_a_right_that_is_missing_is_named_and_once_given_it_goes_on  # noqa: F821  brokers of a quorum would need rights too


@pytest.fixture(scope="module")
def running(genuine):
    return genuine("kafka-three")


@pytest.fixture
def kafka(running):
    running.start()
    empty(running)
    return running

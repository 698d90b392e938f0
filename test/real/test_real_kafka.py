"""The users pipeline, unchanged, on genuine Kafka in KRaft mode: 3.9, and 4.1, whose transactions end otherwise (KIP-890)."""
import pytest

from kafka_stories import *  # noqa: F401,F403
from kafka_stories import empty


@pytest.fixture(scope="module", params=["kafka", "kafka-4"])
def running(genuine, request):
    return genuine(request.param, settings={"authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                                   "allow.everyone.if.no.acl.found": "true"})


@pytest.fixture
def kafka(running):
    running.start()
    empty(running)
    return running

"""The users pipeline, unchanged, on genuine Kafka in ZooKeeper mode."""
import pytest

from kafka_stories import *  # noqa: F401,F403
from kafka_stories import empty


@pytest.fixture(scope="module")
def running(genuine):
    return genuine("kafka-zookeeper", settings={"authorizer.class.name": "kafka.security.authorizer.AclAuthorizer",
                                   "allow.everyone.if.no.acl.found": "true"})


@pytest.fixture
def kafka(running):
    running.start()
    empty(running)
    return running

"""The users pipeline, unchanged, with its tables on one node of genuine Cassandra 5.0."""
import pytest

from cassandra_stories import *  # noqa: F401,F403
from cassandra_stories import KEPT, empty


@pytest.fixture(scope="module")
def running(genuine):
    return genuine("cassandra", settings=KEPT)


@pytest.fixture
def cassandra(running):
    running.start()
    empty(running)
    return running

"""Table stores for the stories of this folder; see stores.py."""
import itertools
import time

import pytest

from stores import PEER, Store

_names = itertools.count()


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    one = Store(tmp_path_factory.mktemp("store"))
    yield one
    one.end()


@pytest.fixture
def own_store(tmp_path):
    """A store of the story's own, which it may kill."""
    if PEER:
        pytest.skip("kills its server")
    one = Store(tmp_path)
    yield one
    one.end()


@pytest.fixture(scope="module")
def session(store):
    return store.connect()


@pytest.fixture
def keyspace(session):
    """A keyspace of the story's own, in use; gone afterwards."""
    name = f"k{int(time.time() * 1000) % 10**9}_{next(_names)}"
    session.execute(f"CREATE KEYSPACE {name} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}")
    session.set_keyspace(name)
    yield name
    session.execute(f"DROP KEYSPACE {name}")

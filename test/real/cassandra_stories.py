"""The stories that are told to every genuine Cassandra; a module that imports them has a fixture `cassandra`."""
import time

import pytest
from cassandra import ConsistencyLevel
from cassandra.query import SimpleStatement

from comparison import compare, settle
from kafka_stories import grows, whole_at_the_end
from source import whole_result
from story import wait_for


# A node alone acknowledges up to 100 ms before a SIGKILL can no longer take it away: with these what it acknowledged stays.
KEPT = {"commitlog_sync": "batch", "commitlog_sync_period": None}


def session_of(cassandra):
    from cassandra.cluster import Cluster
    cluster = Cluster([cassandra.host(number) for number in range(1, len(cassandra.nodes) + 1)], port=cassandra.port())
    return cluster.connect(), cluster


def empty(cassandra):
    session, cluster = session_of(cassandra)
    session.execute(SimpleStatement("DROP KEYSPACE IF EXISTS spark_streams"), timeout=60)
    cluster.shutdown()


def test_the_result_is_the_embedded_one_and_the_keyspace_is_replicated(cassandra, run_users, source, embedded):
    pipeline = run_users({"cassandra": cassandra.address}).wait_ready(120)
    assert whole_result(pipeline, source) == embedded
    session, cluster = session_of(cassandra)
    replication = cluster.metadata.keyspaces["spark_streams"].replication_strategy
    wanted = min(3, len(cassandra.nodes))
    assert replication.export_for_schema().count(f"'{wanted}'") == 1, replication.export_for_schema()
    cluster.shutdown()
    assert pipeline.stop() == 0


def test_it_writes_where_the_keyspace_and_the_table_are_already(cassandra, run_users, source):
    session, cluster = session_of(cassandra)
    session.execute("CREATE KEYSPACE spark_streams WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
    session.execute("CREATE TABLE spark_streams.created_users (id uuid PRIMARY KEY, first_name text, last_name text, gender text,"
                    " address text, post_code text, email text, username text, dob text, registered_date text, phone text,"
                    " picture text, of_somebody_else int)")
    pipeline = run_users({"cassandra": cassandra.address}).wait_ready(120)
    grows(pipeline)
    assert session.execute("SELECT count(*) FROM spark_streams.created_users").one()[0] >= 50
    ours = [client.protocol_version for client in session.execute("SELECT * FROM system_views.clients")
            if client.driver_name == "millrace"]
    assert ours and set(ours) == {5}, ours                      # segments with checksums, as the newest drivers speak
    cluster.shutdown()


def test_a_node_that_is_killed_and_comes_back_loses_and_doubles_nothing(cassandra, run_flat_out):
    pipeline = run_flat_out({"cassandra": cassandra.address}).wait_ready(120)
    grows(pipeline, 1000)
    cassandra.nodes[-1].kill()
    if len(cassandra.nodes) > 2:
        grows(pipeline, 1000)               # the others are enough
    cassandra.start()
    grows(pipeline, 1000, 240)
    whole_at_the_end(pipeline)


def test_a_node_that_answers_nobody_for_a_while(cassandra, run_flat_out):
    pipeline = run_flat_out({"cassandra": cassandra.address}).wait_ready(120)
    grows(pipeline, 1000)
    cassandra.nodes[0].freeze()
    time.sleep(15)                          # the trouble itself: longer than our patience with a request
    cassandra.nodes[0].thaw()
    grows(pipeline, 1000, 240)
    whole_at_the_end(pipeline)


def test_a_table_that_somebody_drops_is_made_again(cassandra, run_users, source):
    pipeline = run_users({"cassandra": cassandra.address}).wait_ready(120)
    grows(pipeline)
    session, cluster = session_of(cassandra)
    session.execute(SimpleStatement("DROP TABLE spark_streams.created_users"), timeout=60)
    wait_for(lambda: session.execute("SELECT count(*) FROM spark_streams.created_users").one()[0] > 0, 90)
    cluster.shutdown()

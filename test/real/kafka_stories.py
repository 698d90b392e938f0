"""The stories that are told to every genuine Kafka; a module that imports them has a fixture `kafka`, empty at first."""
import time

import requests
from confluent_kafka.admin import (AclBinding, AclBindingFilter, AclOperation, AclPermissionType, AdminClient, ConfigResource,
                                   ResourcePatternType, ResourceType)

from comparison import compare, settle
from source import whole_result
from story import wait_for

# What the parts make: topic -> (partitions, cleanup.policy)
WANTED = {"users_raw": (4, "delete"), "users_created": (4, "delete"), "users_by_country": (4, "delete"),
          "_schemas": (1, "compact"), "_millrace_positions": (1, "compact"), "_millrace_state": (1, "compact"),
          "_millrace_runs": (1, "compact,delete"), "users_by_country.state": (1, "compact")}


def admin_of(kafka):
    return AdminClient({"bootstrap.servers": kafka.address, "log_level": 2})     # silent about brokers that a story kills


def empty(kafka, keep=lambda name: False):
    """Deletes every topic but Kafka's own, and those that `keep` keeps."""
    admin = admin_of(kafka)
    topics = [name for name in admin.list_topics(timeout=30).topics if not name.startswith("__") and not keep(name)]
    if topics:
        for future in admin.delete_topics(topics, operation_timeout=30).values():
            future.result()
        wait_for(lambda: not set(topics) & set(admin.list_topics(timeout=10).topics), 60)


def topic_settings(kafka, topic):
    admin = admin_of(kafka)
    resource = ConfigResource(ResourceType.TOPIC, topic)
    return {name: entry.value for name, entry in admin.describe_configs([resource])[resource].result().items()}


def grows(pipeline, by=1, seconds=120):
    """More results than there were, so that what follows happens in mid-stream."""
    before = pipeline.counter("stream:users_created", "results")
    pipeline.wait_for(lambda: pipeline.counter("stream:users_created", "results") >= before + by, seconds)


def whole_at_the_end(pipeline):
    rows = settle(pipeline, "flat_out", 300)
    assert len(rows) > 2000
    compare(pipeline, rows)
    assert pipeline.stop() == 0


def test_the_result_is_the_embedded_one_and_topics_are_as_wanted(kafka, run_users, source, embedded):
    pipeline = run_users({"kafka": kafka.address}).wait_ready(120)
    assert whole_result(pipeline, source) == embedded
    topics = admin_of(kafka).list_topics(timeout=30).topics
    for name, (partitions, policy) in WANTED.items():
        assert len(topics[name].partitions) == partitions, name
        assert ",".join(sorted(topic_settings(kafka, name)["cleanup.policy"].split(","))) == policy, name
        for partition in topics[name].partitions.values():
            assert len(partition.replicas) == min(3, len(kafka.brokers)), name
    assert pipeline.stop() == 0


def test_it_goes_on_where_it_stopped(kafka, run_users, source):
    pipeline = run_users({"kafka": kafka.address}).wait_ready(120)
    grows(pipeline)
    pipeline.kill()
    pipeline = pipeline.again().wait_ready(120)
    whole_result(pipeline, source)
    runs = requests.get(pipeline.url("/api/v1/dags/users/dagRuns"), timeout=10).json()
    assert runs["total_entries"] >= 6, "the runs of before are kept in the log"
    assert pipeline.stop() == 0


def test_a_broker_that_is_killed_and_comes_back_loses_and_doubles_nothing(kafka, run_flat_out):
    pipeline = run_flat_out({"kafka": kafka.address}).wait_ready(120)
    grows(pipeline, 1000)
    for broker in kafka.brokers[:2]:
        broker.kill()
        if len(kafka.brokers) > 1:
            grows(pipeline, 1000)           # the others are enough
        kafka.start()
        grows(pipeline, 1000)
    whole_at_the_end(pipeline)


def test_a_broker_that_answers_nobody_for_a_while(kafka, run_flat_out):
    pipeline = run_flat_out({"kafka": kafka.address}).wait_ready(120)
    grows(pipeline, 1000)
    kafka.brokers[0].freeze()
    time.sleep(8)                           # the trouble itself
    kafka.brokers[0].thaw()
    grows(pipeline, 1000)
    whole_at_the_end(pipeline)


def test_a_right_that_is_missing_or_taken_away_is_named_and_once_given_it_goes_on(kafka, run_flat_out):
    """The listener's user may do everything but write one topic: from the start, and again in mid-stream."""
    admin = admin_of(kafka)
    rule = AclBinding(ResourceType.TOPIC, "users_created", ResourcePatternType.LITERAL, "User:ANONYMOUS", "*",
                      AclOperation.WRITE, AclPermissionType.DENY)

    def take_away():
        for future in admin.create_acls([rule]).values():
            future.result()

    def give():
        rules = AclBindingFilter(ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY,
                                 AclPermissionType.ANY)
        for future in admin.delete_acls([rules]).values():
            future.result()

    def named():
        error = pipeline.node("stream:users_created")["error"] or ""
        return "users_created" in error and "AUTHORIZATION" in error.upper()

    take_away()
    try:
        pipeline = run_flat_out({"kafka": kafka.address})
        wait_for(named, 90)
        give()
        grows(pipeline, 1000)
        take_away()
        wait_for(named, 90)
    finally:
        give()
    grows(pipeline, 1000)
    whole_at_the_end(pipeline)

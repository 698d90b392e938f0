"""kafka-python: another reading of the protocol."""
import uuid

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, NewTopic
from broker_stories import stories


def test_produces_and_consumes_in_a_group(log):
    name, group = log.topic(partitions=3), f"g-{uuid.uuid4().hex[:8]}"
    producer = KafkaProducer(bootstrap_servers=log.address, acks="all", compression_type="gzip")
    for i in range(500):
        producer.send(name, key=str(i % 7).encode(), value=str(i).encode())
    producer.flush(30)
    producer.close()
    consumer = KafkaConsumer(name, bootstrap_servers=log.address, group_id=group, auto_offset_reset="earliest",
                             enable_auto_commit=False)
    values = []

    def enough():
        for records in consumer.poll(timeout_ms=500).values():
            values.extend(int(record.value) for record in records)
        return len(values) >= 500
    stories.wait_for(enough, 30, 0)
    assert sorted(values) == list(range(500))
    consumer.commit()
    assert sum(consumer.committed(TopicPartition(name, p)) or 0 for p in range(3)) == 500
    consumer.close()


def test_admin(log):
    admin, name = KafkaAdminClient(bootstrap_servers=log.address), f"t-{uuid.uuid4().hex[:12]}"
    admin.create_topics([NewTopic(name, 2, 1, topic_configs={"segment.bytes": "1048576"})])
    assert name in admin.list_topics()
    told = admin.describe_topics([name])[0]
    assert len(told["partitions"]) == 2
    admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
    assert admin.describe_cluster()["controller_id"] >= 0
    admin.delete_topics([name])
    stories.wait_for(lambda: name not in admin.list_topics(), 10)
    admin.close()


def test_old_versions_of_the_protocol(log):
    """A client told to speak as to Kafka 0.11 and 1.0."""
    for version in ((0, 11, 0), (1, 0, 0), (2, 0, 0)):
        name = log.topic()
        producer = KafkaProducer(bootstrap_servers=log.address, api_version=version)
        producer.send(name, b"old").get(20)
        producer.close()
        consumer = KafkaConsumer(name, bootstrap_servers=log.address, group_id=f"g-{uuid.uuid4().hex[:8]}",
                                 auto_offset_reset="earliest", api_version=version)
        message = next(consumer)
        assert message.value == b"old"
        consumer.close()

"""The clients that people really use, and the log behind the registry."""
import decimal
import json
import datetime
import uuid

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext

ORDER = json.dumps({"type": "record", "name": "Order", "namespace": "shop", "fields": [
    {"name": "id", "type": {"type": "string", "logicalType": "uuid"}},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    {"name": "day", "type": {"type": "int", "logicalType": "date"}},
    {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}},
    {"name": "note", "type": ["null", "string"], "default": None},
    {"name": "lines", "type": {"type": "array", "items": {"type": "record", "name": "Line", "fields": [
        {"name": "what", "type": "string"}, {"name": "count", "type": "int"}]}}},
    {"name": "tags", "type": {"type": "map", "values": "string"}},
    {"name": "state", "type": {"type": "enum", "name": "State", "symbols": ["OPEN", "DONE"]}},
]})
VALUE = {
    "id": uuid.UUID("12345678-1234-5678-1234-567812345678"),
    "at": datetime.datetime(2026, 11, 21, 6, 26, 0, 123456, datetime.timezone.utc),
    "day": datetime.date(2026, 11, 21), "price": decimal.Decimal("12.50"), "note": None,
    "lines": [{"what": "tea", "count": 2}], "tags": {"a": "b"}, "state": "DONE",
}


def test_avro_serializer_and_deserializer(registry, subject):
    client = SchemaRegistryClient({"url": registry.url})
    context = SerializationContext(subject, MessageField.VALUE)
    data = AvroSerializer(client, ORDER)(VALUE, context)
    assert data[0] == 0
    identity = int.from_bytes(data[1:5], "big")
    assert registry.get(f"/subjects/{subject}-value/versions/latest")["id"] == identity
    fresh = SchemaRegistryClient({"url": registry.url})
    back = AvroDeserializer(fresh)(data, context)
    assert {**back, "id": str(back["id"])} == {**VALUE, "id": str(VALUE["id"])}
    latest = AvroSerializer(fresh, None, conf={"auto.register.schemas": False, "use.latest.version": True})
    assert latest(VALUE, context) == data


def test_the_registry_client(registry, subject):
    client = SchemaRegistryClient({"url": registry.url})
    schema = Schema('{"type":"record","name":"A","fields":[{"name":"x","type":"int"}]}', "AVRO")
    identity = client.register_schema(subject, schema)
    assert client.get_schema(identity).schema_type == "AVRO"
    assert client.lookup_schema(subject, schema).version == 1
    assert client.get_latest_version(subject).schema_id == identity
    assert client.get_version(subject, 1).schema_id == identity
    assert client.get_versions(subject) == [1]
    assert subject in client.get_subjects()
    assert client.test_compatibility(subject, schema)
    client.set_compatibility(subject, "FULL")
    assert client.get_compatibility(subject) == "FULL"
    try:
        client.register_schema(subject, Schema('"string"', "AVRO"))
        raise AssertionError("an incompatible schema was taken")
    except SchemaRegistryError as error:
        assert error.http_status_code == 409
    user = Schema('{"type":"record","name":"B","fields":[{"name":"a","type":"A"}]}', "AVRO",
                  [SchemaReference("A", subject, 1)])
    client.register_schema(subject + "-user", user)
    assert client.get_latest_version(subject + "-user").schema.references[0].subject == subject
    data = AvroSerializer(client, user, conf={"subject.name.strategy": lambda context, name: subject + "-user"})(
        {"a": {"x": 1}}, SerializationContext(subject, MessageField.VALUE))
    assert AvroDeserializer(SchemaRegistryClient({"url": registry.url}))(
        data, SerializationContext(subject, MessageField.VALUE)) == {"a": {"x": 1}}
    assert client.delete_subject(subject + "-user") == [1]
    assert client.delete_version(subject, 1) == 1


def records(kafka):
    """All of `_schemas`, key and value as JSON."""
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": "story", "enable.auto.commit": False})
    low, high = consumer.get_watermark_offsets(TopicPartition("_schemas", 0), timeout=10)
    consumer.assign([TopicPartition("_schemas", 0, low)])
    found, offset = [], low
    while offset < high:
        message = consumer.poll(10)
        assert message is not None and message.error() is None, message and message.error()
        offset = message.offset() + 1
        found.append((json.loads(message.key()), message.value() and json.loads(message.value())))
    consumer.close()
    return found


def test_the_topic_has_the_format_that_other_registries_read(registry, subject):
    identity = registry.register(subject, '"string"')
    registry.ask("PUT", f"/config/{subject}", {"compatibility": "FULL"})
    registry.ask("PUT", f"/mode/{subject}", {"mode": "READWRITE"})
    registry.ask("DELETE", f"/subjects/{subject}")
    registry.ask("DELETE", f"/subjects/{subject}", permanent="true")
    ours = [(k, v) for k, v in records(registry.kafka) if k.get("subject") == subject]
    assert ours == [
        ({"keytype": "SCHEMA", "subject": subject, "version": 1, "magic": 1},
         {"subject": subject, "version": 1, "id": identity, "schema": '"string"', "deleted": False}),
        ({"keytype": "CONFIG", "subject": subject, "magic": 0}, {"compatibilityLevel": "FULL"}),
        ({"keytype": "MODE", "subject": subject, "magic": 0}, {"mode": "READWRITE"}),
        ({"keytype": "DELETE_SUBJECT", "subject": subject, "magic": 0}, {"subject": subject, "version": 1}),
        ({"keytype": "CONFIG", "subject": subject, "magic": 0}, None),
        ({"keytype": "MODE", "subject": subject, "magic": 0}, None),
        ({"keytype": "SCHEMA", "subject": subject, "version": 1, "magic": 1}, None),
    ]

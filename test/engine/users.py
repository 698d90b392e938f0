"""The main job's streams, and users for them."""
import io
import json
import struct
import uuid

import fastavro
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

BODY = ("STRUCT<gender: STRING, name: STRUCT<title: STRING, first: STRING, last: STRING>, location: STRUCT<street: "
        "STRUCT<number: INT, name: STRING>, city: STRING, state: STRING, country: STRING, postcode: STRING>, email: "
        "STRING, login: STRUCT<uuid: STRING, username: STRING>, dob: STRUCT<date: STRING, age: INT>, registered: "
        "STRUCT<date: STRING, age: INT>, phone: STRING, picture: STRUCT<large: STRING, medium: STRING, thumbnail: "
        "STRING>>")
CREATED = ("SELECT body.login.uuid AS id, body.name.first AS first_name, body.name.last AS last_name, body.gender AS "
           "gender, concat(CAST(body.location.street.number AS STRING), ' ', body.location.street.name, ', ', "
           "body.location.city, ', ', body.location.state, ', ', body.location.country) AS address, "
           "body.location.postcode AS post_code, body.email AS email, body.login.username AS username, body.dob.date "
           "AS dob, body.registered.date AS registered_date, body.phone AS phone, body.picture.medium AS picture FROM "
           "users_raw")
BY_COUNTRY = ("SELECT window.start AS minute, body.location.country AS country, count(*) AS users FROM users_raw GROUP "
              "BY window(fetched_at, '1 minute'), body.location.country")
INPUT = {"topic": "users_raw", "types": {"body": BODY}, "keys": ["id"], "watermark": "fetched_at", "delay_us": 10000000,
         "schema": "id BIGINT, key STRING, body STRING, fetched_at TIMESTAMP"}
STREAMS = [
    {"name": "users_created", "sql": CREATED, "inputs": [INPUT], "keys": ["id"], "types": {"id": "uuid"},
     "require": {"email": "not_null"}, "targets": [{"driver": "cassandra", "place": "spark_streams.created_users"}]},
    {"name": "users_by_country", "sql": BY_COUNTRY, "inputs": [INPUT], "keys": ["country", "minute"],
     "targets": [{"driver": "cassandra", "place": "spark_streams.users_by_country"}]},
]
SCHEMA = {"type": "record", "name": "users_raw", "fields": [
    {"name": "id", "type": "long"}, {"name": "key", "type": "string"},
    {"name": "body", "type": ["null", "string"], "default": None},
    {"name": "fetched_at", "type": {"type": "long", "logicalType": "timestamp-micros"}}]}
PARSED = fastavro.parse_schema(SCHEMA)
START_US = 1763700000000000


def user_id(i):
    return str(uuid.UUID(int=i + (7 << 100)))


def user(i):
    return {"gender": "female", "name": {"title": "Ms", "first": f"Ada{i}", "last": "Byron"},
            "location": {"street": {"number": i, "name": "High St"}, "city": "York", "state": "Yorkshire",
                         "country": f"C{i % 11}", "postcode": 4711 if i % 2 else "YO1 7HH",
                         "timezone": {"offset": "+1:00", "description": "Brussels, Paris"}},
            "email": f"ada{i}@example.com", "login": {"uuid": user_id(i), "username": f"ada{i}", "md5": "d41d8cd9"},
            "dob": {"date": "1990-01-01T00:00:00.000Z", "age": 30},
            "registered": {"date": "2010-01-01T00:00:00.000Z", "age": 10}, "phone": "011-962-7516",
            "picture": {"large": "l.jpg", "medium": "m.jpg", "thumbnail": "t.jpg"}, "nat": "GB"}


class Writer:
    """Writes users as a capture does: Avro in Confluent's frame, the row's id as key."""

    def __init__(self, place):
        self.place, self.producer = place, place.producer()
        registry = SchemaRegistryClient({"url": place.registry})
        self.schema = registry.register_schema("users_raw-value", Schema(json.dumps(SCHEMA), "AVRO"))

    def row(self, i, body, fetched_us):
        out = io.BytesIO()
        out.write(b"\0" + struct.pack(">i", self.schema))
        fastavro.schemaless_writer(out, PARSED, {"id": i, "key": f"k{i}", "body": body, "fetched_at": fetched_us})
        return out.getvalue()

    def write(self, i, body=None, fetched_us=None):
        body = json.dumps(user(i)) if body is None else body
        value = self.row(i, body, START_US + i * 1000 if fetched_us is None else fetched_us)
        self.raw(str(i), value)

    def raw(self, key, value, headers=None):
        while True:
            try:
                return self.producer.produce("users_raw", key=key, value=value, headers=headers)
            except BufferError:
                self.producer.poll(0.1)

    def flush(self):
        assert self.producer.flush(60) == 0

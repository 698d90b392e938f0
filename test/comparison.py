"""The users pipeline's whole result, row by row: what PostgreSQL has against topics and tables, wherever those are."""
import collections
import datetime
import io
import json

import confluent_kafka
import fastavro
import psycopg2
import requests

from story import wait_for

FUTURE = datetime.timedelta(minutes=10)


def topic_records(pipeline, topic):
    """Every committed record, by partition; offsets must rise."""
    consumer = confluent_kafka.Consumer({
        "bootstrap.servers": pipeline.address("kafka"), "group.id": "judge", "isolation.level": "read_committed",
        "enable.auto.commit": False, "auto.offset.reset": "earliest", "enable.partition.eof": True,
        "check.crcs": True})
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([confluent_kafka.TopicPartition(topic, p, 0) for p in partitions])
    records, ended = collections.defaultdict(list), set()
    while len(ended) < len(partitions):
        for message in consumer.consume(5000, timeout=5):
            error = message.error()
            if error is not None:
                assert error.code() == confluent_kafka.KafkaError._PARTITION_EOF, error
                ended.add(message.partition())
                continue
            records[message.partition()].append(message)
    consumer.close()
    for messages in records.values():
        offsets = [message.offset() for message in messages]
        assert offsets == sorted(set(offsets)), "offsets of a partition rise"
    return records


def decoded(pipeline, records):
    """The Avro values of a topic's records, by partition, each by the schema that its id names."""
    schemas, values = {}, {}
    for partition, messages in records.items():
        values[partition] = rows = []
        for message in messages:
            body = message.value()
            number = int.from_bytes(body[1:5], "big")
            if number not in schemas:
                registry = pipeline.address("registry")
                registry = registry if "://" in registry else f"http://{registry}"
                answer = requests.get(f"{registry}/schemas/ids/{number}", timeout=10)
                schemas[number] = fastavro.parse_schema(json.loads(answer.json()["schema"]))
            rows.append(fastavro.schemaless_reader(io.BytesIO(body[5:]), schemas[number]))
    return values


def expected_row(body):
    place = body["location"]
    street = place["street"]
    return {
        "first_name": body["name"]["first"], "last_name": body["name"]["last"], "gender": body["gender"],
        "address": f'{street["number"]} {street["name"]}, {place["city"]}, {place["state"]}, {place["country"]}',
        "post_code": str(place["postcode"]), "email": body["email"], "username": body["login"]["username"],
        "dob": body["dob"]["date"], "registered_date": body["registered"]["date"], "phone": body["phone"],
        "picture": body["picture"]["medium"]}


def settle(pipeline, name="flat_out", seconds=120):
    """No more runs; everything that is in PostgreSQL has gone through."""
    dag = pipeline.url(f"/api/v1/dags/{name}")
    assert requests.patch(dag, json={"is_paused": True}, timeout=10).status_code == 200
    wait_for(lambda: all(run["state"] in ("success", "failed") for run in
                         requests.get(f"{dag}/dagRuns", timeout=10).json()["dag_runs"]), seconds)
    with psycopg2.connect(pipeline.postgres_dsn()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT key, body, fetched_at FROM raw.users")
        rows = {key: (body, fetched_at) for key, body, fetched_at in cursor.fetchall()}
        # One row from the future moves the watermark past every window before it.
        body = next(iter(rows.values()))[0]
        body = json.loads(json.dumps(body))
        body["login"]["uuid"] = "00000000-0000-4000-8000-000000000001"
        future = max(fetched_at for _, fetched_at in rows.values()) + FUTURE
        cursor.execute("INSERT INTO raw.users (key, body, fetched_at) VALUES (%s, %s, %s)",
                       (body["login"]["uuid"], json.dumps(body), future))
    rows[body["login"]["uuid"]] = (body, future)
    pipeline.wait_for(lambda: pipeline.counter("stream:users_created", "results") >= len(rows), seconds)
    pipeline.wait_for(lambda: pipeline.counter("stream:users_created", "lag") == 0 and
                      pipeline.counter("stream:users_by_country", "lag") == 0, seconds)
    return rows


def compare(pipeline, rows):
    """Every row of `rows` once in both topics and in the table, with its values and in its order, and counted once.
    Gives the table: {id: row}."""
    raw, created = topic_records(pipeline, "users_raw"), topic_records(pipeline, "users_created")
    for name, records in (("users_raw", raw), ("users_created", created)):
        keys = collections.Counter(message.key().decode() for messages in records.values() for message in messages)
        assert sum(keys.values()) == len(rows), f"{name} has one record a row"
        assert not [key for key, count in keys.items() if count > 1], f"{name} has no record twice"
    for messages in raw.values():
        numbers = [int(dict(message.headers())["mr.lsn"].decode().split("/")[0], 16) << 32 |
                   int(dict(message.headers())["mr.lsn"].decode().split("/")[1], 16) for message in messages
                   if dict(message.headers()).get("mr.op") == b"c"]
        assert numbers == sorted(numbers), "changes lie in the order of the write-ahead log"
    assert sorted(message.key().decode() for messages in created.values() for message in messages) == sorted(rows)
    came = {}
    for partition, records in decoded(pipeline, raw).items():
        for place, record in enumerate(records):
            assert json.loads(record["body"]) == rows[record["key"]][0]
            came[record["key"]] = partition, place
    for records in decoded(pipeline, created).values():
        last = dict.fromkeys(raw, -1)
        for record in records:
            assert record == {"id": record["id"], **expected_row(rows[record["id"]][0])}
            partition, place = came[record["id"]]
            assert place > last[partition], "what is made of changes keeps their order"
            last[partition] = place

    session, cluster = pipeline.tables()
    session.set_keyspace("spark_streams")
    table = {str(row.id): row for row in session.execute("SELECT * FROM created_users")}
    assert set(table) == set(rows)
    for key, (body, _) in rows.items():
        for column, value in expected_row(body).items():
            assert getattr(table[key], column) == value, (key, column)

    in_table = {(row.minute, row.country): row.users for row in session.execute("SELECT * FROM users_by_country")}
    counted = sum(in_table.values())
    late = pipeline.counter("stream:users_by_country", "late")
    assert counted + late == len(rows) - 1, "closed minutes and late rows add up"
    if late == 0:
        by_group = collections.Counter((fetched_at.replace(second=0, microsecond=0, tzinfo=None), body["location"]["country"])
                                       for key, (body, fetched_at) in rows.items() if not key.startswith("00000000-0000"))
        assert in_table == dict(by_group)
    groups = topic_records(pipeline, "users_by_country")
    for records in decoded(pipeline, groups).values():
        minutes = [record["minute"] for record in records]
        assert minutes == sorted(minutes), "windows close in their order"
        for record in records:
            group = record["minute"].replace(tzinfo=None), record["country"]
            assert in_table.pop(group) == record["users"], "the topic has what the table has, once"
    assert not in_table
    cluster.shutdown()
    return {key: row._asdict() for key, row in table.items()}


def values_of(kafka, topic):
    """The values of every committed record of a topic, at an address."""
    place = type("", (), {"address": lambda self, name: kafka})()
    return [message.value() for messages in topic_records(place, topic).values() for message in messages]

"""Streams over real sockets: what they keep, what they refuse, and what they wait for."""
import json
import time

import users
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext
from users import STREAMS, Writer, user, user_id


def json_stream(name, sql, **more):
    columns = {"topic": "t", "json": True, "schema": "k STRING, v BIGINT"}
    return {"name": name, "sql": sql, "json": True, "inputs": [columns], "keys": ["k"], **more}


def write_json(place, count, topic="t"):
    producer = place.producer()
    for i in range(count):
        producer.produce(topic, key=f"k{i}", value=json.dumps({"k": f"k{i}", "v": i}))
    producer.flush()


def test_a_filtered_topic_keeps_keys_headers_and_deletes(log):
    log.topic("t")
    producer = log.producer()
    producer.produce("t", key="a", value='{"k": "a", "v": 12}', headers={"mr.ts_us": "5", "x": "y"})
    producer.produce("t", key="b", value='{"k": "b", "v": 1}')
    producer.produce("t", key="a", value=None)
    producer.flush()
    engine = log.engine([json_stream("s", "SELECT k, v + 1 AS w FROM t WHERE v > 10")])
    engine.wait_read("s", 3)
    kept = log.records("s")
    assert [(m.key(), m.value()) for m in kept] == [(b"a", b'{"k":"a","w":13}'), (b"a", None)]
    assert kept[0].headers() == [("mr.ts_us", b"5"), ("x", b"y")]
    assert engine.stop() == 0


def test_what_cannot_be_a_row_is_a_dead_letter_byte_by_byte(log):
    log.topic("t", 1)
    producer = log.producer()
    producer.produce("t", key="bad", value="nonsense", headers={"x": "y"})
    producer.produce("t", key="nokey", value='{"v": 1}')
    producer.produce("t", key="rule", value='{"k": "rule", "v": -1}')
    producer.produce("t", key="good", value='{"k": "good", "v": 1}')
    producer.flush()
    engine = log.engine([json_stream("s", "SELECT k, v FROM t", require={"v": "v >= 0"})])
    status = engine.wait_read("s", 4)
    assert (status["dead"], status["out"]) == (3, 1)
    dead = {m.key(): (m.value(), dict(m.headers())) for m in log.records("s.dead")}
    assert dead[b"bad"][0] == b"nonsense"
    assert dead[b"bad"][1]["mr.place"] == b"decode" and dead[b"bad"][1]["x"] == b"y"
    assert dead[b"bad"][1]["mr.topic"] == b"t" and dead[b"bad"][1]["mr.offset"] == b"0"
    assert dead[b"nokey"][1]["mr.place"] == b"key"
    assert dead[b"rule"][1]["mr.reason"] == b"v: v >= 0"


def test_rows_go_to_another_topic_instead_of_its_own(log):
    log.topic("t")
    write_json(log, 20)
    engine = log.engine([json_stream("s", "SELECT k, v FROM t WHERE v < 5", topic_none=True,
                                     targets=[{"driver": "topic", "place": "small"}])])
    engine.wait_read("s", 20)
    assert sorted(m.key() for m in log.records("small")) == [b"k0", b"k1", b"k2", b"k3", b"k4"]
    assert "s" not in AdminClient({"bootstrap.servers": log.kafka}).list_topics(timeout=10).topics


def test_a_group_by_that_changed_does_not_misread_the_old_state(log):
    log.topic("t")
    write_json(log, 20)
    first = json_stream("s", "SELECT v % 2 AS p, count(*) AS n FROM t GROUP BY v % 2", update=True, keys=["p"])
    engine = log.engine([first])
    engine.wait_read("s", 20)
    assert engine.stop() == 0
    other = {**first, "sql": "SELECT k AS p, sum(v) AS n FROM t GROUP BY k"}
    status = log.engine([other]).wait("s", lambda s: s["state"] == "failed")
    assert "another GROUP BY" in status["error"]
    again = log.engine([first])
    write_json(log, 20)
    again.wait_read("s", 40)
    assert json.loads(log.records("s")[-1].value())["n"] == 20


def test_offsets_are_mirrored_to_a_group(log):
    log.topic("t", 1)
    write_json(log, 10)
    engine = log.engine([json_stream("s", "SELECT k, v FROM t")])
    engine.wait_read("s", 10)
    consumer = Consumer({"bootstrap.servers": log.kafka, "group.id": "millrace.s"})
    assert consumer.committed([TopicPartition("t", 0)], timeout=10)[0].offset == 10
    consumer.close()


def test_a_stream_waits_for_its_topic(log):
    engine = log.engine([json_stream("s", "SELECT k, v FROM t")])
    status = engine.wait("s", lambda s: s["state"] == "waiting")
    assert "topic t does not exist yet" in status["error"]
    log.topic("t")
    write_json(log, 5)
    engine.wait_read("s", 5)
    assert engine.status("s")["error"] == ""


def test_wrong_sql_fails_with_its_place(log):
    log.topic("t")
    engine = log.engine([json_stream("s", "SELECT k,\n  w FROM t")])
    status = engine.wait("s", lambda s: s["state"] == "failed")
    assert "line 2, column 3" in status["error"]


def test_a_paused_stream_reads_nothing_and_goes_on_where_it_stood(log):
    log.topic("t")
    write_json(log, 100)
    engine = log.engine([json_stream("s", "SELECT k, v FROM t")])
    engine.wait_read("s", 100)
    assert engine.say("pause s") == "done"
    engine.wait("s", lambda s: s["state"] == "paused")
    write_json(log, 100)
    time.sleep(0.5)
    assert engine.status("s")["in"] == 100
    assert engine.say("resume s") == "done"
    engine.wait_read("s", 200)
    assert engine.say("stop s") == "done"
    assert "no stream" in engine.say("pause s")
    assert len(log.records("s")) == 200


def test_new_partitions_of_the_input_are_found(log):
    log.topic("t", 1)
    write_json(log, 10)
    engine = log.engine([json_stream("s", "SELECT k, v FROM t")])
    engine.wait_read("s", 10)
    assert engine.stop() == 0
    admin = AdminClient({"bootstrap.servers": log.kafka})
    for future in admin.create_partitions([NewPartitions("t", 3)]).values():
        future.result()
    engine = engine.again()
    write_json(log, 100)
    engine.wait_read("s", 110)


def test_a_backlog_in_order_has_no_late_rows_whatever_partition_is_read_first(log):
    log.topic("t")
    producer = log.producer()
    for i in range(60000):
        ts = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(1700000000 + i // 10))
        producer.produce("t", value=json.dumps({"ts": ts}), partition=i % 4)
    producer.flush()
    stream = {"name": "w", "sql": "SELECT window.start AS m, count(*) AS n FROM t GROUP BY window(ts, '1 minute')",
              "json": True, "keys": ["m"], "inputs": [
                  {"topic": "t", "json": True, "schema": "ts TIMESTAMP", "watermark": "ts", "delay_us": 1000000}]}
    engine = log.engine([stream])
    status = engine.wait_read("w", 60000)
    assert status["late"] == 0 and status["checkpoints"] > 1
    engine.wait("w", lambda s: s["groups"] <= 1)
    assert len(log.records("w")) == 100


def test_windows_close_although_no_record_comes_after_the_one_that_closes_them(log):
    """After a restart the partition with the news may be read before the others have been asked at all."""
    log.topic("t")
    stream = {"name": "w", "sql": "SELECT window.start AS m, k, count(*) AS n FROM t GROUP BY window(ts, '1 minute'), k",
              "json": True, "keys": ["m", "k"], "inputs": [
                  {"topic": "t", "json": True, "schema": "k STRING, ts TIMESTAMP", "watermark": "ts", "delay_us": 1000000}]}
    producer = log.producer()

    def write(minute, partition):
        ts = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(1700000000 + minute * 60))
        producer.produce("t", value=json.dumps({"k": f"k{partition}", "ts": ts}), partition=partition)
    for partition in range(4):
        write(0, partition)
    producer.flush()
    engine = log.engine([stream])
    engine.wait_read("w", 4)
    for n in range(8):
        engine.kill()
        write(10 * (n + 1), n % 4)
        producer.flush()
        engine = engine.again()
        engine.wait_read("w", 5 + n)
        engine.wait("w", lambda s: s["groups"] == 1)


def test_two_instances_of_one_stream_double_nothing(log):
    log.topic("t")
    write_json(log, 1000)
    old = log.engine([json_stream("s", "SELECT k, v FROM t")])
    old.wait_read("s", 1000)
    new = log.engine([json_stream("s", "SELECT k, v FROM t")])
    new.wait("s", lambda s: s["state"] == "running")
    for _ in range(20):
        write_json(log, 100)
        time.sleep(0.1)
    told = old.output.read_text() + new.output.read_text()
    assert "waits" in told or "failed" in told
    old.kill()
    new.kill()
    last = log.engine([json_stream("s", "SELECT k, v FROM t")])
    last.wait_read("s", 3000)
    assert len(log.records("s")) == 3000


def test_the_main_job_reaches_topic_and_table(house):
    house.topic("users_raw")
    writer = Writer(house)
    for i in range(3000):
        writer.write(i)
    writer.write(999999, fetched_us=users.START_US + 10**10)
    writer.flush()
    engine = house.engine(STREAMS)
    engine.wait_read("users_created", 3001)
    engine.wait("users_by_country", lambda s: s["in"] >= 3001 and s["rows"] > 0 and s["lag"] == 0)
    session = house.session()
    rows = {str(row.id): row for row in session.execute("SELECT * FROM spark_streams.created_users")}
    assert len(rows) == 3001
    ada = rows[user_id(137)]
    assert ada.address == "137 High St, York, Yorkshire, C5" and ada.post_code == "4711" and ada.email == "ada137@example.com"
    assert rows[user_id(138)].post_code == "YO1 7HH"
    minutes = list(session.execute("SELECT country, minute, users FROM spark_streams.users_by_country"))
    assert sum(row.users for row in minutes) == 3000
    read = AvroDeserializer(SchemaRegistryClient({"url": house.registry}))
    kept = house.records("users_created")
    assert len(kept) == 3001
    first = read(kept[0].value(), SerializationContext("users_created", MessageField.VALUE))
    assert first["id"] == kept[0].key().decode() and len(first) == 12


def test_a_row_that_the_table_refuses_is_written_nowhere(house):
    house.topic("users_raw")
    writer = Writer(house)
    writer.write(1)
    bad = user(2)
    bad["login"]["uuid"] = "no uuid"
    writer.write(2, body=json.dumps(bad))
    late = user(3)
    late["email"] = None
    writer.write(3, body=json.dumps(late))
    writer.raw("4", b"\0\0\0\x27\x0fjunk")
    writer.raw("5", b"no frame")
    writer.raw("1", None)
    writer.flush()
    engine = house.engine(STREAMS[:1])
    status = engine.wait_read("users_created", 6)
    assert (status["dead"], status["out"], status["rows"]) == (5, 1, 1)
    reasons = {m.key(): dict(m.headers())["mr.reason"].decode() for m in house.records("users_created.dead")}
    assert "no uuid" in reasons[b"2"] and "email" in reasons[b"3"] and "9999" in reasons[b"4"]
    assert "frame" in reasons[b"5"] and "not known" in reasons[b"1"]
    assert len(house.records("users_created")) == 1


def test_deletes_reach_the_table_when_the_key_is_the_inputs_own(house):
    house.topic("t")
    stream = json_stream("s", "SELECT k, v FROM t", targets=[{"driver": "cassandra", "place": "shop.things"}])
    stream["inputs"][0]["keys"] = ["k"]
    engine = house.engine([stream])
    producer = house.producer()
    for i in range(10):
        producer.produce("t", key=f"k{i}", value=json.dumps({"k": f"k{i}", "v": i}))
    for i in range(5):
        producer.produce("t", key=f"k{i}", value=None)
    producer.flush()
    engine.wait_read("s", 15)
    rows = sorted(row.k for row in house.session().execute("SELECT k FROM shop.things"))
    assert rows == ["k5", "k6", "k7", "k8", "k9"]


def test_a_table_or_registry_that_is_away_makes_the_stream_wait(house):
    house.topic("users_raw")
    writer = Writer(house)
    writer.write(1)
    writer.flush()
    engine = house.engine(STREAMS[:1])
    engine.wait_read("users_created", 1)
    house.kill("store")
    house.kill("registry")
    writer.write(2)
    writer.flush()
    status = engine.wait("users_created", lambda s: s["state"] == "waiting", 40)
    assert status["error"] != "" and status["dead"] == 0
    house.begin("registry")
    house.begin("store")
    engine.wait_read("users_created", 2)
    assert len(list(house.session().execute("SELECT id FROM spark_streams.created_users"))) == 2

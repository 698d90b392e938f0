"""What becomes of each kind of change and of each type, as a consumer sees it, with an Avro library of others."""
import io
import json

import fastavro
import pytest
import requests

from captures import Capture, capture, log_and_registry, read_topic, wait_caught_up  # noqa: F401 (fixtures)
from story import wait_for

LONG = "SELECT string_agg(md5(i::text), '') FROM generate_series(1, 400) i"


@pytest.fixture
def table(capture, request):
    """The table that the story's mark makes, captured under its own name."""
    made = []

    def begin(ddl, name="public.things"):
        wait_for(lambda: capture.status["state"] == "streaming")
        capture.stop()
        run(capture, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots", ddl)
        capture.name, capture.table = capture.name + "_t", name
        capture.start()
        made.append(capture)
        return capture

    return begin


def run(capture, *statements):
    conn = capture.connect()
    conn.autocommit = True
    for statement in statements:
        conn.cursor().execute(statement)
    conn.close()


def wait_streaming(capture):
    wait_for(lambda: capture.status["state"] == "streaming")


def told(capture):
    """(key, row or None, op) of all records; rows by the schema that each one names."""
    wait_caught_up(capture)
    out, schemas = [], {}
    for key, value, headers in read_topic(capture.kafka, capture.name):
        row = None
        if value is not None:
            number = int.from_bytes(value[1:5], "big")
            if number not in schemas:
                answer = requests.get(f"http://{capture.registry}/schemas/ids/{number}", timeout=5).json()
                schemas[number] = fastavro.parse_schema(json.loads(answer["schema"]))
            row = fastavro.schemaless_reader(io.BytesIO(value[5:]), schemas[number])
        out.append((key, row, headers["mr.op"].decode()))
    return out


def by_key(capture):
    out = {}
    for key, row, op in told(capture):
        out.setdefault(key, []).append((op, row))
    return out


def test_each_type_arrives_as_its_avro(table):
    capture = table("""CREATE TABLE things (id int PRIMARY KEY, b bool, s smallint, l bigint, f real, d float8, n numeric,
        m numeric(10,2), t text, v varchar(9), j jsonb, u uuid, y bytea, day date, ts timestamp, tz timestamptz,
        tm time, a int[]);
        INSERT INTO things VALUES (1, true, -5, 9223372036854775807, 1.5, 1e300, 12.3400, 12.34, 'é', 'v', '{"a": 1}',
        '550e8400-e29b-41d4-a716-446655440000', '\\x00ff', '2026-11-21', '2026-11-21 06:26:00.000001',
        '2026-11-21 06:26:00+02', '23:59:59.5', '{1,2}'); INSERT INTO things(id) VALUES (2)""")
    wait_streaming(capture)
    run(capture, "INSERT INTO things SELECT 3, b, s, l, f, d, n, m, t, v, j, u, y, day, ts, tz, tm, a FROM things "
                 "WHERE id = 1")
    rows = by_key(capture)
    (op, first), = rows["1"]
    assert op == "r" and rows["3"][0][0] == "c"
    assert {**rows["3"][0][1], "id": 1} == first, "a snapshot's row is a stream's row"
    assert [value for value in rows["2"][0][1].values()] == [2] + [None] * 17
    assert (first["b"], first["s"], first["l"], first["f"], first["d"]) == (True, -5, 9223372036854775807, 1.5, 1e300)
    assert (first["n"], str(first["m"]), first["t"], first["v"]) == ("12.3400", "12.34", "é", "v")
    assert (first["j"], str(first["u"]), first["y"]) == ('{"a": 1}', "550e8400-e29b-41d4-a716-446655440000", b"\0\xff")
    assert (str(first["day"]), str(first["ts"])) == ("2026-11-21", "2026-11-21 06:26:00.000001")
    assert first["tz"].isoformat() == "2026-11-21T04:26:00+00:00"
    assert (first["tm"], first["a"]) == ("23:59:59.5", "{1,2}")


@pytest.mark.parametrize("identity", ["DEFAULT", "FULL"])
def test_a_value_stored_out_of_line_is_never_a_placeholder(table, identity):
    capture = table(f"CREATE TABLE things (id int PRIMARY KEY, n int, big text); ALTER TABLE things REPLICA IDENTITY "
                    f"{identity}")
    wait_streaming(capture)
    run(capture, f"INSERT INTO things VALUES (1, 0, ({LONG}))", "UPDATE things SET n = 1", "UPDATE things SET n = 2",
        "UPDATE things SET id = 7", "DELETE FROM things")
    rows = by_key(capture)
    for op, row in rows["1"] + rows["7"]:
        assert row is None or len(row["big"]) == 12800
    # With the default identity a row that has gone since needs no value: its delete follows.
    assert rows["1"][-1] == ("d", None) and rows["7"][-1] == ("d", None)
    if identity == "FULL":
        assert [op for op, _ in rows["1"]] == ["c", "u", "u", "d"]
        assert [row["n"] for _, row in rows["1"][:3]] == [0, 1, 2]


def test_a_new_key_is_the_end_of_the_old_one(table):
    capture = table("CREATE TABLE things (a int, b text, n int, PRIMARY KEY (b, a)); INSERT INTO things VALUES (1, 'x\"y', 0)")
    wait_streaming(capture)
    run(capture, "UPDATE things SET a = 2", "UPDATE things SET n = 5")
    rows = by_key(capture)
    assert [op for op, _ in rows['["x\\"y","1"]']] == ["r", "d"]
    assert [(op, row["n"]) for op, row in rows['["x\\"y","2"]']] == [("u", 0), ("u", 5)]


def test_a_table_changes_its_shape_while_it_is_captured(table):
    capture = table("CREATE TABLE things (id int PRIMARY KEY, old text)")
    wait_streaming(capture)
    run(capture, "INSERT INTO things VALUES (1, 'a')", "ALTER TABLE things ADD COLUMN fresh int",
        "INSERT INTO things VALUES (2, 'b', 7)", "ALTER TABLE things DROP COLUMN old",
        "INSERT INTO things VALUES (3, 8)", "ALTER TABLE things ADD COLUMN must int NOT NULL DEFAULT 4",
        "INSERT INTO things VALUES (4, 9)")
    rows = by_key(capture)
    assert rows["1"][0][1] == {"id": 1, "old": "a"}
    assert rows["2"][0][1] == {"id": 2, "old": "b", "fresh": 7}
    assert rows["3"][0][1] == {"id": 3, "fresh": 8}
    assert rows["4"][0][1] == {"id": 4, "fresh": 9, "must": 4}
    # and the next start, which learns the shape from the catalogue, goes on
    capture.kill()
    run(capture, "INSERT INTO things VALUES (5, 10, 11)")
    capture.start()
    assert by_key(capture)["5"][0][1] == {"id": 5, "fresh": 10, "must": 11}


def test_text_keys_in_the_order_of_a_language(table):
    """Only the server knows such an order: the snapshot is by its order all the same, and whole."""
    capture = table("CREATE TABLE things (k text COLLATE \"und-x-icu\" PRIMARY KEY, n int); INSERT INTO things SELECT "
                    "chr(97 + i % 26) || chr(65 + i / 26 % 26) || i, i FROM generate_series(0, 9999) i")
    wait_streaming(capture)
    rows = by_key(capture)
    assert len(rows) == 10000 and all(len(changes) == 1 for changes in rows.values())


def test_one_transaction_larger_than_a_kafka_transaction(table):
    capture = table("CREATE TABLE things (id int PRIMARY KEY, t text)")
    wait_streaming(capture)
    run(capture, "INSERT INTO things SELECT i, repeat(md5(i::text), 40) FROM generate_series(1, 30000) i")
    wait_for(lambda: capture.status["changes"] > 8000, pause=0.001)
    capture.kill()
    capture.start()
    rows = by_key(capture)
    assert len(rows) == 30000 and all(len(changes) == 1 for changes in rows.values())


def test_a_row_larger_than_a_usual_record(table):
    capture = table("CREATE TABLE things (id int PRIMARY KEY, t text); INSERT INTO things VALUES (1, repeat('x', 5000000))")
    wait_streaming(capture)
    run(capture, "INSERT INTO things VALUES (2, repeat('y', 5000000))")
    rows = by_key(capture)
    assert len(rows["1"][0][1]["t"]) == len(rows["2"][0][1]["t"]) == 5000000


def test_a_table_without_key_is_one_sentence(table):
    capture = table("CREATE TABLE things (id int)")
    wait_for(lambda: capture.status["state"] == "waiting")
    assert capture.status["sentence"].startswith("table public.things: expected a primary key, found none")
    run(capture, "ALTER TABLE things ADD PRIMARY KEY (id)")
    wait_streaming(capture)


def test_a_lost_slot_means_a_new_snapshot(table):
    capture = table("CREATE TABLE things (id int PRIMARY KEY); INSERT INTO things VALUES (1)")
    wait_streaming(capture)
    capture.stop()
    run(capture, "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots", "INSERT INTO things VALUES (2)")
    capture.start()
    rows = by_key(capture)
    assert [op for op, _ in rows["1"]] == ["r", "r"] and [op for op, _ in rows["2"]] == ["r"]


def test_a_step_tells_its_run(table):
    capture = table("CREATE TABLE things (id int PRIMARY KEY)")
    wait_streaming(capture)
    conn = capture.connect()
    with conn, conn.cursor() as cursor:
        cursor.execute("SELECT pg_logical_emit_message(true, 'millrace.run', 'users/7')")
        cursor.execute("INSERT INTO things VALUES (1)")
    run(capture, "INSERT INTO things VALUES (2)")
    wait_caught_up(capture)
    headers = {key: headers for key, _, headers in read_topic(capture.kafka, capture.name)}
    assert headers["1"]["mr.run"] == b"users/7" and "mr.run" not in headers["2"]
    assert headers["1"]["mr.lsn"].count(b"/") == 1 and int(headers["1"]["mr.ts_us"]) > 1_700_000_000_000_000

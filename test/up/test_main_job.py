"""The main job, looked at through programs that nobody here wrote."""
import json
import re
import shutil
import subprocess
import uuid

import confluent_kafka
import kafka
import psycopg2
import pytest
import requests
from cassandra.cluster import Cluster
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from story import ROOT, wait_for

FIELDS = ["id", "first_name", "last_name", "gender", "address", "post_code", "email", "username", "dob",
          "registered_date", "phone", "picture"]


def run(*command, **options):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60, check=True,
                          **options).stdout


def need(program):
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")


# ---- PostgreSQL ----

def test_psql_reads_the_raw_rows(users):
    need("psql")
    password = (users.data / "postgres.password").read_text().strip()
    text = run("psql", "-h", "127.0.0.1", "-p", users.port("postgres"), "-U", "millrace", "-d", "millrace", "-Atc",
               "SELECT count(*), count(DISTINCT key), count(body->'login'->>'uuid') FROM raw.users",
               env={"PGPASSWORD": password, "PATH": "/usr/bin:/bin"})
    count, keys, uuids = map(int, text.strip().split("|"))
    assert count >= 50 and count == keys == uuids


def test_a_row_inserted_by_hand_goes_through(users):
    body = {"gender": "female", "name": {"title": "Ms", "first": "Zoë", "last": "Łęcka"},
            "location": {"street": {"number": 7, "name": "Rue de l'Été"}, "city": "Łódź", "state": "Łódzkie",
                         "country": "Poland", "postcode": "90-001"},
            "email": "zoe@example.com", "login": {"uuid": str(uuid.uuid4()), "username": "zoe"},
            "dob": {"date": "1990-01-01T00:00:00.000Z", "age": 36}, "registered": {"date": "2010-01-01T00:00:00.000Z", "age": 16},
            "phone": "1", "picture": {"medium": "m"}}
    with psycopg2.connect(users.postgres_dsn()) as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO raw.users (key, body) VALUES (%s, %s)", (body["login"]["uuid"], json.dumps(body)))
    cluster = Cluster(["127.0.0.1"], port=users.port("cassandra"))
    session = cluster.connect("spark_streams")
    row = wait_for(lambda: session.execute("SELECT * FROM created_users WHERE id = %s",
                                           (uuid.UUID(body["login"]["uuid"]),)).one(), 10)
    assert row.address == "7 Rue de l'Été, Łódź, Łódzkie, Poland" and row.post_code == "90-001"
    # A number as post code, and an update of the row.
    body["location"]["postcode"] = 90001
    with psycopg2.connect(users.postgres_dsn()) as connection, connection.cursor() as cursor:
        cursor.execute("UPDATE raw.users SET body = %s WHERE key = %s", (json.dumps(body), body["login"]["uuid"]))
    wait_for(lambda: session.execute("SELECT post_code FROM created_users WHERE id = %s",
                                     (uuid.UUID(body["login"]["uuid"]),)).one().post_code == "90001", 10)
    cluster.shutdown()


def test_a_record_that_fails_its_rule_goes_to_the_dead_letters(users):
    before = users.counter("stream:users_created", "dead")
    body = {"login": {"uuid": str(uuid.uuid4())}, "name": {"first": "No", "last": "Mail"}}
    with psycopg2.connect(users.postgres_dsn()) as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO raw.users (key, body) VALUES (%s, %s)", (body["login"]["uuid"], json.dumps(body)))
        cursor.execute("INSERT INTO raw.users (key, body) VALUES (%s, %s)", ("no uuid " + str(uuid.uuid4()),
                       json.dumps({"login": {"uuid": "no uuid"}, "email": "a@b"})))
    wait_for(lambda: users.counter("stream:users_created", "dead") >= before + 2, 10)
    consumer = kafka.KafkaConsumer("users_created.dead", bootstrap_servers=users.address("kafka"), auto_offset_reset="earliest",
                                   consumer_timeout_ms=3000, group_id=None)
    letters = list(consumer)
    consumer.close()
    assert len(letters) >= 2
    reasons = [dict(letter.headers)["mr.reason"].decode() for letter in letters]
    assert any("email" in reason for reason in reasons), reasons
    assert all(letter.value[0] == 0 for letter in letters), "the exact bytes of the input record"
    after = users.counter("stream:users_created", "results")
    wait_for(lambda: users.counter("stream:users_created", "results") > after, 30)


# ---- the log ----

def test_kcat_lists_reads_and_writes(users):
    need("kcat")
    listing = run("kcat", "-b", users.address("kafka"), "-L")
    for topic in ("users_raw", "users_created", "users_by_country", "_schemas"):
        assert f'topic "{topic}"' in listing
    value = f"hello {uuid.uuid4()}"
    run("kcat", "-b", users.address("kafka"), "-P", "-t", "by_kcat", "-k", "k", input=value)
    out = run("kcat", "-b", users.address("kafka"), "-C", "-t", "by_kcat", "-o", "beginning", "-e", "-q", "-f", "%k:%s\n")
    assert f"k:{value}" in out
    keys = run("kcat", "-b", users.address("kafka"), "-C", "-t", "users_created", "-o", "beginning", "-c", "20", "-q", "-f", "%k\n")
    assert all(uuid.UUID(key) for key in keys.split())


def test_kcat_in_a_group_goes_on_where_it_stopped(users):
    need("kcat")
    group = f"kcat-{uuid.uuid4()}"
    command = ["kcat", "-b", users.address("kafka"), "-G", group, "-X", "auto.offset.reset=earliest", "-c", "10", "-q",
               "-f", "%t/%p/%o\n", "users_raw"]
    first, second = run(*command).split(), run(*command).split()
    assert len(first) == len(second) == 10 and not set(first) & set(second)


def test_confluent_kafka_decodes_by_the_registry(users):
    registry = SchemaRegistryClient({"url": f"http://{users.address('registry')}"})
    assert {"users_raw-value", "users_created-value"} <= set(registry.get_subjects())
    decode = AvroDeserializer(registry)
    consumer = confluent_kafka.Consumer({"bootstrap.servers": users.address("kafka"), "group.id": f"g-{uuid.uuid4()}",
                                         "auto.offset.reset": "earliest", "isolation.level": "read_committed"})
    consumer.subscribe(["users_created"])
    messages = []
    wait_for(lambda: messages.extend(consumer.consume(20, 1.0)) or len(messages) >= 20, 30)
    consumer.commit(asynchronous=False)
    consumer.close()
    for message in messages:
        assert message.error() is None
        row = decode(message.value(), SerializationContext("users_created", MessageField.VALUE))
        assert list(row) == FIELDS
        assert message.key().decode() == row["id"]


def test_kafka_python_reads_the_changes_with_their_headers(users):
    consumer = kafka.KafkaConsumer("users_raw", bootstrap_servers=users.address("kafka"), auto_offset_reset="earliest",
                                   group_id=f"kp-{uuid.uuid4()}", consumer_timeout_ms=10000)
    records = [next(consumer) for _ in range(20)]
    consumer.commit()
    consumer.close()
    for record in records:
        headers = dict(record.headers)
        assert {"mr.lsn", "mr.op", "mr.ts_us"} <= set(headers)
        assert re.fullmatch(r"\d{16}", headers["mr.ts_us"].decode())
        assert record.key.decode().isdigit(), "the key column's text"


def test_the_engine_shows_its_lag_to_every_kafka_tool(users):
    admin = kafka.KafkaAdminClient(bootstrap_servers=users.address("kafka"))
    offsets = wait_for(lambda: admin.list_group_offsets("millrace.users_created")
                       if hasattr(admin, "list_group_offsets") else admin.list_consumer_group_offsets("millrace.users_created"), 20)
    admin.close()
    assert offsets


# ---- the registry ----

def test_curl_asks_the_registry(users):
    need("curl")
    base = f"http://{users.address('registry')}"
    assert "users_raw-value" in json.loads(run("curl", "-sf", f"{base}/subjects"))
    latest = json.loads(run("curl", "-sf", f"{base}/subjects/users_raw-value/versions/latest"))
    schema = json.loads(latest["schema"])
    assert [field["name"] for field in schema["fields"]] == ["id", "key", "body", "fetched_at"]
    assert json.loads(run("curl", "-sf", f"{base}/schemas/ids/{latest['id']}"))["schema"] == latest["schema"]
    assert json.loads(run("curl", "-sf", f"{base}/config")) == {"compatibilityLevel": "BACKWARD"}
    missing = json.loads(run("curl", "-s", f"{base}/subjects/nothing/versions"))
    assert missing["error_code"] == 40401


# ---- the tables ----

def cqlsh(users, statement):
    return run(ROOT / ".venv/bin/cqlsh", "127.0.0.1", users.port("cassandra"), "-e", statement)


def test_cqlsh_describes_and_selects(users):
    described = cqlsh(users, "DESCRIBE TABLE spark_streams.created_users")
    assert "CREATE TABLE spark_streams.created_users" in described and re.search(r"id uuid PRIMARY KEY", described)
    assert "spark_streams" in cqlsh(users, "DESCRIBE KEYSPACES")
    rows = cqlsh(users, "SELECT first_name, email FROM spark_streams.created_users LIMIT 5")
    assert rows.count("@example.com") == 5
    assert "users_by_country" in cqlsh(users, "USE spark_streams; DESCRIBE TABLES")


def test_the_python_driver_prepares_inserts_and_pages(users):
    cluster = Cluster(["127.0.0.1"], port=users.port("cassandra"))
    session = cluster.connect("spark_streams")
    session.execute("CREATE TABLE IF NOT EXISTS by_hand (a int, b int, c text, PRIMARY KEY (a, b)) "
                    "WITH CLUSTERING ORDER BY (b DESC)")
    insert = session.prepare("INSERT INTO by_hand (a, b, c) VALUES (?, ?, ?)")
    for number in range(250):
        session.execute(insert, (1, number, f"row {number}"))
    query = session.prepare("SELECT b, c FROM by_hand WHERE a = ?")
    query.fetch_size = 40
    result = session.execute(query, (1,))
    assert result.has_more_pages
    assert [row.b for row in result] == list(range(249, -1, -1))
    count = session.execute("SELECT count(*) FROM created_users").one()[0]
    assert count >= 50
    session.execute("DROP TABLE by_hand")
    cluster.shutdown()


def test_the_twelve_fields_are_those_of_the_raw_row(users):
    with psycopg2.connect(users.postgres_dsn()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT body FROM raw.users WHERE body ? 'nat' ORDER BY id LIMIT 50")
        bodies = [body for body, in cursor.fetchall()]
    cluster = Cluster(["127.0.0.1"], port=users.port("cassandra"))
    session = cluster.connect("spark_streams")
    kinds = set()
    for body in bodies:
        row = wait_for(lambda: session.execute("SELECT * FROM created_users WHERE id = %s",
                                               (uuid.UUID(body["login"]["uuid"]),)).one(), 10)
        place = body["location"]
        kinds.add(type(place["postcode"]))
        assert sorted(row._fields) == sorted(FIELDS)
        assert row.address == (f'{place["street"]["number"]} {place["street"]["name"]}, {place["city"]}, '
                               f'{place["state"]}, {place["country"]}')
        assert (row.post_code, row.picture) == (str(place["postcode"]), body["picture"]["medium"])
        assert (row.dob, row.registered_date) == (body["dob"]["date"], body["registered"]["date"])
    assert kinds == {int, str}, "post codes come as numbers and as text"
    cluster.shutdown()


# ---- source and console ----

def test_the_source_answers_as_randomuser_me_does(users):
    base = f"http://{users.address('randomuser')}/api/"
    one, two = (requests.get(base, params={"results": 3, "seed": "mill"}, timeout=10).json() for _ in range(2))
    assert one == two and one["info"] == {"seed": "mill", "results": 3, "page": 1, "version": "1.4"}
    assert len(requests.get(base, params={"results": 5000, "inc": "nat"}, timeout=10).json()["results"]) == 5000


def test_health_metrics_and_state(users):
    assert requests.get(users.url("/health"), timeout=5).text == "ready\n"
    metrics = requests.get(users.url("/metrics"), timeout=5).text
    ours, theirs = (float(re.search(rf"^{name} (\d+)$", metrics, re.M)[1]) for name in
                    ("millrace_broker_records_in_total", "kafka_server_brokertopicmetrics_messagesin_total"))
    assert 0 < ours <= theirs, "the log's numbers under Kafka's names"
    assert re.search(r'^kafka_log_log_logendoffset{topic="users_created",partition="0"} \d+$', metrics, re.M)
    assert re.search(r'^kafka_consumergroup_lag{consumergroup="millrace.users_created",topic="users_raw",partition="0"} \d+$',
                     metrics, re.M)
    assert re.search(r'^kafka_network_requestmetrics_requests_total{request="Produce"} \d+$', metrics, re.M)
    for name in ("millrace_step_records_total", "millrace_capture_events_total", "millrace_stream_records_out_total"):
        assert re.search(rf"^{name}{{.*}} \d+$", metrics, re.M), name
    nodes = {node["id"]: node for node in users.status()["pipelines"][0]["nodes"]}
    assert nodes["step:fetch"]["counters"]["fetched"] >= 50
    assert nodes["stream:users_created"]["counters"]["latency_us"] > 0


def test_runs_are_kept_and_made_by_hand(users):
    base = users.url("/api/v1/dags/users/dagRuns")
    made = requests.post(base, json={}, timeout=10).json()
    assert made["run_type"] == "manual"
    run_url = f"{base}/{made['dag_run_id']}"
    wait_for(lambda: requests.get(run_url, timeout=5).json()["state"] == "success", 20)
    log = requests.get(f"{run_url}/taskInstances/fetch/logs/1", headers={"Accept": "text/plain"}, timeout=5).text
    assert "50 records" in log and "succeeded" in log
    runs = requests.get(base, timeout=5).json()
    assert runs["total_entries"] >= 2 and {"scheduled", "manual"} <= {one["run_type"] for one in runs["dag_runs"]}


def test_the_console_shows_records_and_rows(users):
    page = requests.get(users.url("/"), timeout=5)
    assert page.status_code == 200 and "Millrace" in page.text and "default-src 'self'" in page.headers["Content-Security-Policy"]
    for file in ("/console.js", "/console.css", "/graph.js", "/chart.js", "/icon.svg"):
        assert requests.get(users.url(file), timeout=5).status_code == 200
    topics = {topic["name"]: topic for topic in requests.get(users.url("/console/topics"), timeout=10).json()["topics"]}
    assert topics["users_created"]["partitions"] == 4 and topics["_schemas"]["internal"]
    records = requests.get(users.url("/console/topics/users_created/records?limit=5"), timeout=10).json()["records"]
    assert len(records) == 5
    assert all(record["format"] == "avro" and list(record["value"]) == FIELDS for record in records)
    tables = requests.get(users.url("/console/tables"), timeout=10).json()["tables"]
    assert {"keyspace": "spark_streams", "table": "created_users"} in tables
    rows = requests.get(users.url("/console/tables/spark_streams/created_users?limit=7"), timeout=10).json()
    assert len(rows["rows"]) == 7 and sorted(column["name"] for column in rows["columns"]) == sorted(FIELDS)
    assert requests.get(users.url("/console/topics/no_such_topic/records"), timeout=10).status_code == 404

"""The store as cqlsh sees it."""
import os

import pytest

PEER = os.environ.get("PEER")

TABLE = """CREATE TABLE shop.orders (
    a int,
    b int,
    c text,
    s text static,
    "D" map<text, frozen<list<int>>>,
    PRIMARY KEY ((a, b), c)
) WITH CLUSTERING ORDER BY (c DESC)
    AND additional_write_policy = '99p'
    AND allow_auto_snapshot = true
    AND bloom_filter_fp_chance = 0.01
    AND caching = {'keys': 'ALL', 'rows_per_partition': 'NONE'}
    AND cdc = false
    AND comment = 'it''s'
    AND compaction = {'class': 'org.apache.cassandra.db.compaction.SizeTieredCompactionStrategy', 'max_threshold': '32', 'min_threshold': '4'}
    AND compression = {'chunk_length_in_kb': '16', 'class': 'org.apache.cassandra.io.compress.LZ4Compressor'}
    AND memtable = 'default'
    AND crc_check_chance = 1.0
    AND default_time_to_live = 0
    AND extensions = {}
    AND gc_grace_seconds = 864000
    AND incremental_backups = true
    AND max_index_interval = 2048
    AND memtable_flush_period_in_ms = 0
    AND min_index_interval = 128
    AND read_repair = 'BLOCKING'
    AND speculative_retry = '99p';"""


@pytest.fixture(scope="module")
def shop(store):
    store.cqlsh("DROP KEYSPACE IF EXISTS shop")
    said = store.cqlsh("CREATE KEYSPACE shop WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}; "
                       "CREATE TABLE shop.orders (a int, b int, c text, \"D\" map<text, frozen<list<int>>>, s text static, "
                       "PRIMARY KEY ((a, b), c)) WITH CLUSTERING ORDER BY (c DESC) AND comment = 'it''s'; "
                       "INSERT INTO shop.orders (a, b, c, \"D\") VALUES (1, 2, 'x', {'k': [1, 2]})")
    assert said == "" or PEER
    yield store
    store.cqlsh("DROP KEYSPACE shop")


def test_a_table_is_described_as_cassandra_describes_it(shop):
    assert TABLE in shop.cqlsh("DESCRIBE TABLE shop.orders")
    whole = shop.cqlsh("DESCRIBE KEYSPACE shop")
    assert "CREATE KEYSPACE shop WITH replication = {'class': 'SimpleStrategy', 'replication_factor': '1'}  AND durable_writes = true;" in whole
    assert TABLE in whole and TABLE in shop.cqlsh("DESCRIBE SCHEMA") and TABLE in shop.cqlsh("USE shop; DESCRIBE orders")
    assert "orders" in shop.cqlsh("USE shop; DESCRIBE TABLES")
    assert "shop" in shop.cqlsh("DESCRIBE KEYSPACES")
    assert "Murmur3Partitioner" in shop.cqlsh("DESCRIBE CLUSTER")
    assert "not found in keyspace" in shop.cqlsh("DESCRIBE TABLE shop.nothing")


def test_what_is_described_can_be_run(shop):
    text = shop.cqlsh("DESCRIBE TABLE shop.orders").replace("shop.orders", "shop.copy").strip().rstrip(";")
    text = text[text.index("CREATE"):]
    assert PEER or shop.cqlsh(text) == ""
    assert TABLE.replace("orders", "copy") in shop.cqlsh("DESCRIBE TABLE shop.copy")
    shop.cqlsh("DROP TABLE shop.copy")


def test_selects_are_shown(shop):
    assert "\n 1 | 2 | x | null | {'k': [1, 2]}\n" in shop.cqlsh("SELECT * FROM shop.orders")
    assert "(1 rows)" in shop.cqlsh("SELECT * FROM shop.orders")
    assert "Tracing session" in shop.cqlsh("TRACING ON; SELECT * FROM shop.orders")
    if not PEER:
        assert "WARNING" not in shop.cqlsh("SELECT * FROM shop.orders")


def test_tables_go_out_and_come_in_as_csv(shop, tmp_path):
    said = shop.cqlsh("CREATE TABLE shop.flat (id int PRIMARY KEY, name text, born timestamp)")
    assert said == "" or PEER
    for i in range(30):
        shop_file = tmp_path / "in.csv"
        with open(shop_file, "a") as out:
            out.write(f"{i},name {i},2024-01-01 00:00:00.000+0000\n")
    said = shop.cqlsh(f"COPY shop.flat (id, name, born) FROM '{shop_file}'")
    assert "30 rows imported" in said, said
    target = tmp_path / "out.csv"
    said = shop.cqlsh(f"COPY shop.flat (id, name, born) TO '{target}'")
    assert "30 rows exported" in said, said
    assert sorted(target.read_text().split()) == sorted(shop_file.read_text().split())

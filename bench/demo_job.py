"""The known demo's job for the benchmark: JSON from a topic into the table, and with --topic-out into a topic as well. Prints
`query SECONDS` at its end (--once), as spark-submit's own start is told apart."""
import argparse
import time

from pyspark.sql import SparkSession
from pyspark.sql.functions import col, from_json, struct, to_json
from pyspark.sql.types import StringType, StructField, StructType

FIELDS = ["id", "first_name", "last_name", "gender", "address", "post_code", "email", "username", "dob", "registered_date",
          "phone", "picture"]
options = argparse.ArgumentParser()
options.add_argument("--kafka")
options.add_argument("--topic")
options.add_argument("--topic-out")
options.add_argument("--checkpoint")
options.add_argument("--once", action="store_true")
chosen = options.parse_args()
spark = SparkSession.builder.appName("demo").getOrCreate()
spark.sparkContext.setLogLevel("ERROR")
lines = (spark.readStream.format("kafka").option("kafka.bootstrap.servers", chosen.kafka).option("subscribe", chosen.topic)
         .option("startingOffsets", "earliest").load())
schema = StructType([StructField(name, StringType()) for name in FIELDS])
users = lines.select(from_json(col("value").cast("string"), schema).alias("user")).select("user.*")


def both(batch, _):
    batch.persist()
    (batch.write.format("org.apache.spark.sql.cassandra").options(keyspace="spark_streams", table="created_users")
     .mode("append").save())
    (batch.select(col("id").alias("key"), to_json(struct(*FIELDS)).alias("value")).write.format("kafka")
     .option("kafka.bootstrap.servers", chosen.kafka).option("topic", chosen.topic_out).save())
    batch.unpersist()


writer = users.writeStream.option("checkpointLocation", chosen.checkpoint)
writer = writer.foreachBatch(both) if chosen.topic_out else \
    writer.format("org.apache.spark.sql.cassandra").options(keyspace="spark_streams", table="created_users")
began = time.monotonic()
query = (writer.trigger(availableNow=True) if chosen.once else writer).start()
print("started", flush=True)
query.awaitTermination()
print(f"query {time.monotonic() - began:.2f}", flush=True)

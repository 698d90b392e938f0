"""The known demo's Spark job: JSON from the topic users_created into the table spark_streams.created_users.

    spark-submit --packages org.apache.spark:spark-sql-kafka-0-10_2.12:3.5.7,com.datastax.spark:spark-cassandra-connector_2.12:3.5.1 \
        stream.py [--kafka HOST:PORT] [--cassandra HOST:PORT] [--checkpoint FOLDER] [--once]

Stopped, killed and started again it goes on from its checkpoint. A record that is no user's JSON has no id, and is left out:
with the demo's own schema one such record ends the query, since a table's key is never null.
"""
import argparse

from pyspark.sql import SparkSession
from pyspark.sql.functions import col, from_json
from pyspark.sql.types import StringType, StructField, StructType

FIELDS = ["id", "first_name", "last_name", "gender", "address", "post_code", "email", "username", "dob", "registered_date",
          "phone", "picture"]


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--kafka", default="127.0.0.1:9092")
    options.add_argument("--cassandra", default="127.0.0.1:9042")
    options.add_argument("--topic", default="users_created")
    options.add_argument("--checkpoint", default="/tmp/users-checkpoint")
    options.add_argument("--records", type=int, default=10000, help="at most so many a batch")
    options.add_argument("--once", action="store_true", help="ends when everything that is there has been read")
    chosen = options.parse_args()
    host, port = chosen.cassandra.rsplit(":", 1)
    spark = (SparkSession.builder.appName("users")
             .config("spark.cassandra.connection.host", host).config("spark.cassandra.connection.port", port)
             .getOrCreate())
    spark.sparkContext.setLogLevel("ERROR")
    lines = (spark.readStream.format("kafka").option("kafka.bootstrap.servers", chosen.kafka)
             .option("subscribe", chosen.topic).option("startingOffsets", "earliest")
             .option("maxOffsetsPerTrigger", chosen.records).load())
    schema = StructType([StructField(name, StringType()) for name in FIELDS])
    users = lines.select(from_json(col("value").cast("string"), schema).alias("user")).select("user.*").where(col("id").isNotNull())
    writer = (users.writeStream.format("org.apache.spark.sql.cassandra").option("checkpointLocation", chosen.checkpoint)
              .option("keyspace", "spark_streams").option("table", "created_users").outputMode("append"))
    query = (writer.trigger(availableNow=True) if chosen.once else writer).start()
    query.awaitTermination()


main()

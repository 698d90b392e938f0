"""The table as Spark reads it, by ranges of tokens, and a summary of it into the topic users_by_gender.

    spark-submit --packages (as for stream.py) read_back.py [--kafka HOST:PORT] [--cassandra HOST:PORT]
"""
import argparse

from pyspark.sql import SparkSession

options = argparse.ArgumentParser()
options.add_argument("--kafka", default="127.0.0.1:9092")
options.add_argument("--cassandra", default="127.0.0.1:9042")
chosen = options.parse_args()
host, port = chosen.cassandra.rsplit(":", 1)
spark = (SparkSession.builder.appName("read back")
         .config("spark.cassandra.connection.host", host).config("spark.cassandra.connection.port", port).getOrCreate())
spark.sparkContext.setLogLevel("ERROR")
users = (spark.read.format("org.apache.spark.sql.cassandra").option("keyspace", "spark_streams").option("table", "created_users")
         .load())
print(f"partitions {users.rdd.getNumPartitions()}")
print(f"users {users.count()}, distinct {users.select('id').distinct().count()}")
one = users.first()
print(f"one {users.where(users.id == one.id).count()}")     # the key goes down to the store
by_gender = users.groupBy("gender").count()
by_gender.show()
(by_gender.selectExpr("gender AS key", "to_json(struct(*)) AS value").write.format("kafka")
 .option("kafka.bootstrap.servers", chosen.kafka).option("topic", "users_by_gender").save())

#!/usr/bin/env python3
"""Replays the golden files of test/data/sql on genuine Spark (pip install pyspark==3.5.*, Java 17).

  judge.py [--write] [FILE...]

Each block is a statement, a line `----`, the schema, and the rows sorted as text; blocks are separated
by empty lines. `-- ansi` as the first line sets ANSI mode. Without --write, differences are printed and
the exit status is 1; with it, the files get Spark's answers.
"""
import glob
import os
import sys


def blocks(text):
    """Yields (comment lines, statement, expected) of each block."""
    for block in text.split("\n\n"):
        lines = [line for line in block.split("\n") if line]
        comments = []
        while lines and lines[0].startswith("#"):
            comments.append(lines.pop(0))
        if "----" in lines:
            at = lines.index("----")
            yield comments, "\n".join(lines[:at]), "\n".join(lines[at + 1:])
        elif lines or comments:
            yield comments, "\n".join(lines), ""


def session():
    from pyspark.sql import SparkSession
    spark = (SparkSession.builder.master("local[1]").appName("judge")
             .config("spark.ui.enabled", "false").config("spark.sql.session.timeZone", "UTC")
             .config("spark.sql.shuffle.partitions", "1").config("spark.driver.memory", "700m")
             .config("spark.log.level", "OFF").getOrCreate())
    return spark


def cell(value):
    return "NULL" if value is None else value.replace("\n", "\\n").replace("\r", "\\r")


def answer(spark, statement):
    from pyspark.sql import functions as F
    spark.conf.set("spark.sql.ansi.enabled", "true" if statement.startswith("-- ansi") else "false")
    try:
        frame = spark.sql(statement)
        schema = frame.schema
        frame = frame.toDF(*[f"c{i}" for i in range(len(schema))])
        rows = frame.select(*[
            F.hex(f"c{i}") if field.dataType.simpleString() == "binary" else F.col(f"c{i}").cast("string")
            for i, field in enumerate(schema)]).collect()
    except Exception as error:
        return "error", str(error).split("\n")[0]
    lines = sorted(("|".join(cell(value) for value in row) for row in rows),
                   key=lambda line: line.encode())
    simple = "struct<" + ",".join(f"{f.name}:{f.dataType.simpleString()}" for f in schema) + ">"
    return "\n".join([simple.replace("\n", "\\n")] + lines), ""


def main():
    write = "--write" in sys.argv
    here = os.path.dirname(os.path.abspath(__file__))
    files = [a for a in sys.argv[1:] if not a.startswith("--")]
    files = files or sorted(glob.glob(os.path.join(here, "../data/sql/*.test")))
    spark = session()
    wrong = 0
    for path in files:
        out = []
        for comments, statement, expected in blocks(open(path, encoding="utf-8").read()):
            if not statement:
                out.append("\n".join(comments))
                continue
            found, why = answer(spark, statement)
            if found != expected and not write:
                wrong += 1
                print(f"{path}: {statement}\n  file:\n{expected}\n  Spark: {why}\n{found}")
            elif write and why:
                print(f"{os.path.basename(path)}: {statement}\n    {why[:300]}")
            out.append("\n".join(comments + [statement, "----", found]))
        if write:
            with open(path, "w", encoding="utf-8") as file:
                file.write("\n\n".join(out) + "\n")
    print(f"{wrong} differences")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Users from the randomuser.me API as JSON into the topic users_created: what the known demo's Airflow task does.

    python produce.py [--kafka HOST:PORT] [--source URL] [--users N] [--every SECONDS]

Unlike there, the id is a text that JSON can hold, the key is the id, and the producer is flushed and closed.
"""
import argparse
import json
import time
import urllib.request

from kafka import KafkaProducer


def fetch(source, count):
    with urllib.request.urlopen(f"{source}/api/?results={count}", timeout=30) as answer:
        return json.load(answer)["results"]


def flat(user):
    """The twelve fields of the demo. A post code comes as a number or as a text."""
    place = user["location"]
    street = place["street"]
    return {"id": user["login"]["uuid"], "first_name": user["name"]["first"], "last_name": user["name"]["last"],
            "gender": user["gender"],
            "address": f'{street["number"]} {street["name"]}, {place["city"]}, {place["state"]}, {place["country"]}',
            "post_code": str(place["postcode"]), "email": user["email"], "username": user["login"]["username"],
            "dob": user["dob"]["date"], "registered_date": user["registered"]["date"], "phone": user["phone"],
            "picture": user["picture"]["medium"]}


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--kafka", default="127.0.0.1:9092")
    options.add_argument("--source", default="http://127.0.0.1:8088", help="https://randomuser.me is the real one")
    options.add_argument("--topic", default="users_created")
    options.add_argument("--users", type=int, default=1000, help="how many in all")
    options.add_argument("--batch", type=int, default=100, help="how many a request")
    options.add_argument("--every", type=float, default=0, help="seconds between requests")
    chosen = options.parse_args()
    producer = KafkaProducer(bootstrap_servers=chosen.kafka, acks="all", linger_ms=20,
                             value_serializer=lambda value: json.dumps(value).encode(), key_serializer=str.encode)
    sent = 0
    while sent < chosen.users:
        for user in fetch(chosen.source, min(chosen.batch, chosen.users - sent)):
            row = flat(user)
            producer.send(chosen.topic, key=row["id"], value=row)
            sent += 1
        producer.flush()
        print(f"{sent} of {chosen.users} users sent", flush=True)
        time.sleep(chosen.every)
    producer.close()


if __name__ == "__main__":
    main()

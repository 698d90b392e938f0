"""aiokafka: a client that shares no code with librdkafka, and asks for many things at once on one thread."""
import asyncio
import uuid

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic


def run(story):
    asyncio.run(asyncio.wait_for(story, 90))


async def take(consumer, count):
    values = []
    while len(values) < count:
        for messages in (await consumer.getmany(timeout_ms=500)).values():
            values += [message.value.decode() for message in messages]
    return values


def test_records_go_and_come_by_a_group(log):
    async def story():
        topic, group = f"t-{uuid.uuid4().hex[:12]}", f"g-{uuid.uuid4().hex[:12]}"
        admin = AIOKafkaAdminClient(bootstrap_servers=log.address)
        await admin.start()
        await admin.create_topics([NewTopic(topic, 3, 1)])
        for compression in (None, "gzip", "lz4", "snappy", "zstd"):
            async with AIOKafkaProducer(bootstrap_servers=log.address, enable_idempotence=True,
                                        compression_type=compression) as producer:
                await asyncio.gather(*[await producer.send(topic, f"{compression}-{number}".encode(), key=b"%d" % (number % 7))
                                       for number in range(200)])

        def member():
            return AIOKafkaConsumer(topic, bootstrap_servers=log.address, group_id=group, auto_offset_reset="earliest",
                                    enable_auto_commit=False, session_timeout_ms=6000, heartbeat_interval_ms=500)
        async with member() as first:
            values = await take(first, 1000)
            assert len(values) == len(set(values)) == 1000
            await first.commit()
            async with member() as second:          # they share
                while len(first.assignment()) + len(second.assignment()) != 3 or not second.assignment():
                    await asyncio.gather(first.getmany(timeout_ms=100), second.getmany(timeout_ms=100))
        offsets = await admin.list_consumer_group_offsets(group)
        assert sum(offset.offset for offset in offsets.values()) == 1000
        described = await admin.describe_topics([topic])
        assert len(described[0]["partitions"]) == 3
        await admin.delete_topics([topic])
        await admin.close()
    run(story())


def test_a_transaction_is_there_as_a_whole_or_not_at_all(log):
    async def story():
        topic, group = log.topic(2), f"g-{uuid.uuid4().hex[:12]}"
        async with AIOKafkaProducer(bootstrap_servers=log.address, transactional_id=uuid.uuid4().hex) as producer:
            for round in ("kept", "dropped", "kept-too"):
                await producer.begin_transaction()
                for number in range(20):
                    await producer.send_and_wait(topic, f"{round}-{number}".encode(), partition=number % 2)
                await producer.send_offsets_to_transaction({TopicPartition(topic, 0): len(round)}, group)
                if round == "dropped":
                    await producer.abort_transaction()
                else:
                    await producer.commit_transaction()
        consumer = AIOKafkaConsumer(bootstrap_servers=log.address, group_id=group, isolation_level="read_committed",
                                    enable_auto_commit=False)
        await consumer.start()
        partitions = [TopicPartition(topic, 0), TopicPartition(topic, 1)]
        consumer.assign(partitions)
        assert await consumer.committed(partitions[0]) == len("kept-too")
        await consumer.seek_to_beginning(*partitions)
        values = await take(consumer, 40)
        assert len(values) == 40 and not [value for value in values if value.startswith("dropped")]
        await consumer.stop()
    run(story())

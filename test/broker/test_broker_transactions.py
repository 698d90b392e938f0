"""Transactions whose ends raise the epoch (KIP-890), as Kafka 4 and its Java client have them. With PEER a genuine Kafka 4
hears the same."""
import uuid

from confluent_kafka import TopicPartition
from raw_transactions import RawProducer
from story import wait_for

NONE, OUT_OF_ORDER, INVALID_EPOCH, INVALID_STATE, WRONG_ID, NO_RIGHT, FENCED, ABORTABLE = 0, 45, 47, 48, 49, 53, 90, 120


def producer_of(log):
    return RawProducer(log.address, f"raw-{uuid.uuid4().hex[:8]}")


def test_an_end_that_was_not_heard_is_told_again_and_what_is_late_is_refused(log):
    topic, mover = log.topic(), producer_of(log)
    assert mover.begins() == NONE
    assert mover.puts(topic, b"first") == NONE
    old = mover.epoch
    assert mover.ends(True) == NONE
    assert mover.epoch == old + 1
    assert mover.ends(True, take=False, epoch=old) == NONE
    assert mover.ends(False, take=False, epoch=old) == INVALID_STATE
    assert mover.puts(topic, b"late", epoch=old, sequence=1) == INVALID_EPOCH
    assert mover.puts(topic, b"second") == NONE
    assert mover.ends(True, take=False, epoch=old) == FENCED
    assert mover.ends(False) == NONE
    assert mover.puts(topic, b"third") == NONE
    assert mover.ends(True) == NONE
    assert log.reads(topic, 2) == ["first", "third"]


def test_an_end_of_nothing_is_an_abort(log):
    mover = producer_of(log)
    assert mover.begins() == NONE
    assert mover.ends(True) == INVALID_STATE
    assert mover.ends(False) == NONE
    assert mover.ends(False) == NONE
    assert mover.epoch == 2


def test_a_batch_joins_a_transaction_only_of_its_own(log):
    topic, mover = log.topic(partitions=2), producer_of(log)
    assert mover.begins() == NONE
    assert mover.puts(topic, b"x", version=10) == INVALID_STATE
    assert mover.puts(topic, b"x", version=11) == ABORTABLE
    assert mover.puts(topic, b"x", id=None) == NO_RIGHT
    assert mover.puts(topic, b"x", id="another") == WRONG_ID
    assert mover.puts(topic, b"x", epoch=mover.epoch + 1) == INVALID_EPOCH
    assert mover.puts(topic, b"x", sequence=5) == OUT_OF_ORDER
    assert mover.puts(topic, b"kept") == NONE
    assert mover.ends(True) == NONE
    assert log.reads(topic, 1) == ["kept"]


def test_after_its_time_out_a_producer_aborts_and_goes_on(log):
    topic, mover = log.topic(), producer_of(log)
    assert mover.begins(timeout_ms=1000) == NONE
    assert mover.puts(topic, b"slow") == NONE
    reader = log.consumer(isolation_level="read_committed")
    whole = TopicPartition(topic, 0)
    wait_for(lambda: reader.get_watermark_offsets(whole, timeout=5)[1] >= 2, 40)      # the record and its marker
    reader.close()
    assert mover.puts(topic, b"late") == INVALID_EPOCH
    assert mover.ends(True, take=False) == INVALID_STATE
    assert mover.ends(False) == NONE
    assert mover.puts(topic, b"again") == NONE
    assert mover.ends(True) == NONE
    assert log.reads(topic, 1) == ["again"]


def test_a_new_epoch_that_was_not_heard_is_told_again(log):
    mover = producer_of(log)
    assert mover.begins() == NONE
    before = (mover.producer_id, mover.epoch)
    assert mover.begins(before) == NONE
    assert (mover.producer_id, mover.epoch) == (before[0], before[1] + 1)
    now = (mover.producer_id, mover.epoch)
    assert mover.begins(before) == NONE
    assert (mover.producer_id, mover.epoch) == now

"""The judge of our log's clients (test/broker/history.py) hears a genuine Kafka, which is killed, too: it finds nothing, so
it asks for nothing that Kafka does not promise."""
import os
import pathlib
import random
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "broker"))
import history  # noqa: E402
from broker_stories import Log  # noqa: E402
from history_run import Run  # noqa: E402

SEED = int(os.environ.get("HISTORY_SEED") or random.randrange(1 << 32))


def test_a_genuine_kafka_has_no_faults(genuine, tmp_path):
    kafka = genuine("kafka")

    class Killable:
        def kill(self):
            kafka.brokers[0].kill()

        def start(self):
            kafka.start()
    print(f"HISTORY_SEED={SEED}")
    run = Run(Log(kafka.address), tmp_path / "run", SEED, Killable())
    try:
        run.goes_on(kills=3)
        run.ends()
        histories = history.Histories(run.folder)
        found = history.faults(histories, run.reading())
        print(history.told(histories))
        assert not found, "\n".join(found[:20])
    finally:
        run.close()

"""Nothing is lost: the process is killed at random moments while the pipeline runs flat out."""
import os
import random
import time

from comparison import compare, settle
from story import wait_for

ROUNDS = int(os.environ.get("SOAK_ROUNDS", "3"))


def test_a_kill_at_any_moment_loses_and_doubles_nothing(run_pipeline):
    chance = random.Random(int(os.environ.get("SOAK_SEED", "7")))
    pipeline = run_pipeline("test/pipelines/flat_out.yaml").wait_ready()
    for round_number in range(ROUNDS):
        before = pipeline.counter("stream:users_created", "results")
        wait_for(lambda: pipeline.counter("stream:users_created", "results") > before, 60)
        assert pipeline.process.poll() is None, pipeline.text
        time.sleep(chance.uniform(0.0, 3.0))
        pipeline.kill()
        pipeline = pipeline.again().wait_ready()
    rows = settle(pipeline)
    assert len(rows) > 2000
    compare(pipeline, rows)
    assert pipeline.stop() == 0

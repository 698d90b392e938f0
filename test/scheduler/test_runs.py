"""Runs, tries and schedules, through Airflow's REST words."""
import http.server
import threading
import time

import psycopg2
import pytest
import requests

from story import wait_for

HEAD = "pipeline: work\n"


@pytest.fixture
def source():
    """An HTTP source whose answers a story chooses; it keeps when it was asked."""
    class Source(http.server.BaseHTTPRequestHandler):
        answers, asked = [], []

        def do_GET(self):
            Source.asked.append(time.monotonic())
            status, headers, body = Source.answers.pop(0) if len(Source.answers) > 1 else Source.answers[0]
            if body is None:
                time.sleep(5)
                return
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Source)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Source.url = f"http://127.0.0.1:{server.server_port}/things"
    yield Source
    server.shutdown()


@pytest.fixture
def work(folder, run_pipeline):
    """work(text): the pipeline of this text, running."""
    def begin(text):
        path = folder / "work.yaml"
        path.write_text(HEAD + text)
        return run_pipeline(path).wait_ready()
    return begin


def runs(pipeline):
    return requests.get(pipeline.url("/api/v1/dags/work/dagRuns"), timeout=5).json()["dag_runs"]


def trigger(pipeline):
    return requests.post(pipeline.url("/api/v1/dags/work/dagRuns"), json={}, timeout=5).json()["dag_run_id"]


def ended(pipeline, run):
    def over():
        found = requests.get(pipeline.url(f"/api/v1/dags/work/dagRuns/{run}"), timeout=5).json()
        return found if found["state"] in ("success", "failed") else None
    return wait_for(over, 30)


def task(pipeline, run, step):
    return requests.get(pipeline.url(f"/api/v1/dags/work/dagRuns/{run}/taskInstances/{step}"), timeout=5).json()


def log(pipeline, run, step, number=1):
    return requests.get(pipeline.url(f"/api/v1/dags/work/dagRuns/{run}/taskInstances/{step}/logs/{number}"),
                        headers={"Accept": "text/plain"}, timeout=5).text


def test_a_failed_step_is_tried_again_and_retry_after_is_obeyed(work, source):
    source.answers[:] = [(429, {"Retry-After": "1"}, "slow down"), (500, {}, "oh"), (200, {}, '[{"k": 1}, {"k": 2}]')]
    pipeline = work(f"steps:\n  fetch:\n    get: {source.url}\n    into: postgres/raw.things\n    key: k\n"
                    "    retry: {times: 3, delay: 50ms, max_delay: 100ms}\n")
    run = trigger(pipeline)
    assert ended(pipeline, run)["state"] == "success"
    assert task(pipeline, run, "fetch")["try_number"] == 3
    assert source.asked[1] - source.asked[0] >= 1
    assert "status 429: slow down" in log(pipeline, run, "fetch", 1) and "status 500: oh" in log(pipeline, run, "fetch", 2)
    assert "2 records" in log(pipeline, run, "fetch", 3)
    source.answers[:] = [(200, {}, '[{"k": 1}, {"k": 2, "more": true}]')]
    run = trigger(pipeline)
    assert ended(pipeline, run)["state"] == "success"
    assert "2 records, 1 rows" in log(pipeline, run, "fetch"), "an unchanged row is left alone"
    with psycopg2.connect(pipeline.postgres_dsn()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT key, body FROM raw.things ORDER BY key")
        assert cursor.fetchall() == [("1", {"k": 1}), ("2", {"k": 2, "more": True})]


def test_a_step_that_takes_too_long_fails_and_those_behind_it_are_not_begun(work, source):
    source.answers[:] = [(200, {}, None)]
    pipeline = work(f"steps:\n  fetch:\n    get: {source.url}\n    timeout: 300ms\n"
                    "  after:\n    run: echo never\n")
    run = trigger(pipeline)
    assert ended(pipeline, run)["state"] == "failed"
    assert (task(pipeline, run, "fetch")["state"], task(pipeline, run, "after")["state"]) == ("failed", "upstream_failed")
    assert "within 300 ms" in log(pipeline, run, "fetch")


def test_every_verb(work):
    pipeline = work("steps:\n"
                    "  make:\n    sql: CREATE TABLE IF NOT EXISTS things (n int)\n"
                    "  fill:\n    sql: INSERT INTO things SELECT generate_series(1, 5)\n"
                    "  enough:\n    require: SELECT count(*) >= 5 FROM things\n"
                    "  tell:\n    run: echo hello from $0; echo trouble >&2\n"
                    "  fail:\n    run: exit 3\n"
                    "  alone:\n    after: [make]\n    require: SELECT false\n")
    run = trigger(pipeline)
    assert ended(pipeline, run)["state"] == "failed"
    states = {step: task(pipeline, run, step)["state"] for step in ("make", "fill", "enough", "tell", "fail", "alone")}
    assert states == {"make": "success", "fill": "success", "enough": "success", "tell": "success", "fail": "failed",
                      "alone": "failed"}
    assert "hello from sh\ntrouble\n" in log(pipeline, run, "tell")
    assert "status 3" in log(pipeline, run, "fail")
    assert "expected true, found f" in log(pipeline, run, "alone")


@pytest.mark.parametrize("overlap, most", [("skip", 1), ("queue", 1), ("allow", 4)])
def test_runs_that_overlap(work, folder, overlap, most):
    marks = folder / "marks"
    pipeline = work(f"every: 300ms\noverlap: {overlap}\nsteps:\n  slow:\n"
                    f"    run: 'echo + >> {marks}; sleep 1; echo - >> {marks}'\n")
    wait_for(lambda: marks.exists() and marks.read_text().count("-") >= 4, 30)
    now = highest = 0
    for mark in marks.read_text().split():
        now += 1 if mark == "+" else -1
        highest = max(highest, now)
    assert highest == 1 if most == 1 else 1 < highest <= most + 1
    waiting = [run for run in runs(pipeline) if run["state"] == "queued"]
    assert bool(waiting) == (overlap == "queue")


def test_a_pause_outlives_the_process_and_history_too(work):
    pipeline = work("every: 200ms\nsteps:\n  tick:\n    run: 'true'\n")
    wait_for(lambda: len(runs(pipeline)) >= 3, 20)
    assert requests.patch(pipeline.url("/api/v1/dags/work"), json={"is_paused": True}, timeout=5).json()["is_paused"]
    time.sleep(0.5)
    before = {run["dag_run_id"] for run in runs(pipeline)}
    pipeline.kill()
    pipeline = pipeline.again().wait_ready()
    time.sleep(1)
    assert {run["dag_run_id"] for run in runs(pipeline)} == before
    assert requests.get(pipeline.url("/api/v1/dags/work"), timeout=5).json()["is_paused"]
    requests.patch(pipeline.url("/api/v1/dags/work"), json={"is_paused": False}, timeout=5)
    wait_for(lambda: len(runs(pipeline)) > len(before), 10)


def test_a_run_that_a_kill_cut_off_goes_on_with_its_unfinished_steps(work, folder):
    marks = folder / "marks"
    pipeline = work(f"steps:\n  first:\n    run: echo first >> {marks}\n"
                    f"  second:\n    run: 'echo second >> {marks}; sleep 2'\n  third:\n    run: echo third >> {marks}\n")
    run = trigger(pipeline)
    wait_for(lambda: marks.exists() and "second" in marks.read_text(), 20)
    time.sleep(0.3)
    pipeline.kill()
    pipeline = pipeline.again().wait_ready()
    assert ended(pipeline, run)["state"] == "success"
    assert marks.read_text().split() == ["first", "second", "second", "third"]


def test_cron_by_the_walls_clock(work):
    pipeline = work("at: '30 6 * * *'\ntimezone: Asia/Kolkata\nsteps:\n  tick:\n    run: 'true'\n")
    dag = requests.get(pipeline.url("/api/v1/dags/work"), timeout=5).json()
    assert dag["schedule_interval"] == {"__type": "CronExpression", "value": "30 6 * * *"}
    assert dag["next_dagrun"].endswith("T01:00:00.000000Z")
    assert runs(pipeline) == []


def test_what_is_not_there_is_a_problem(work):
    pipeline = work("steps:\n  tick:\n    run: 'true'\n")
    for path in ("/api/v1/dags/nothing", "/api/v1/dags/work/dagRuns/none", "/api/v1/pools"):
        answer = requests.get(pipeline.url(path), timeout=5)
        assert answer.status_code == 404 and answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["status"] == 404
    assert requests.patch(pipeline.url("/api/v1/dags/work"), data="nonsense", timeout=5).status_code == 400

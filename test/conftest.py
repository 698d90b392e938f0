"""The fixtures of all stories: processes that are ended with their story."""
import pytest

from story import Millrace, Pipeline, open_folder, wait_for


@pytest.fixture
def folder(tmp_path):
    return open_folder(tmp_path)


@pytest.fixture
def start(folder):
    """start("broker", "--port", 0, ...): a part of the program, ended with the story."""
    running = []

    def begin(*arguments, environment=None):
        process = Millrace(folder, *arguments, environment=environment)
        running.append(process)
        return process

    yield begin
    for process in running:
        if process.process.poll() is None:
            process.kill()


@pytest.fixture
def run_pipeline(folder):
    """run_pipeline(files...): `millrace up`, ended with the story."""
    running = []

    def begin(*files, **options):
        process = Pipeline(folder, files or ["pipelines/users.yaml"], **options)
        running.append(process)
        again = process.again

        def again_and_kept():
            other = again()
            other.again = again_and_kept
            running.append(other)
            return other

        process.again = again_and_kept
        return process

    yield begin
    for process in running:
        process.end()


@pytest.fixture(scope="session")
def users(tmp_path_factory):
    """The main job, running for all stories that only look at it."""
    pipeline = Pipeline(open_folder(tmp_path_factory.mktemp("users")), ["pipelines/users.yaml"])
    try:
        pipeline.wait_ready()
        wait_for(lambda: pipeline.counter("stream:users_created", "results") >= 50, 60)
        yield pipeline
    finally:
        pipeline.end()

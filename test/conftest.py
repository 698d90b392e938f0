"""The fixtures of all stories: processes that are ended with their story."""
import shutil
import tempfile

import pytest

from story import Millrace, Pipeline, open_folder, wait_for


def pytest_configure(config):
    """A folder of this session's own: the shared one is closed to PostgreSQL's user whenever another session begins."""
    if config.option.basetemp is None:
        config.option.basetemp = config.millrace_folder = tempfile.mkdtemp(prefix="millrace-stories-")


def pytest_unconfigure(config):
    shutil.rmtree(getattr(config, "millrace_folder", ""), ignore_errors=True)


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

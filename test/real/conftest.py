"""Genuine systems for the stories of this folder, which only `./dev real` tells."""
import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import real  # noqa: E402
from source import PAGES, Source, whole_result  # noqa: E402
from story import ROOT, Millrace, Pipeline, free_offset, open_folder, wait_for  # noqa: E402

collect_ignore_glob = [] if os.environ.get("MILLRACE_REAL") else ["test_real_*.py"]


@pytest.fixture(scope="module")
def genuine(tmp_path_factory):
    """genuine("kafka", ...): a system of real.SYSTEMS, ready, stopped after the last story of the module."""
    running = []

    def begin(name, **options):
        system = real.make(name, free_offset(), open_folder(tmp_path_factory.mktemp(name)), **options)
        running.append(system)
        return system.start()

    yield begin
    for system in reversed(running):
        system.stop()


@pytest.fixture(scope="module")
def randomuser(tmp_path_factory):
    """The port of a source of users that outlives every pipeline of the module."""
    offset = free_offset()
    source = Millrace(open_folder(tmp_path_factory.mktemp("randomuser")), "randomuser", "--port", 8088 + offset)
    wait_for(lambda: real.servers.listens(8088 + offset))
    yield 8088 + offset
    source.kill()


@pytest.fixture
def source(randomuser):
    one = Source(randomuser, PAGES)
    yield one
    one.end()


@pytest.fixture
def run_users(run_pipeline, source):
    """run_users({"kafka": address, ...}): pipelines/users.yaml, unchanged, with these parts elsewhere."""
    return lambda connections, *arguments: run_pipeline(
        "pipelines/users.yaml", connections={"randomuser": source.address, **connections}, arguments=arguments)


@pytest.fixture
def run_flat_out(run_pipeline, folder):
    """The same streams, always something under way, and not more rows than a story wants to compare."""
    text = (ROOT / "test/pipelines/flat_out.yaml").read_text()
    assert "results=2000" in text
    (folder / "flat_out.yaml").write_text(text.replace("results=2000", "results=200"))
    return lambda connections: run_pipeline(folder / "flat_out.yaml", connections=connections)


@pytest.fixture(scope="module")
def embedded(randomuser, tmp_path_factory):
    """The table that everything embedded makes of the source's pages."""
    source = Source(randomuser, PAGES)
    pipeline = Pipeline(open_folder(tmp_path_factory.mktemp("embedded")), ["pipelines/users.yaml"],
                        connections={"randomuser": source.address})
    try:
        pipeline.wait_ready()
        return whole_result(pipeline, source)
    finally:
        pipeline.end()
        source.end()

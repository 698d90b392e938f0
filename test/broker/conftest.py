"""The log of these stories; see broker_stories.py."""
import os
import pathlib
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from broker_stories import PEER, Broker, Log  # noqa: E402


@pytest.fixture(scope="session")
def log(tmp_path_factory):
    if PEER:
        yield Log(PEER)
        return
    broker = Broker(tmp_path_factory.mktemp("log")).start()
    yield broker
    broker.end()


@pytest.fixture
def broker(tmp_path):
    """One of the story's own, to be killed. Only ours."""
    if PEER:
        pytest.skip("a story about our own process")
    broker = Broker(tmp_path)
    broker.start()
    yield broker
    broker.end()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 100 MB that can grow."""
    if PEER or os.getuid() != 0:
        pytest.skip("needs root, to mount a small file system")
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100m", "tmpfs", disk]).returncode:
        pytest.skip("needs to mount a small file system")
    yield disk
    subprocess.run(["umount", "-l", disk])

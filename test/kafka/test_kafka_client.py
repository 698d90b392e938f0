"""The stories of our client (src/kafka/client_test.c), told to a log: ours, or with PEER the one at host:port."""
import os
import pathlib
import re
import socket
import subprocess
import importlib.util

import pytest

_spec = importlib.util.spec_from_file_location("stories", pathlib.Path(__file__).parent.parent / "story.py")
stories = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(stories)
PROGRAM = pathlib.Path(os.path.realpath(stories.BINARY)).parent / "test_kafka"
SOURCE = stories.ROOT / "src" / "kafka" / "client_test.c"
NAMES = re.findall(r'^STORY\("([^"]+)"\)', SOURCE.read_text(), re.M)


@pytest.fixture(scope="module")
def peer(tmp_path_factory):
    if os.environ.get("PEER"):
        yield os.environ["PEER"]
        return
    folder, offset = tmp_path_factory.mktemp("log"), stories.free_offset()
    broker = stories.Millrace(folder, "broker", "--data", folder / "data", "--port-offset", offset)
    port = stories.PORTS["kafka"] + offset
    stories.wait_for(lambda: socket.create_connection(("127.0.0.1", port), 1))
    yield f"127.0.0.1:{port}"
    broker.stop()


@pytest.mark.skipif(not PROGRAM.exists(), reason=f"{PROGRAM} is not built")
@pytest.mark.parametrize("name", NAMES)
def test_client(peer, name):
    told = subprocess.run([PROGRAM, name], env={**os.environ, "PEER": peer}, capture_output=True, text=True, timeout=150)
    assert told.returncode == 0 and "1 passed, 0 failed" in told.stdout, told.stderr

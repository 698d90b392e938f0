"""`millrace status`, the health check of images and scripts: the whole of it, a part alone, nothing, and who hangs."""
import os
import signal
import socket
import subprocess

import pytest
import requests

from story import BINARY, free_offset, wait_for


def status(*arguments):
    return subprocess.run([BINARY, "status", *map(str, arguments)], capture_output=True, text=True, timeout=30)


def test_the_whole_of_it_tells_its_live_view_and_when_it_hangs_that_it_does_not_answer(users):
    users.wait_ready()
    told = status("--port-offset", users.offset)
    assert told.returncode == 0 and "users" in told.stdout and "ready" in told.stdout, told
    page = requests.get(users.url("/status.txt"), timeout=5)
    assert page.status_code == 200 and page.headers["Content-Type"].startswith("text/plain") and "users" in page.text
    os.kill(users.process.pid, signal.SIGSTOP)
    try:
        told = status("--port-offset", users.offset)
        assert told.returncode == 1 and told.stdout == "" and "millrace status:" in told.stderr
        assert "nothing runs here" not in told.stderr
    finally:
        os.kill(users.process.pid, signal.SIGCONT)


@pytest.mark.parametrize("part", ["broker", "registry", "store", "randomuser"])
def test_a_part_that_runs_alone_is_found(folder, start, part):
    offset = free_offset()
    one = start(part, "--data", folder / "data", "--port-offset", offset, "--host", "0.0.0.0", "--insecure")
    wait_for(lambda: status("--port-offset", offset).returncode == 0, 30)
    told = status("--port-offset", offset, "--host", "0.0.0.0")
    assert told.stdout.split() == [part, f"127.0.0.1:{told.stdout.split(':')[1].split()[0]}", "answers"]
    one.kill()
    told = status("--port-offset", offset)
    assert told.returncode == 1 and "nothing runs here" in told.stderr and "millrace up FILE" in told.stderr


def test_a_port_that_was_chosen_by_hand_is_asked_by_its_number():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert status("--port", port).stdout == f"port       127.0.0.1:{port} answers\n"
    assert status("--port", port).returncode == 1
    assert status("--port", "many").returncode == 2

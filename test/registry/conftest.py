"""A log and a registry for the stories of this folder: ours, or with REGISTRY (a URL) and KAFKA (host:port)
any others, the real ones too."""
import importlib.util
import os
import pathlib
import subprocess
import time

import pytest
import requests

_spec = importlib.util.spec_from_file_location("stories", pathlib.Path(__file__).parent.parent / "story.py")
common = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(common)


class Registry:
    def __init__(self, url, kafka):
        self.url, self.kafka = url, kafka

    def ask(self, method, path, body=None, status=200, **query):
        answer = requests.request(method, self.url + path, json=body, params=query, timeout=10)
        assert answer.status_code == status, (method, path, answer.status_code, answer.text)
        return answer.json()

    def get(self, path, **query):
        return self.ask("GET", path, **query)

    def refuses(self, method, path, code, body=None, **query):
        """The error's message; the status follows from the code."""
        status = code // 100 if code > 999 else code
        answer = self.ask(method, path, body, status=status, **query)
        assert answer["error_code"] == code, answer
        return answer["message"]

    def register(self, subject, schema, **more):
        import json
        text = schema if isinstance(schema, str) else json.dumps(schema)
        return self.ask("POST", f"/subjects/{subject}/versions", {"schema": text, **more})["id"]


def run(folder, *arguments):
    output = open(folder / f"{arguments[0]}-{time.monotonic_ns()}.txt", "wb")
    return subprocess.Popen([common.BINARY, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=output,
                            stderr=subprocess.STDOUT, cwd=common.ROOT)


@pytest.fixture(scope="session")
def registry(tmp_path_factory):
    if "REGISTRY" in os.environ:
        yield Registry(os.environ["REGISTRY"], os.environ["KAFKA"])
        return
    folder, offset = tmp_path_factory.mktemp("registry"), common.free_offset()
    kafka = f"127.0.0.1:{9092 + offset}"
    broker = run(folder, "broker", "--data", folder / "broker", "--port-offset", offset)
    server = run(folder, "registry", "--data", folder / "registry", "--port-offset", offset, "--kafka", kafka)
    found = Registry(f"http://127.0.0.1:{8081 + offset}", kafka)
    try:
        common.wait_for(lambda: requests.get(found.url + "/subjects", timeout=2).status_code == 200)
        yield found
    finally:
        for process in (server, broker):
            process.terminate()
        for process in (server, broker):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def stories():
    """What all folders of stories share."""
    return common


_names = iter(range(1, 1000000))


@pytest.fixture
def subject():
    """A subject that no other story has."""
    return f"story-{os.getpid()}-{next(_names)}"

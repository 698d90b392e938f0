"""Starting, stopping, and a log that is away. These stories start the program's parts themselves."""
import concurrent.futures
import json
import socket
import time

import requests

from test_subjects import USER


def start_both(start, folder, offset):
    kafka = f"127.0.0.1:{9092 + offset}"
    broker = start("broker", "--data", folder / "broker", "--port-offset", offset)
    server = start("registry", "--data", folder / "registry", "--port-offset", offset, "--kafka", kafka)
    return broker, server, f"http://127.0.0.1:{8081 + offset}"


def answers(url):
    return requests.get(url + "/subjects", timeout=3).status_code == 200


def post(url, subject, schema):
    return requests.post(f"{url}/subjects/{subject}/versions", json={"schema": json.dumps(schema)}, timeout=10)


def test_what_was_registered_is_there_after_a_kill(start, folder, stories):
    offset = stories.free_offset()
    broker, server, url = start_both(start, folder, offset)
    stories.wait_for(lambda: answers(url))
    ids = {name: post(url, name, {**USER, "name": name}).json()["id"] for name in ("a", "b", "c")}
    requests.put(f"{url}/config/a", json={"compatibility": "FULL"}, timeout=5)
    requests.delete(f"{url}/subjects/b", timeout=5)
    server.kill()
    broker.kill()
    _, _, url = start_both(start, folder, offset)
    stories.wait_for(lambda: answers(url))
    assert requests.get(f"{url}/subjects", timeout=5).json() == ["a", "c"]
    assert requests.get(f"{url}/subjects?deleted=true", timeout=5).json() == ["a", "b", "c"]
    assert requests.get(f"{url}/config/a", timeout=5).json() == {"compatibilityLevel": "FULL"}
    for name, identity in ids.items():
        assert json.loads(requests.get(f"{url}/schemas/ids/{identity}", timeout=5).json()["schema"])["name"] == name
    assert post(url, "d", {**USER, "name": "d"}).json()["id"] == max(ids.values()) + 1


def test_without_a_log_it_waits_a_second_and_says_so(start, folder, stories):
    offset = stories.free_offset()
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        server = start("registry", "--data", folder / "registry", "--port-offset", offset,
                       "--kafka", "127.0.0.1:%d" % nobody.getsockname()[1])
        url = f"http://127.0.0.1:{8081 + offset}"
        stories.wait_for(lambda: requests.get(url + "/nowhere", timeout=2).status_code == 404)
        begin = time.monotonic()
        answer = requests.get(url + "/subjects", timeout=5)
        assert answer.status_code == 503 and answer.json()["error_code"] == 50003
        assert 0.8 < time.monotonic() - begin < 3
        assert server.stop() == 0


def test_many_clients_at_once_get_one_id_each(start, folder, stories):
    _, _, url = start_both(start, folder, stories.free_offset())
    stories.wait_for(lambda: answers(url))
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        tasks = [pool.submit(post, url, f"s{i % 8}", {**USER, "name": f"n{i % 20}"}) for i in range(400)]
        results = [task.result() for task in tasks]
    ids = {}
    for i, answer in enumerate(results):
        if answer.status_code == 200:
            assert ids.setdefault(f"n{i % 20}", answer.json()["id"]) == answer.json()["id"]
        else:
            assert answer.status_code == 409
    assert len(set(ids.values())) == len(ids)


def test_it_goes_on_when_the_log_comes_back(start, folder, stories):
    offset = stories.free_offset()
    broker, _, url = start_both(start, folder, offset)
    stories.wait_for(lambda: answers(url))
    first = post(url, "a", USER).json()["id"]
    broker.kill()
    assert requests.get(f"{url}/schemas/ids/{first}", timeout=2).status_code == 200
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        task = pool.submit(post, url, "b", {**USER, "name": "other"})
        time.sleep(0.5)
        start("broker", "--data", folder / "broker", "--port-offset", offset)
        answer = task.result()
    assert answer.status_code == 200 and answer.json()["id"] == first + 1
    assert requests.get(f"{url}/subjects", timeout=5).json() == ["a", "b"]

"""Levels, modes, and what they let through."""
import json

import pytest


def record(*fields):
    return {"type": "record", "name": "R", "fields": [
        {"name": name, "type": kind, **({"default": rest[0]} if rest else {})} for name, kind, *rest in fields]}


OLD = record(("a", "int"))
CHANGES = {
    "added with default": record(("a", "int"), ("b", "string", "")),
    "added without default": record(("a", "int"), ("b", "string")),
    "removed": record(),
    "widened": record(("a", "long")),
    "narrowed to text": record(("a", "string")),
}
VERDICTS = {
    "NONE": {"added with default", "added without default", "removed", "widened", "narrowed to text"},
    "BACKWARD": {"added with default", "removed", "widened"},
    "FORWARD": {"added with default", "added without default"},
    "FULL": {"added with default"},
}


LEVELS = [*VERDICTS, "BACKWARD_TRANSITIVE", "FORWARD_TRANSITIVE", "FULL_TRANSITIVE"]


@pytest.mark.parametrize("full_level", LEVELS)
def test_each_level_lets_its_changes_through(registry, subject, full_level):
    level = full_level.removesuffix("_TRANSITIVE")
    assert registry.ask("PUT", f"/config/{subject}", {"compatibility": full_level}) == {"compatibility": full_level}
    registry.register(subject, OLD)
    for name, schema in CHANGES.items():
        body = {"schema": json.dumps(schema)}
        expected = name in VERDICTS[level]
        answer = registry.ask("POST", f"/compatibility/subjects/{subject}/versions/latest", body, verbose="true")
        assert answer["is_compatible"] == expected, (name, answer)
        assert bool(answer["messages"]) != expected
        assert registry.ask("POST", f"/compatibility/subjects/{subject}/versions", body)["is_compatible"] == expected
        if not expected:
            message = registry.refuses("POST", f"/subjects/{subject}/versions", 409, body)
            assert "incompatible with an earlier schema" in message and "oldSchemaVersion: 1" in message


def test_transitive_levels_look_at_every_version(registry, subject):
    registry.register(subject, record(("a", "int")))
    registry.register(subject, record(("a", "int"), ("b", "int", 0)))
    third = {"schema": json.dumps(record(("a", "int"), ("b", "int")))}
    path = f"/compatibility/subjects/{subject}/versions"
    assert registry.ask("POST", path, third)["is_compatible"]
    registry.ask("PUT", f"/config/{subject}", {"compatibility": "BACKWARD_TRANSITIVE"})
    assert not registry.ask("POST", path, third)["is_compatible"]
    assert registry.ask("POST", path + "/2", third)["is_compatible"]
    assert not registry.ask("POST", path + "/1", third)["is_compatible"]


def test_levels_of_subjects_and_the_global_one(registry, subject):
    assert registry.get("/config") == {"compatibilityLevel": "BACKWARD"}
    registry.refuses("GET", f"/config/{subject}", 40408)
    assert registry.get(f"/config/{subject}", defaultToGlobal="true") == {"compatibilityLevel": "BACKWARD"}
    registry.ask("PUT", f"/config/{subject}", {"compatibility": "full"})
    assert registry.get(f"/config/{subject}") == {"compatibilityLevel": "FULL"}
    assert registry.ask("DELETE", f"/config/{subject}") == {"compatibilityLevel": "FULL"}
    registry.refuses("DELETE", f"/config/{subject}", 40401)
    registry.refuses("PUT", f"/config/{subject}", 42203, {"compatibility": "SOMEHOW"})
    try:
        registry.ask("PUT", "/config", {"compatibility": "NONE"})
        assert registry.get("/config") == {"compatibilityLevel": "NONE"}
        registry.register(subject, OLD)
        registry.register(subject, '"string"')
    finally:
        registry.ask("DELETE", "/config")
    assert registry.get("/config") == {"compatibilityLevel": "BACKWARD"}


def test_modes(registry, subject):
    assert registry.get("/mode") == {"mode": "READWRITE"}
    registry.refuses("GET", f"/mode/{subject}", 40409)
    assert registry.get(f"/mode/{subject}", defaultToGlobal="true") == {"mode": "READWRITE"}
    registry.refuses("PUT", f"/mode/{subject}", 42204, {"mode": "SLEEPING"})
    registry.register(subject, OLD)
    assert registry.ask("PUT", f"/mode/{subject}", {"mode": "READONLY"}) == {"mode": "READONLY"}
    registry.refuses("POST", f"/subjects/{subject}/versions", 42205, {"schema": '"int"'})
    registry.refuses("DELETE", f"/subjects/{subject}", 42205)
    registry.ask("PUT", f"/mode/{subject}", {"mode": "READWRITE"})
    registry.refuses("PUT", f"/mode/{subject}", 42205, {"mode": "IMPORT"})
    registry.refuses("POST", f"/subjects/{subject}/versions", 42205, {"schema": '"int"', "id": 900001})
    assert registry.ask("DELETE", f"/mode/{subject}") == {"mode": "READWRITE"}


def test_import_keeps_ids_and_versions(registry, subject):
    registry.ask("PUT", f"/mode/{subject}", {"mode": "IMPORT"})
    schema = {**OLD, "name": "I" + subject.replace("-", "_")}
    identity = 700000 + sum(map(ord, subject))
    assert registry.register(subject, schema, id=identity, version=5) == identity
    assert registry.get(f"/subjects/{subject}/versions") == [5]
    registry.refuses("POST", f"/subjects/{subject}/versions", 42205, {"schema": '"int"', "id": identity})
    registry.ask("DELETE", f"/mode/{subject}")
    assert registry.register(subject + "-next", {**schema, "fields": []}) > identity

"""Subjects, versions and ids, as a person with curl sees them."""
import json

import requests

USER = {"type": "record", "name": "User", "fields": [{"name": "id", "type": "long"}]}
USER_TEXT = '{"type":"record","name":"User","fields":[{"name":"id","type":"long"}]}'


def with_field(name, kind, **more):
    return {**USER, "fields": USER["fields"] + [{"name": name, "type": kind, **more}]}


def test_a_schema_is_registered_once_and_found_again(registry, subject):
    first = registry.register(subject, USER)
    assert registry.register(subject, json.dumps(USER, indent=4)) == first
    assert registry.get(f"/subjects/{subject}/versions") == [1]
    assert registry.get(f"/subjects/{subject}/versions/latest") == {
        "subject": subject, "version": 1, "id": first, "schema": USER_TEXT}
    assert registry.get(f"/subjects/{subject}/versions/-1")["version"] == 1
    assert registry.get(f"/subjects/{subject}/versions/1/schema") == USER
    assert registry.get(f"/schemas/ids/{first}") == {"schema": USER_TEXT}
    assert registry.get(f"/schemas/ids/{first}", fetchMaxId="true")["maxId"] >= first
    assert registry.get(f"/schemas/ids/{first}/schema") == USER
    assert subject in registry.get("/subjects")
    assert registry.ask("POST", f"/subjects/{subject}", {"schema": json.dumps(USER)})["version"] == 1


def test_the_same_schema_has_the_same_id_everywhere(registry, subject):
    text = {**USER, "name": f"Shared_{subject.replace('-', '_')}"}
    first = registry.register(subject, text)
    assert registry.register(subject + "-b", text) == first
    other = registry.register(subject, {**text, "fields": []})
    assert other > first
    assert registry.get(f"/schemas/ids/{first}/subjects") == [subject, subject + "-b"]
    assert registry.get(f"/schemas/ids/{first}/versions") == [
        {"subject": subject, "version": 1}, {"subject": subject + "-b", "version": 1}]
    assert registry.get(f"/schemas/ids/{first}/subjects", subject=subject + "-b") == [subject + "-b"]


def test_names_with_slashes_and_colons(registry, subject):
    name = f"a/{subject}:x y"
    path = requests.utils.quote(name, safe="")
    registry.register(path, USER)
    assert name in registry.get("/subjects")
    assert registry.get(f"/subjects/{path}/versions/1")["subject"] == name


def test_what_is_not_there(registry, subject):
    assert registry.refuses("GET", f"/subjects/{subject}/versions", 40401) == f"Subject '{subject}' not found."
    registry.refuses("GET", f"/subjects/{subject}/versions/1", 40401)
    registry.refuses("POST", f"/subjects/{subject}", 40401, {"schema": json.dumps(USER)})
    registry.refuses("DELETE", f"/subjects/{subject}", 40401)
    registry.register(subject, USER)
    assert registry.refuses("GET", f"/subjects/{subject}/versions/9", 40402) == "Version 9 not found."
    registry.refuses("POST", f"/subjects/{subject}", 40403, {"schema": '"string"'})
    for version in ("0", "-2", "first", "99999999999"):
        registry.refuses("GET", f"/subjects/{subject}/versions/{version}", 42202)
    assert registry.refuses("GET", "/schemas/ids/2000000000", 40403) == "Schema 2000000000 not found"
    registry.refuses("GET", "/nowhere", 404)
    registry.refuses("PUT", "/subjects", 405)


def test_what_is_no_schema(registry, subject):
    def refuses(schema, **more):
        return registry.refuses("POST", f"/subjects/{subject}/versions", 42201, {"schema": schema, **more})

    refuses("")
    refuses("{")
    refuses('{"type":"record","name":"x"}')
    refuses('{"type":"nothing"}')
    refuses('["int","int"]')
    refuses('{"type":"enum","name":"e","symbols":["a","a"]}')
    refuses('{"type":"record","name":"r","fields":[{"name":"a","type":"Missing"}]}')
    assert "Invalid default" in refuses('{"type":"record","name":"r","fields":[{"name":"a","type":"int","default":"x"}]}')
    assert "only AVRO" in refuses("{}", schemaType="JSON")
    assert "only AVRO" in refuses('syntax = "proto3";', schemaType="PROTOBUF")
    registry.refuses("GET", f"/subjects/{subject}/versions", 40401)
    answer = requests.post(f"{registry.url}/subjects/{subject}/versions", data="{", timeout=5)
    assert answer.status_code == 400


def test_deleting_twice_is_for_good(registry, subject):
    first = registry.register(subject, {**USER, "name": "D" + subject.replace("-", "_")})
    second = registry.register(subject, {**USER, "name": "D" + subject.replace("-", "_"), "fields": []})
    registry.refuses("DELETE", f"/subjects/{subject}/versions/1", 40407, permanent="true")
    assert registry.ask("DELETE", f"/subjects/{subject}/versions/1") == 1
    registry.refuses("DELETE", f"/subjects/{subject}/versions/1", 40406)
    registry.refuses("GET", f"/subjects/{subject}/versions/1", 40402)
    assert registry.get(f"/subjects/{subject}/versions/1", deleted="true")["id"] == first
    assert registry.get(f"/subjects/{subject}/versions") == [2]
    assert registry.get(f"/subjects/{subject}/versions", deleted="true") == [1, 2]
    assert registry.get(f"/subjects/{subject}/versions", deletedOnly="true") == [1]
    assert "schema" in registry.get(f"/schemas/ids/{first}")
    assert registry.ask("DELETE", f"/subjects/{subject}/versions/1", permanent="true") == 1
    registry.refuses("GET", f"/schemas/ids/{first}", 40403)

    registry.refuses("DELETE", f"/subjects/{subject}", 40405, permanent="true")
    assert registry.ask("DELETE", f"/subjects/{subject}") == [2]
    registry.refuses("DELETE", f"/subjects/{subject}", 40404)
    assert subject not in registry.get("/subjects")
    assert subject in registry.get("/subjects", deleted="true")
    assert subject in registry.get("/subjects", deletedOnly="true")
    assert "schema" in registry.get(f"/schemas/ids/{second}")
    assert registry.ask("DELETE", f"/subjects/{subject}", permanent="true") == [2]
    assert subject not in registry.get("/subjects", deleted="true")


def test_a_deleted_schema_comes_back_with_its_id_and_a_new_version(registry, subject):
    first = registry.register(subject, {**USER, "name": "B" + subject.replace("-", "_")})
    registry.ask("DELETE", f"/subjects/{subject}")
    assert registry.register(subject, {**USER, "name": "B" + subject.replace("-", "_")}) == first
    assert registry.get(f"/subjects/{subject}/versions") == [2]


def test_references(registry, subject):
    registry.register(subject + "-address", {"type": "record", "name": "Address", "namespace": "post", "fields": [
        {"name": "city", "type": "string"}]})
    references = [{"name": "post.Address", "subject": subject + "-address", "version": 1}]
    person = {"type": "record", "name": "Person", "fields": [{"name": "home", "type": "post.Address"}]}
    identity = registry.register(subject, person, references=references)
    assert registry.get(f"/schemas/ids/{identity}")["references"] == references
    assert registry.get(f"/subjects/{subject}/versions/1")["references"] == references
    assert registry.get(f"/subjects/{subject}-address/versions/1/referencedby") == [identity]
    registry.refuses("DELETE", f"/subjects/{subject}-address/versions/1", 42206)
    registry.refuses("DELETE", f"/subjects/{subject}-address", 42206)
    registry.refuses("POST", f"/subjects/{subject}/versions", 42201, {
        "schema": json.dumps(person), "references": [{**references[0], "version": 7}]})
    registry.ask("DELETE", f"/subjects/{subject}")
    assert registry.ask("DELETE", f"/subjects/{subject}-address") == [1]


def test_lists_come_in_pages(registry, subject):
    for letter in "abc":
        registry.register(f"{subject}-page-{letter}", USER)
    names = [f"{subject}-page-{letter}" for letter in "abc"]
    assert registry.get("/subjects", subjectPrefix=f"{subject}-page") == names
    assert registry.get("/subjects", subjectPrefix=f"{subject}-page", offset=1, limit=1) == names[1:2]
    assert [s["subject"] for s in registry.get("/schemas", subjectPrefix=f"{subject}-page")] == names
    assert registry.get("/schemas/types") == ["AVRO"] or "AVRO" in registry.get("/schemas/types")
    assert "." in registry.get("/contexts")


def test_normalized_schemas_are_one_version(registry, subject):
    one = '{"type":"record","name":"N","fields":[{"name":"a","type":"int","zz":1,"aa":2}]}'
    two = '{"fields":[{"type":"int","name":"a","aa":2,"zz":1}],"name":"N","type":"record"}'
    first = registry.ask("POST", f"/subjects/{subject}/versions", {"schema": one}, normalize="true")["id"]
    assert registry.ask("POST", f"/subjects/{subject}/versions", {"schema": two}, normalize="true")["id"] == first


def test_metadata_is_part_of_a_version(registry, subject):
    metadata = {"properties": {"owner": "ann"}}
    registry.register(subject, USER)
    registry.register(subject, USER, metadata=metadata)
    assert registry.get(f"/subjects/{subject}/versions") == [1, 2]
    assert registry.get(f"/subjects/{subject}/versions/2")["metadata"] == metadata
    assert registry.get(f"/subjects/{subject}/metadata", key="owner", value="ann")["version"] == 2
    registry.refuses("GET", f"/subjects/{subject}/metadata", 40403, key="owner", value="bob")

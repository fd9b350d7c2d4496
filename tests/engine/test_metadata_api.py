"""``/v1/metadata``: every row of the table of situations in Hasura's documentation and sources (``Base/Error.hs``,
``Table/API.hs``, ``Warnings.hs``, ``RQL/DDL/*``), and what the commands do to the document."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.engine.conftest import Api
from tests.engine.tables import configuration, permission, related, table

SCHEMA = Path(__file__).parents[3] / "shared/reference/examples/bigquery_metadata.schema.json"
SUCCESS = {"message": "success"}
AUTHOR = {"source": "s", "table": table("hasura_test", "author")}
ARTICLE = {"source": "s", "table": table("hasura_test", "article")}
ARTICLES = {**AUTHOR, **related("articles", "hasura_test", "article", "id", "author_id")}
WRITER = {**ARTICLE, **related("author", "hasura_test", "author", "author_id", "id")}


@pytest.fixture
def tracked(api: Api) -> Api:
    """An engine with a source ``s``, authors and articles, related both ways."""
    api.done("bigquery_add_source", {"name": "s", "configuration": configuration("hasura_test", "ours")})
    api.done("bigquery_track_tables", {"tables": [AUTHOR, ARTICLE], "allow_warnings": False})
    api.done("bigquery_create_array_relationship", ARTICLES)
    api.done("bigquery_create_object_relationship", WRITER)
    return api


def exported(api: Api) -> tuple[int, Any]:
    found = api.done("export_metadata", {}, version=2)
    return found["resource_version"], found["metadata"]


def refused(api: Api, kind: str, args: Any, status: int = 400, **more: Any) -> tuple[str, str, str]:
    """Send what must be refused; nothing may change by it."""
    before = exported(api)
    reply = api.metadata(kind, args, **more)
    assert reply.status == status, reply.body
    assert exported(api) == before
    return reply.body["code"], reply.body["path"], reply.body["error"]


def test_admin_secret(engines: Any) -> None:
    api: Api = engines(secret="s3cret")
    for headers, text in (
        ({}, "x-hasura-admin-secret/x-hasura-access-key required, but not found"),
        ({"x-hasura-admin-secret": "wrong"}, "invalid x-hasura-admin-secret/x-hasura-access-key"),
        (
            {"x-hasura-admin-secret": "s3cret\u00e9".encode().decode("latin-1")},
            "invalid x-hasura-admin-secret/x-hasura-access-key",
        ),
    ):
        caller = Api(api.url, headers)
        reply = caller.metadata("export_metadata", {})
        assert (reply.status, reply.body) == (401, {"path": "$", "error": text, "code": "access-denied"})
        body = caller.graphql("{ __typename }")
        assert body == {"errors": [{"extensions": {"path": "$", "code": "access-denied"}, "message": text}]}
    assert api.metadata("export_metadata", {}).status == 200
    assert Api(api.url, {"X-Hasura-Access-Key": "s3cret"}).metadata("export_metadata", {}).status == 200


def test_metadata_is_for_the_admin(api: Api) -> None:
    reply = api.as_role("user").metadata("export_metadata", {})
    expected = {"path": "$.args", "error": "restricted access : admin only", "code": "access-denied"}
    assert (reply.status, reply.body) == (400, expected)


@pytest.mark.parametrize(
    ("args", "place"),
    [
        ({"name": "s"}, "$.args.configuration"),
        (
            {"name": "s", "configuration": {"project_id": "p", "datasets": ["d"]}},
            "$.args.configuration.service_account",
        ),
        ({"name": 3, "configuration": configuration("d")}, "$.args.name"),
        ([], "$.args"),
    ],
)
def test_arguments_that_do_not_decode(api: Api, args: Any, place: str) -> None:
    code, path, error = refused(api, "bigquery_add_source", args)
    assert (code, path) == ("parse-failed", place)
    assert error.startswith("Error when parsing command add_source.\n")
    assert "Internal error message: " in error.splitlines()[-1]


def test_unknown_commands(api: Api) -> None:
    assert refused(api, "bigquery_x", {}) == (
        "parse-failed", "$", 'unknown metadata command "x" for backend bigquery',
    )  # fmt: skip
    assert refused(api, "pg_track_table", {})[0] == "parse-failed"
    bodies: tuple[Any, ...] = (
        [],
        {},
        {"type": "export_metadata"},
        {"type": 1, "args": {}},
        {"type": "bulk", "args": {}, "version": 9},
    )
    for body in bodies:
        reply = api.post("/v1/metadata", body)
        assert (reply.status, reply.body["code"]) == (400, "parse-failed")


def test_source_that_is_there_or_not(tracked: Api) -> None:
    again = {"name": "s", "configuration": configuration("hasura_test")}
    code, _, error = refused(tracked, "bigquery_add_source", again)
    assert (code, error) == ("already-exists", 'source with name "s" already exists')
    for kind, args in (
        ("bigquery_update_source", {"name": "x", "configuration": configuration("hasura_test")}),
        ("bigquery_drop_source", {"name": "x"}),
        ("reload_metadata", {"reload_sources": ["x"]}),
    ):
        code, _, error = refused(tracked, kind, args)
        assert (code, error) == ("not-exists", 'source with name "x" does not exist')
    replaced = {**again, "configuration": configuration("hasura_test", limit=1), "replace_configuration": True}
    assert tracked.done("bigquery_add_source", replaced) == SUCCESS
    assert len(exported(tracked)[1]["sources"][0]["tables"]) == 2
    assert len(tracked.data("{ hasura_test_article { id } }")["hasura_test_article"]) == 1
    update = {"name": "s", "configuration": configuration("hasura_test", limit=2)}
    assert tracked.done("bigquery_update_source", update) == SUCCESS
    assert len(tracked.data("{ hasura_test_article { id } }")["hasura_test_article"]) == 2


def test_drop_source(tracked: Api) -> None:
    code, _, error = refused(tracked, "bigquery_drop_source", {"name": "s"})
    assert code == "dependency-error"
    assert error.startswith("cannot drop due to the following dependent objects: table hasura_test.author")
    assert tracked.done("bigquery_drop_source", {"name": "s", "cascade": True}) == SUCCESS
    assert exported(tracked)[1] == {"version": 3, "sources": []}


def test_inconsistent_source(api: Api) -> None:
    missing = {"name": "s", "configuration": configuration("no_such_dataset")}
    before = exported(api)
    reply = api.metadata("bigquery_add_source", missing)
    assert (reply.status, reply.body["code"]) == (400, "invalid-configuration")
    assert reply.body["error"].startswith(
        "Inconsistent object: unexpected exception while connecting to database: no such dataset shop.no_such_dataset"
    )
    (internal,) = reply.body["internal"]
    assert (internal["type"], internal["name"], internal["definition"]) == ("source", "source s", "s")
    assert exported(api) == before
    whole = {"version": 3, "sources": [{**missing, "kind": "bigquery", "tables": [{"table": table("d", "t")}]}]}
    code, _, error = refused(api, "replace_metadata", {"metadata": whole}, version=2)
    assert code == "unexpected"
    forced = {"allow_inconsistent_metadata": True, "metadata": whole}
    answer = api.done("replace_metadata", forced, version=2)
    assert answer["is_consistent"] is False
    assert [each["name"] for each in answer["inconsistent_objects"]] == ["source s"]
    assert api.request("GET", "/healthz").body == "WARN: inconsistent objects in schema"
    assert api.done("get_inconsistent_metadata", {}) == answer
    code, _, error = refused(api, "bigquery_drop_source", {"name": "s", "cascade": True})
    assert (code, error) == ("unexpected", 'source with name "s" is inconsistent')
    assert api.done("drop_inconsistent_metadata", {}) == SUCCESS
    assert api.done("get_inconsistent_metadata", {}) == {"is_consistent": True, "inconsistent_objects": []}
    assert api.request("GET", "/healthz").body == "OK"


def test_environment_variables_of_a_source(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    from_env = {**configuration(), "datasets": {"from_env": "DATASETS"}, "project_id": {"from_env": "PROJECT"}}
    reply = api.metadata("bigquery_add_source", {"name": "s", "configuration": from_env})
    assert "environment variable 'PROJECT' not set" in reply.body["error"]
    monkeypatch.setenv("PROJECT", "shop")
    monkeypatch.setenv("DATASETS", "hasura_test, ours")
    assert api.done("bigquery_add_source", {"name": "s", "configuration": from_env}) == SUCCESS
    assert api.done("bigquery_track_table", {"source": "s", "table": table("ours", "reading")}) == SUCCESS
    assert exported(api)[1]["sources"][0]["configuration"] == from_env


def test_track_and_untrack(tracked: Api) -> None:
    code, _, error = refused(tracked, "bigquery_track_table", {**AUTHOR, "configuration": None})
    assert (code, error) == ("already-tracked", 'view/table already tracked: "hasura_test.author"')
    nothing = {"source": "s", "table": table("hasura_test", "nothing")}
    code, _, error = refused(tracked, "bigquery_untrack_table", nothing)
    assert (code, error) == ("already-untracked", 'view/table already untracked: "hasura_test.nothing"')
    code, _, error = refused(tracked, "bigquery_track_table", nothing)
    assert code == "invalid-configuration"
    assert error == 'Inconsistent object: no such table/view exists in source: "hasura_test.nothing"'
    code, _, error = refused(tracked, "bigquery_untrack_table", ARTICLE)
    assert code == "dependency-error"
    assert error.endswith("relationship hasura_test.author.articles in source s")
    assert tracked.done("bigquery_untrack_table", {**ARTICLE, "cascade": True}) == SUCCESS
    (left,) = exported(tracked)[1]["sources"][0]["tables"]
    assert left == {"table": table("hasura_test", "author")}


def test_names_that_are_taken(tracked: Api) -> None:
    reading = {"source": "s", "table": table("ours", "reading")}
    named = {**reading, "configuration": {"custom_root_fields": {"select": "hasura_test_author"}}}
    code, _, error = refused(tracked, "bigquery_track_table", named)
    assert (code, error) == (
        "remote-schema-conflicts", "node hasura_test_author already exists in current graphql schema",
    )  # fmt: skip


@pytest.mark.parametrize("name", ["nested", "no_such"])
def test_tables_that_cannot_be_carried(tracked: Api, name: str) -> None:
    code, _, error = refused(tracked, "bigquery_track_table", {"source": "s", "table": table("ours", name)})
    assert code == "invalid-configuration"
    expected = {"nested": "Type currently unsupported for BigQuery: StructScalarType", "no_such": "no such table/view"}
    assert expected[name] in error


def test_track_tables_with_warnings(tracked: Api) -> None:
    reading, nothing = ({"source": "s", "table": table("ours", name)} for name in ("reading", "nothing"))
    code, path, _ = refused(tracked, "bigquery_track_tables", {"tables": [reading, reading]})
    assert (code, path) == ("bad-request", "$.args.tables")
    code, _, error = refused(tracked, "bigquery_track_tables", {"tables": [nothing, AUTHOR]})
    assert (code, error) == ("invalid-configuration", "all tables failed to track")
    some = {"tables": [nothing, reading], "allow_warnings": False}
    code, _, error = refused(tracked, "bigquery_track_tables", some)
    assert (code, error) == ("metadata-warnings", "failed due to metadata warnings")
    answer = tracked.done("bigquery_track_tables", {**some, "allow_warnings": True})
    (warning,) = answer.pop("warnings")
    assert answer == SUCCESS
    assert (warning["type"], warning["code"]) == ("table", "track-table-failed")
    assert warning["name"] == "table ours.nothing in source s"
    assert tracked.data("{ ours_reading_aggregate { aggregate { count } } }")
    answer = tracked.done("bigquery_untrack_tables", {"tables": [nothing, reading]})
    assert [each["code"] for each in answer["warnings"]] == ["untrack-table-failed"]


def test_permissions(tracked: Api) -> None:
    user = {**AUTHOR, **permission("user", ["id"], {"id": {"_eq": "X-Hasura-User-Id"}}), "comment": "own rows"}
    assert tracked.done("bigquery_create_select_permission", user) == SUCCESS
    stored = exported(tracked)[1]["sources"][0]["tables"][0]["select_permissions"]
    assert stored == [{key: user[key] for key in ("role", "permission", "comment")}]
    for role in ("user", "admin"):
        code, _, error = refused(tracked, "bigquery_create_select_permission", {**user, "role": role})
        text = f'select permission already defined on table "hasura_test.author" with role "{role}"'
        assert (code, error) == ("already-exists", text)
    code, _, error = refused(tracked, "bigquery_drop_select_permission", {**AUTHOR, "role": "other"})
    text = '\'select\' permission on "hasura_test.author" for role "other" does not exist'
    assert (code, error) == ("permission-denied", text)
    for wrong in (
        permission("r", ["nothing"], {}),
        permission("r", "*", {"nothing": 1}),
        permission("r", "*", {"id": {"_like": "x"}}),
        permission("r", "*", {"id": {"_eq": "one"}}),
        permission("r", "*", {"articles": {"nothing": {"_eq": 1}}}),
    ):
        code, _, error = refused(tracked, "bigquery_create_select_permission", {**AUTHOR, **wrong})
        assert code == "invalid-configuration"
        assert error.startswith("Inconsistent object: ")
    without = {**AUTHOR, "role": "r", "permission": {"filter": {}}}
    assert refused(tracked, "bigquery_create_select_permission", without)[:2] == (
        "parse-failed",
        "$.args.permission.columns",
    )
    assert tracked.done("bigquery_drop_select_permission", {**AUTHOR, "role": "user"}) == SUCCESS


def test_relationships(tracked: Api) -> None:
    code, _, error = refused(tracked, "bigquery_create_array_relationship", ARTICLES)
    assert code == "already-exists"
    for wrong in (
        related("r", "hasura_test", "nothing", "id", "id"),
        related("r", "hasura_test", "article", "nothing", "id"),
        related("r", "hasura_test", "article", "id", "nothing"),
        related("name", "hasura_test", "article", "id", "id"),
    ):
        code, _, error = refused(tracked, "bigquery_create_object_relationship", {**AUTHOR, **wrong})
        assert (code, error[:21]) == ("invalid-configuration", "Inconsistent object: ")
    code, _, error = refused(tracked, "bigquery_drop_relationship", {**AUTHOR, "relationship": "nothing"})
    assert code == "not-exists"
    filtered = {**AUTHOR, **permission("user", "*", {"articles": {"is_published": True}})}
    tracked.done("bigquery_create_select_permission", filtered)
    code, _, error = refused(tracked, "bigquery_drop_relationship", {**AUTHOR, "relationship": "articles"})
    assert (code, "permission hasura_test.author.user.select" in error) == ("dependency-error", True)
    assert (
        tracked.done("bigquery_drop_relationship", {**AUTHOR, "relationship": "articles", "cascade": True}) == SUCCESS
    )
    assert exported(tracked)[1]["sources"][0]["tables"][0] == {"table": table("hasura_test", "author")}


def test_resource_version(tracked: Api) -> None:
    version, _ = exported(tracked)
    stale = refused(tracked, "bigquery_drop_select_permission", {}, status=409, resource_version=version - 1)
    text = f"metadata resource version referenced ({version - 1}) did not match current version"
    assert stale == ("conflict", "$", text)
    user = {**AUTHOR, **permission("user", "*", {})}
    tracked.done("bigquery_create_select_permission", user, resource_version=version)
    assert exported(tracked)[0] == version + 1
    assert tracked.done("export_metadata", {}, version=2, resource_version=1)["resource_version"] == version + 1
    assert tracked.done("reload_metadata", {"reload_sources": ["s"]}) == {**SUCCESS, "is_consistent": True}
    assert exported(tracked)[0] == version + 2


def test_bulk_is_all_or_nothing(tracked: Api) -> None:
    version, _ = exported(tracked)
    good = {"type": "bigquery_create_select_permission", "args": {**AUTHOR, **permission("user", "*", {})}}
    bad = {"type": "bigquery_track_table", "args": ARTICLE}
    code, path, _ = refused(tracked, "bulk", [good, bad], resource_version=version)
    assert (code, path) == ("already-tracked", "$.args[1].args")
    nested = [{"type": "bulk", "args": [good, bad]}]
    assert refused(tracked, "bulk", nested)[1] == "$.args[0].args[1].args"
    assert tracked.as_role("user").data("{ __typename no_queries_available }")["__typename"] == "query_root"
    answers = tracked.done("bulk", [good, {"type": "export_metadata", "args": {}}], resource_version=version)
    assert answers[0] == SUCCESS
    assert answers[1]["sources"][0]["tables"][0]["select_permissions"]
    assert exported(tracked)[0] == version + 1


def test_bulk_brings_in_everything_at_once(api: Api) -> None:
    commands = [
        {"type": "bigquery_add_source", "args": {"name": "s", "configuration": configuration("hasura_test")}},
        {"type": "bigquery_track_table", "args": AUTHOR},
        {"type": "bigquery_track_table", "args": ARTICLE},
        {"type": "bigquery_create_array_relationship", "args": ARTICLES},
        {"type": "bigquery_create_object_relationship", "args": WRITER},
        {"type": "bigquery_create_select_permission", "args": {**AUTHOR, **permission("user", "*", {})}},
    ]
    version, _ = exported(api)
    assert api.done("bulk", commands, resource_version=version) == [SUCCESS] * 6
    assert exported(api)[0] == version + 1
    assert api.as_role("user").data("{ hasura_test_author(where: {id: {_eq: 1}}) { name } }")


def test_bulk_keep_going(tracked: Api) -> None:
    version, _ = exported(tracked)
    good = {"type": "bigquery_create_select_permission", "args": {**AUTHOR, **permission("user", "*", {})}}
    bad = {"type": "bigquery_track_table", "args": ARTICLE}
    answers = tracked.done("bulk_keep_going", [bad, good])
    assert answers[0]["code"] == "already-tracked"
    assert answers[0]["path"] == "$.args[0].args"
    assert answers[1] == SUCCESS
    assert exported(tracked)[0] == version + 1


def test_bulk_atomic(tracked: Api) -> None:
    drop = {"type": "bigquery_drop_relationship", "args": {**AUTHOR, "relationship": "articles"}}
    track = {"type": "bigquery_track_table", "args": {"source": "s", "table": table("ours", "reading")}}
    assert refused(tracked, "bulk_atomic", [drop, track], status=500) == (
        "unexpected", "$.args", "Bulk atomic does not support this command",
    )  # fmt: skip
    assert tracked.done("bulk_atomic", [drop]) == SUCCESS


def test_replace_export_and_clear(tracked: Api) -> None:
    _, whole = exported(tracked)
    assert tracked.done("clear_metadata", {}) == SUCCESS
    assert exported(tracked)[1] == {"version": 3, "sources": []}
    answer = tracked.done("replace_metadata", {"metadata": whole}, version=2)
    assert answer == {"is_consistent": True, "inconsistent_objects": []}
    assert tracked.done("export_metadata", {}) == whole
    assert tracked.done("replace_metadata", whole) == SUCCESS
    twice = json.loads(json.dumps(whole))
    twice["sources"][0]["tables"].append(twice["sources"][0]["tables"][0])
    assert refused(tracked, "replace_metadata", {"metadata": twice})[0] == "parse-failed"
    postgres = {"version": 3, "sources": [{**whole["sources"][0], "kind": "postgres"}]}
    assert refused(tracked, "replace_metadata", {"metadata": postgres})[:2] == (
        "parse-failed", "$.args.metadata.sources[0].kind",
    )  # fmt: skip
    actions = {**whole, "actions": [{"name": "a"}]}
    assert refused(tracked, "replace_metadata", {"metadata": actions})[0] == "not-supported"


@pytest.mark.skipif(not SCHEMA.exists(), reason="the schema of Hasura's metadata requests is not in this checkout")
def test_what_is_exported_is_legal_hasura_metadata(tracked: Api) -> None:
    user = {**AUTHOR, **permission("user", ["id"], {}, limit=5, allow_aggregations=True)}
    tracked.done("bigquery_create_select_permission", user)
    schema = json.loads(SCHEMA.read_text())
    found = tracked.done("export_metadata", {}, version=2)
    jsonschema.validate(found, {**schema["$defs"]["ExportV2"], "$defs": schema["$defs"]})
    for source in found["metadata"]["sources"]:
        jsonschema.validate(source, {**schema["$defs"]["BigquerySourceMetadata"], "$defs": schema["$defs"]})


def test_changed_columns_are_seen_after_reload(tracked: Api, client: Any) -> None:
    client.query_and_wait("CREATE OR REPLACE TABLE ours.changing (a INT64)")
    changing = {"source": "s", "table": table("ours", "changing")}
    tracked.done("bigquery_track_table", changing)
    tracked.done("bigquery_create_select_permission", {**changing, **permission("user", ["a"], {})})
    client.query_and_wait("CREATE OR REPLACE TABLE ours.changing (b INT64)")
    answer = tracked.done("reload_metadata", {"reload_sources": ["s"]})
    assert answer["is_consistent"] is False
    (wrong,) = answer["inconsistent_objects"]
    assert wrong["type"] == "select_permission"
    assert tracked.data("{ ours_changing { b } }") == {"ours_changing": []}
    client.delete_table("ours.changing")
    answer = tracked.done("reload_metadata", {})
    assert [each["type"] for each in answer["inconsistent_objects"]] == ["table"]
    # What cannot be served does not stand in the way of the rest.
    assert tracked.data("{ hasura_test_author_aggregate { aggregate { count } } }")
    tracked.done("drop_inconsistent_metadata", {})
    assert len(exported(tracked)[1]["sources"][0]["tables"]) == 2

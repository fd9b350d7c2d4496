"""Port events on a real Kafka broker, as a consumer sees it: what is sent, in which order, under which ids."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from polyexpose_spark import app, snapshot
from polyexpose_spark.errors import ExitCode
from polyexpose_spark.receipt import Outcome
from tests.event_services import Received
from tests.spark.events_exposed import Events

pytestmark = pytest.mark.spark

MERGE_ON_READ = (
    "'format-version'='2', 'write.delete.mode'='merge-on-read', 'write.update.mode'='merge-on-read', "
    "'write.merge.mode'='merge-on-read'"
)


def ops(messages: list[Received]) -> Counter[str]:
    return Counter(json.loads(each.value)["op"] for each in messages if each.value)


def ways(events: Events, receipt: Any) -> list[str]:
    return list(receipt.details["by"])


def many_files(events: Events) -> None:
    """Commit 80 rows in about as many files: a first load takes 32 of them at a time."""
    events.sql("INSERT INTO {t} SELECT /*+ REPARTITION(80) */ id, 'n' FROM range(80)")


def test_a_table_that_is_appended_to(events: Events) -> None:
    events.create()
    events.insert("(1, 'a, b')", "(2, NULL)")
    first = events.expose()
    assert (first.rows, ways(events, first)) == (2, ["first load"])
    events.insert("(3, 'say \"hi\"')")
    events.insert("(4, 'd')")
    second = events.expose()
    assert (second.rows, ways(events, second)) == (2, ["stream"])
    events.insert("(5, 'e')")
    third = events.expose()
    assert (third.rows, ways(events, third)) == (1, ["stream"])
    replica = events.assert_same()
    assert (replica.ops, replica.repeats) == ({"r": 2, "c": 3}, 0)


def test_a_message_in_full(events: Events) -> None:
    events.create()
    events.insert("(1, 'a')")
    events.expose()
    [message] = events.bus.messages(events.topic)
    table = events.metadata()
    [only] = table.snapshots
    at = message.attributes["time"]
    assert message.key == '{"id":"1"}'
    assert message.attributes == {
        "specversion": "1.0",
        "id": f'{table.uuid}:0:{only.id}:r:{{"id":"1"}}',
        "source": f"/products/{events.namespace}",
        "type": "io.polyexpose.row.read",
        "time": at,
        "sequence": "00000000000000000001",
        "partitionkey": '{"id":"1"}',
        "content-type": "application/json",
    }
    assert message.value is not None
    assert json.loads(message.value) == {
        "op": "r",
        "before": None,
        "after": {"id": "1", "note": "a"},
        "source": {
            "product": events.namespace,
            "contractVersion": "1.2.0",
            "table": f"{events.namespace}.t",
            "tableUuid": table.uuid,
            "snapshotId": str(only.id),
            "committedAt": at,
            "epoch": 0,
            "sequence": 1,
        },
    }


@pytest.mark.parametrize("properties", [MERGE_ON_READ, "'format-version'='2'"], ids=["merge-on-read", "copy-on-write"])
def test_a_table_that_is_changed(events: Events, properties: str) -> None:
    events.create(properties=properties)
    events.sql("INSERT INTO {t} SELECT id, concat('n', id) FROM range(100)")
    events.expose()
    events.sql("UPDATE {t} SET note = 'new' WHERE id % 10 = 1")
    events.sql("DELETE FROM {t} WHERE id BETWEEN 20 AND 29")
    events.sql(
        "MERGE INTO {t} USING (SELECT id + 95 AS id, 'merged' AS note FROM range(10)) s ON {t}.id = s.id "
        "WHEN MATCHED THEN UPDATE SET note = s.note WHEN NOT MATCHED THEN INSERT *"
    )
    receipt = events.expose()
    assert ways(events, receipt) == ["changes"]
    replica = events.assert_same()
    assert replica.ops == {"r": 100, "u": 10 + 5, "d": 10, "c": 5}


def test_a_stream_that_meets_a_delete_goes_over_to_changes_and_back(events: Events) -> None:
    events.create()
    events.insert("(1, 'a')", "(2, 'b')")
    events.expose()
    events.insert("(3, 'c')")
    assert ways(events, events.expose()) == ["stream"]
    events.insert("(4, 'd')")
    events.sql("DELETE FROM {t} WHERE id = 1")
    events.insert("(5, 'e')")
    assert ways(events, events.expose()) == ["changes"]
    events.insert("(6, 'f')")
    assert ways(events, events.expose()) == ["stream"]
    assert events.assert_same().ops == {"r": 2, "c": 4, "d": 1}


def test_a_delete_that_is_committed_while_the_stream_runs(events: Events) -> None:
    events.create()
    events.insert("(1, 'a')")
    events.expose()
    events.insert("(2, 'b')")

    def meanwhile(step: str, _: str) -> None:
        if step == "events.claimed":  # the snapshot is pinned, and the way is not yet chosen
            events.sql("DELETE FROM {t} WHERE id = 1")

    receipt = events.expose(listen=meanwhile)
    assert ways(events, receipt) == ["stream", "changes"]
    events.expose()
    assert events.assert_same().ops == {"r": 1, "c": 1, "d": 1}


def test_commits_after_the_pinned_snapshot_are_left_for_the_next_run(events: Events) -> None:
    events.create()
    events.insert("(1, 'a')")
    events.expose()
    events.insert("(2, 'b')")

    def meanwhile(step: str, _: str) -> None:
        if step == "events.claimed":
            events.insert("(3, 'c')")

    receipt = events.expose(listen=meanwhile)
    assert (receipt.rows, ways(events, receipt)) == (1, ["stream"])
    assert set(events.replica().rows) == {'{"id":"1"}', '{"id":"2"}'}
    events.insert("(4, 'd')")
    again = events.expose()
    assert (again.rows, ways(events, again)) == (2, ["stream"])
    assert events.assert_same().repeats == 0


def test_commits_while_the_first_load_runs_come_after_it(events: Events) -> None:
    events.create()
    many_files(events)
    left = iter(("INSERT INTO {t} VALUES (100, 'late')", "UPDATE {t} SET note = 'changed' WHERE id = 3"))

    def meanwhile(step: str, _: str) -> None:
        if step == "events.sent" and (statement := next(left, None)):
            events.sql(statement)

    first = events.expose(listen=meanwhile)
    assert first.rows == 80
    assert sum(step == "events.sent" for step, _ in events.steps) > 1
    events.expose()
    assert events.assert_same().ops == {"r": 80, "c": 1, "u": 1}


def test_a_failed_first_load_is_resumed_in_the_middle(events: Events) -> None:
    events.create()
    many_files(events)

    def fail(step: str, detail: str) -> None:
        if step == "events.sending" and detail.split()[2] == "5":
            raise OSError("the machine went away")

    assert events.run(listen=fail).error
    events.insert("(100, 'late')")
    again = events.expose()
    assert 1 < (again.rows or 0) < 80
    assert ways(events, again) == ["first load", "stream"]
    replica = events.assert_same()
    assert (replica.ops, replica.repeats) == ({"r": 80, "c": 1}, 0)


def test_a_stream_batch_that_failed_is_sent_again_under_the_same_ids(events: Events) -> None:
    events.create()
    events.insert("(1, 'a')")
    events.expose()
    events.insert("(2, 'b')")
    events.insert("(3, 'c')")

    def fail(step: str, _: str) -> None:
        if step == "events.storing":  # sent, and not stored
            raise OSError("the machine went away")

    assert events.run(listen=fail).error
    events.insert("(4, 'd')")
    again = events.expose()
    assert ways(events, again) == ["stream"]
    replica = events.assert_same()
    assert (replica.ops, replica.repeats) == ({"r": 1, "c": 3}, 2)


def test_what_a_rollback_takes_back_is_sent_under_the_next_epoch(events: Events) -> None:
    """A consumer that drops repeats would lose row 1, if it came back under the id it was first created with."""
    events.create()
    events.insert("(9, 'x')")
    events.expose()
    events.insert("(1, 'a')")
    events.expose()
    created = events.current()
    events.sql("DELETE FROM {t} WHERE id = 1")
    events.expose()
    events.sql(f"CALL lake.system.rollback_to_snapshot('{events.namespace}.t', {created})")
    back = events.expose()
    assert ways(events, back) == ["compensation"]
    replica = events.assert_same()
    assert (replica.ops, replica.repeats) == ({"r": 1, "c": 2, "d": 1}, 0)
    assert replica.rows['{"id":"1"}'] == {"id": "1", "note": "a"}
    events.insert("(2, 'b')")
    events.expose()
    events.assert_same()


def test_a_compensation_that_failed_is_repeated_under_its_epoch(events: Events) -> None:
    events.create(properties=MERGE_ON_READ)
    events.insert("(1, 'a')", "(2, 'b')")
    events.expose()
    old = events.current()
    events.sql("DELETE FROM {t} WHERE id = 1")
    events.expose()

    def fail(step: str, _: str) -> None:
        if step == "events.sent":
            raise OSError("the machine went away")

    assert events.run(snapshot_id=old, listen=fail).error
    events.expose(snapshot_id=old)
    replica = events.replica()
    assert (replica.ops, replica.repeats) == ({"r": 2, "d": 1, "c": 1}, 1)
    events.expose()
    assert events.assert_same().ops == {"r": 2, "d": 2, "c": 1}


def test_compaction_sends_nothing(events: Events) -> None:
    events.create()
    for each in range(3):
        events.insert(f"({each}, 'n')")
    events.expose()
    events.sql(
        f"CALL lake.system.rewrite_data_files(table => '{events.namespace}.t', options => map('rewrite-all', 'true'))"
    )
    assert events.expose().rows == 0
    events.insert("(7, 'n')")
    assert events.expose().rows == 1
    assert events.assert_same().repeats == 0


def test_an_expired_position_is_refused_and_from_scratch_begins_anew(events: Events) -> None:
    events.create()
    events.insert("(1, 'a')", "(2, 'b')")
    events.expose()
    old = events.current()
    events.sql("DELETE FROM {t} WHERE id = 1")
    events.sql(f"ALTER TABLE {{t}} DROP TAG `polyexpose_{events.namespace}_{old}`")
    events.sql(f"CALL lake.system.expire_snapshots('{events.namespace}.t', TIMESTAMP '2100-01-01 00:00:00', 1)")
    sent = len(events.bus.messages(events.topic))
    refused = events.run()
    assert refused.exit_code is ExitCode.REFUSED
    assert "--from-scratch" in str(refused.error)
    assert len(events.bus.messages(events.topic)) == sent
    [planned] = app.plan(events.request())
    assert any(line.startswith("events: in the way") for line in planned.outlook)
    anew = events.expose(from_scratch=True)
    assert ways(events, anew) == ["first load"]
    last = events.bus.messages(events.topic)[-1]
    assert json.loads(last.value or "")["source"]["epoch"] == 1


def test_nothing_new_needs_no_session(events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    events.create()
    events.insert("(1, 'a')")
    events.expose()
    monkeypatch.setattr("polyexpose_spark.session.build_session", lambda _: pytest.fail("a session was asked for"))
    assert events.run().outcome is Outcome.UNCHANGED


def test_a_table_without_a_key(events: Events) -> None:
    events.key = ()
    events.create("a INT, note STRING", MERGE_ON_READ)
    events.insert("(1, 'same')", "(1, 'same')", "(2, NULL)")
    events.expose()
    events.sql("UPDATE {t} SET note = 'new' WHERE a = 2")
    events.insert("(1, 'same')", "(1, 'same')")
    events.expose()
    messages = events.bus.messages(events.topic)
    assert ops(messages) == {"r": 3, "d": 1, "c": 3}
    assert {each.key for each in messages} == {None}
    assert len({each.attributes["id"] for each in messages}) == len(messages)
    assert not any("partitionkey" in each.attributes for each in messages)


def test_several_commits_of_a_table_without_a_key_by_one_stream(events: Events) -> None:
    events.key = ()
    events.create("a INT, note STRING")
    events.insert("(1, 'same')")
    events.expose()
    events.insert("(1, 'same')", "(1, 'same')")
    events.insert("(1, 'same')")
    receipt = events.expose()
    assert (receipt.rows, ways(events, receipt)) == (3, ["stream"])
    messages = events.bus.messages(events.topic)
    assert ops(messages) == {"r": 1, "c": 3}
    assert len({each.attributes["id"] for each in messages}) == 4


def test_a_delete_is_followed_by_a_tombstone_where_the_topic_is_compacted(events: Events) -> None:
    events.settings = {"compacted": True}
    events.create(properties=MERGE_ON_READ)
    events.insert("(1, 'a')", "(2, 'b')")
    receipt = events.expose()
    assert "cleanup.policy compact" in receipt.details["topic"]
    events.sql("DELETE FROM {t} WHERE id = 1")
    events.expose()
    of_it = [each for each in events.bus.messages(events.topic) if each.key == '{"id":"1"}']
    assert [json.loads(each.value)["op"] if each.value else None for each in of_it] == ["r", "d", None]
    assert of_it[-1].attributes == {}
    events.assert_same()


def test_an_event_that_is_too_large_stops_the_run_and_is_named(events: Events) -> None:
    events.create()
    events.insert("(1, 'a')")
    events.expose()
    events.sql("INSERT INTO {t} SELECT 2, repeat('x', 2000000)")
    events.insert("(3, 'later')")
    failed = events.run()
    assert failed.exit_code is ExitCode.FAILED
    assert '{"id":"2"}' in str(failed.error)
    assert events.topic in str(failed.error)
    assert set(events.replica().rows) == {'{"id":"1"}'}


def test_columns_that_come_and_go(events: Events) -> None:
    events.create("id BIGINT NOT NULL, a INT, b STRING")
    events.insert("(1, 1, 'x')")
    events.expose()
    events.sql("ALTER TABLE {t} ADD COLUMN c DOUBLE")
    events.sql("ALTER TABLE {t} ALTER COLUMN a TYPE BIGINT")
    events.insert("(2, 3000000000, 'y', 0.5)")
    receipt = events.expose()
    assert receipt.rows == 1
    message = events.bus.messages(events.topic)[-1]
    assert json.loads(message.value or "")["after"] == {"id": "2", "a": "3000000000", "b": "y", "c": 0.5}


def test_every_type_as_json(events: Events) -> None:
    events.create(
        "id BIGINT NOT NULL, yes BOOLEAN, i INT, f FLOAT, d DOUBLE, amount DECIMAL(20, 4), day DATE, at TIMESTAMP, "
        "local TIMESTAMP_NTZ, raw BINARY, s STRUCT<a: BIGINT, b: ARRAY<DECIMAL(5, 2)>>, m MAP<STRING, DATE>, "
        "n MAP<INT, STRING>, l ARRAY<STRUCT<x: DOUBLE, y: STRING>>"
    )
    events.insert(
        "(9007199254740993, true, 7, 0.1, double('NaN'), 1234567890.1200, DATE '1999-12-31', "
        "TIMESTAMP '2024-02-29 23:59:59.123456Z', TIMESTAMP_NTZ '2024-03-10 02:30:00.000001', X'00ff', "
        "named_struct('a', 1L, 'b', array(1.50, NULL)), map('k', DATE '2020-01-01'), map(2, 'two'), "
        "array(named_struct('x', double('Infinity'), 'y', NULL), NULL))",
        "(2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
    )
    events.expose()
    events.assert_same()


def test_a_topic_that_somebody_deleted(events: Events) -> None:
    events.create()
    events.insert("(1, 'a')")
    events.expose()
    from confluent_kafka.admin import AdminClient

    admin = AdminClient({"bootstrap.servers": events.bus.address})
    admin.delete_topics([events.topic])[events.topic].result(20)
    events.insert("(2, 'b')")
    failed = events.run()
    assert failed.exit_code is ExitCode.FAILED
    assert "the topic is gone" in str(failed.error)
    events.expose(from_scratch=True)
    events.assert_same()


def test_withdraw_and_expose_again_gives_other_ids(events: Events) -> None:
    events.create()
    events.insert("(1, 'a')")
    events.expose()
    [before] = events.bus.messages(events.topic)
    [withdrawn] = app.withdraw(events.request())
    assert withdrawn.outcome is Outcome.WITHDRAWN
    assert not list((events.folder / "documents").rglob("*.json"))
    events.expose()
    [after] = events.bus.messages(events.topic)
    assert before.attributes["id"] != after.attributes["id"]


def test_the_asyncapi_document_and_the_plan(events: Events) -> None:
    events.create()
    events.insert("(1, 'a')")
    [planned] = app.plan(events.request())
    assert any("the whole snapshot" in line for line in planned.outlook)
    assert any("would be created" in line for line in planned.outlook)
    printed = "\n".join(planned.outlook)
    planned_document = json.loads(printed[printed.index("{") :])
    events.expose()
    [path] = (events.folder / "documents").rglob("asyncapi.json")
    assert json.loads(path.read_text()) == planned_document
    assert [each["host"] for each in planned_document["servers"].values()] == [events.bus.address]
    events.insert("(2, 'b')")
    events.sql("DELETE FROM {t} WHERE id = 1")
    [planned] = app.plan(events.request())
    assert any("2 commits" in line and "by changes between snapshots" in line for line in planned.outlook)


def test_a_partition_that_is_added_loses_nothing(events: Events) -> None:
    from confluent_kafka.admin import AdminClient, NewPartitions

    events.settings = {"partitions": 2}
    events.create()
    events.sql("INSERT INTO {t} SELECT id, 'n' FROM range(50)")
    events.expose()
    admin = AdminClient({"bootstrap.servers": events.bus.address})
    admin.create_partitions([NewPartitions(events.topic, 5)])[events.topic].result(20)
    events.sql("INSERT INTO {t} SELECT id + 50, 'n' FROM range(50)")
    events.expose()
    assert events.assert_same().ops == {"r": 50, "c": 50}


def test_the_pinned_snapshot_is_tagged(events: Events) -> None:
    events.create()
    events.insert("(1, 'a')")
    receipt = events.expose()
    assert snapshot.pin(events.metadata(), as_of=receipt.tag).id == receipt.snapshot_id

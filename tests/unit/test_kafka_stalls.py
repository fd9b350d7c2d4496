"""When nothing is acknowledged any more: librdkafka's statistics, as it gives them."""

from __future__ import annotations

from polyexpose_spark.clients.kafka_producer import Stalls


def partition(acknowledged: int, waiting: int) -> dict[str, int]:
    return {"acked_msgid": acknowledged, "msgq_cnt": waiting, "xmit_msgq_cnt": 0, "msgs_inflight": 0}


def test_a_partition_that_stands_still_is_found_though_others_go_on() -> None:
    stalls = Stalls(10)
    for second in range(30):
        said = {"0": partition(second, 100), "1": partition(5, 1), "2": partition(5, 0)}
        assert stalls.of(said, float(second)) == (1 if second >= 10 else None)


def test_time_without_events_does_not_count() -> None:
    stalls = Stalls(10)
    assert stalls.of({"0": partition(5, 0)}, 0.0) is None
    assert stalls.of({"0": partition(5, 0)}, 100.0) is None
    assert stalls.of({"0": partition(5, 1)}, 109.0) is None
    assert stalls.of({"0": partition(6, 1)}, 111.0) is None
    assert stalls.of({"0": partition(6, 1)}, 122.0) == 0


def test_events_that_have_no_partition_yet_count() -> None:
    stalls = Stalls(10)
    assert stalls.of({"-1": partition(0, 5)}, 0.0) is None
    assert stalls.of({"-1": partition(0, 5)}, 10.0) == -1

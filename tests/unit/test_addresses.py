from __future__ import annotations

import pytest

from polyexpose_spark.addresses import redacted, without_credentials


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("jdbc:sqlite:/a b/c.db", "jdbc:sqlite:/a b/c.db"),
        ("jdbc:postgresql://u:p@db:5432/lake?user=u&password=p", "jdbc:postgresql://db:5432/lake"),
        ("https://key:s3cret@catalog.example/v1?token=x", "https://catalog.example/v1"),
        ("thrift://h:9083", "thrift://h:9083"),
    ],
)
def test_an_address_is_shown_without_what_signs_in(address: str, shown: str) -> None:
    assert without_credentials(address) == shown


@pytest.mark.parametrize(
    "message",
    [
        "failed: jdbc:postgresql://u:s3cret@db/lake",
        "failed: password=s3cret, user=u",
        'failed: {"access_token": "s3cret", "n": 1}',
        "Authorization: Bearer s3cret",
        "https://h/x?X-Goog-Signature=s3cret&x=1",
        "client_secret = 's3cret'",
    ],
)
def test_a_message_of_others_loses_what_looks_like_a_secret(message: str) -> None:
    assert "s3cret" not in redacted(message)
    assert "***" in redacted(message) or "://db" in redacted(message)


@pytest.mark.parametrize("message", ["unexpected token: ')'", "Secret garden", "a=b", "file:/x@y", "user@host"])
def test_prose_stays_as_it_is(message: str) -> None:
    assert redacted(message) == message

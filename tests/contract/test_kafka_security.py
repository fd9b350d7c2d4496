"""Logins and rights, against a real Kafka broker: TLS, PLAIN, SCRAM, OAUTHBEARER."""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import json
import logging
import pickle
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")

from confluent_kafka.admin import (
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pyspark import cloudpickle

from polyexpose_spark.clients import TopicSettings, kafka, kafka_producer
from polyexpose_spark.clients.delivery import Undelivered
from polyexpose_spark.clients.event_addresses import KafkaAddress
from polyexpose_spark.clients.kafka import Deadlines, KafkaSink
from polyexpose_spark.errors import ConfigError, TargetFailed
from polyexpose_spark.local.kafka import Broker
from tests import servers
from tests.contract.test_sinks import event, said, send
from tests.event_services import kafka_events

PASSWORD = "hasta-la-vista-42"  # of a broker that lives as long as the tests
WITHOUT_RIGHTS = "mallory"
QUICK = Deadlines(call=10, send=10)


@dataclass(frozen=True)
class Secured:
    """Ports of one broker; on the plain one everybody may do everything."""

    plain: str
    sasl: str
    tls: str
    authority: Path


def self_signed(folder: Path) -> Path:
    """Write a certificate for 127.0.0.1 and its key, as Kafka reads them, and the certificate alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public = certificate.public_bytes(serialization.Encoding.PEM)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "keystore.pem").write_bytes(key.private_bytes(*form) + public)
    (folder / "authority.pem").write_bytes(public)
    return folder / "authority.pem"


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("kafka")
    authority = self_signed(folder)
    plain, sasl, tls = (f"127.0.0.1:{servers.free_port()}" for _ in range(3))
    controller = f"127.0.0.1:{servers.free_port()}"
    listeners = f"PLAINTEXT://{plain},LOGIN://{sasl},SECURE://{tls}"
    modules = "org.apache.kafka.common.security"
    users = f'user_alice="{PASSWORD}" user_{WITHOUT_RIGHTS}="{PASSWORD}"'
    logins = {
        "plain": f"{modules}.plain.PlainLoginModule required {users};",
        "scram-sha-256": f"{modules}.scram.ScramLoginModule required;",
        "scram-sha-512": f"{modules}.scram.ScramLoginModule required;",
        "oauthbearer": f'{modules}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";',
    }
    settings = {
        "controller.quorum.voters": f"1@{controller}",
        "listeners": f"{listeners},CONTROLLER://{controller}",
        "advertised.listeners": listeners,
        "listener.security.protocol.map": (
            "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,LOGIN:SASL_PLAINTEXT,SECURE:SASL_SSL"
        ),
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(folder / "keystore.pem"),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS;User:alice;User:robot",
        **{
            f"listener.name.{name}.{key}.sasl.jaas.config": v
            for name in ("login", "secure")
            for key, v in logins.items()
        },
    }
    broker = Broker(int(plain.rpartition(":")[2]), folder / "state", settings)
    broker.start()
    try:
        admin = AdminClient({"bootstrap.servers": plain})
        for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
            scram = UserScramCredentialUpsertion("alice", ScramCredentialInfo(mechanism, 4096), PASSWORD.encode())
            for each in admin.alter_user_scram_credentials([scram]).values():
                each.result(20)
        yield Secured(plain, sasl, tls, authority)
    finally:
        broker.stop()


@pytest.fixture(autouse=True)
def _password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_PASSWORD", PASSWORD)
    monkeypatch.setenv("KAFKA_WRONG", "not-" + PASSWORD)


def login(
    secured: Secured, mechanism: str, user: str = "alice", password: str = "env:KAFKA_PASSWORD", tls: bool = False
) -> KafkaAddress:
    given: dict[str, Any] = {"sasl_username": user, "sasl_password": password} if mechanism != "OAUTHBEARER" else {}
    if tls:
        given |= {"security_protocol": "SASL_SSL", "ssl_ca_location": str(secured.authority)}
    else:
        given |= {"security_protocol": "SASL_PLAINTEXT"}
    return KafkaAddress(bootstrap_servers=secured.tls if tls else secured.sasl, sasl_mechanism=mechanism, **given)


@pytest.mark.parametrize("tls", [False, True], ids=["no TLS", "TLS"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_user_with_a_password(secured: Secured, mechanism: str, tls: bool) -> None:
    name = f"{mechanism}-{tls}".lower()
    sink = KafkaSink(login(secured, mechanism, tls=tls), name, QUICK)
    topic = sink.create(TopicSettings(partitions=2))
    sender = sink.sender(topic, kafka_producer.Envelope("/products/flights"), "b")
    assert PASSWORD not in repr(sender)
    assert send(sink, topic, [event(n, "k") for n in range(100)])["events"] == 100
    assert len(kafka_events(secured.plain, name)) == 100


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
def test_a_wrong_password_is_told_at_once_and_not_shown(
    secured: Secured, mechanism: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    sink = KafkaSink(login(secured, mechanism, password="env:KAFKA_WRONG"), "t")
    began = time.monotonic()
    with pytest.raises(TargetFailed, match=r"(?i)authentication") as failed:
        sink.topic()
    right = KafkaSink(KafkaAddress(bootstrap_servers=secured.plain, security_protocol="PLAINTEXT"), "wrong-password")
    topic = right.create(TopicSettings())
    with pytest.raises(Undelivered, match=r"(?i)authentication") as undelivered:
        send(KafkaSink(login(secured, mechanism, password="env:KAFKA_WRONG"), "wrong-password"), topic, [event(0, "k")])
    assert said(undelivered)["retry"] is False
    assert time.monotonic() - began < 15
    assert PASSWORD not in f"{failed.value}{undelivered.value}{caplog.text}"


def test_a_reference_to_no_secret(secured: Secured) -> None:
    with pytest.raises(ConfigError, match="env:KAFKA_NOBODY"):
        KafkaSink(login(secured, "PLAIN", password="env:KAFKA_NOBODY"), "t").topic()


def test_who_may_not_is_told_so(secured: Secured) -> None:
    plain = KafkaAddress(bootstrap_servers=secured.plain, security_protocol="PLAINTEXT")
    topic = KafkaSink(plain, "not-for-you").create(TopicSettings())
    sink = KafkaSink(login(secured, "PLAIN", user=WITHOUT_RIGHTS), "not-for-you", QUICK)
    for ask in (sink.topic, lambda: sink.create(TopicSettings()), sink.delete):
        with pytest.raises(TargetFailed, match=r"(?i)authorization failed"):
            ask()
    with pytest.raises(Undelivered, match=r"(?i)authorization failed") as error:
        send(sink, topic, [event(0, "k")])
    assert said(error)["retry"] is False
    assert kafka_events(secured.plain, "not-for-you") == []


def test_an_unknown_authority_is_not_trusted(secured: Secured) -> None:
    address = login(secured, "PLAIN", tls=True).model_copy(update={"ssl_ca_location": None})
    began = time.monotonic()
    with pytest.raises(TargetFailed, match="certificate verify failed"):
        KafkaSink(address, "t").topic()
    assert time.monotonic() - began < 10
    with pytest.raises(ConfigError, match=r"/nowhere/ca\.pem is no file"):
        KafkaSink(address.model_copy(update={"ssl_ca_location": "/nowhere/ca.pem"}), "t").topic()


def unsecured_token(*_: object) -> tuple[str, float]:
    """Return the only kind of token that a broker takes which knows no issuer: RFC 7515, algorithm `none`."""
    now = time.time()
    parts = [{"alg": "none"}, {"sub": "robot", "iat": now, "exp": now + 3600}]
    encoded = [base64.urlsafe_b64encode(json.dumps(each).encode()).rstrip(b"=").decode() for each in parts]
    return ".".join([*encoded, ""]), now + 3600


def test_tokens_are_asked_for_and_taken(secured: Secured, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (kafka, kafka_producer):
        monkeypatch.setattr(module, "google_token", unsecured_token)
    sink = KafkaSink(login(secured, "OAUTHBEARER"), "by-token", QUICK)
    topic = sink.create(TopicSettings())
    assert send(sink, topic, [event(n, "k") for n in range(10)])["events"] == 10
    assert len(kafka_events(secured.plain, "by-token")) == 10


def test_a_token_of_google_has_the_form_that_managed_kafka_takes() -> None:
    expiry = dt.datetime(2026, 11, 25, 12, 0, 0)

    class Credentials:
        service_account_email = "robot@project.iam.gserviceaccount.com"
        token: str | None = None
        expiry: dt.datetime | None = None

        def refresh(self, _: object) -> None:
            self.token, self.expiry = "ya29.an-access-token", expiry

    token, expires = kafka_producer.token_of(Credentials())
    parts = token.split(".")
    header, claims, access = (base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)).decode() for part in parts)
    assert json.loads(header) == {"typ": "JWT", "alg": "GOOG_OAUTH2_TOKEN"}
    assert json.loads(claims) | {"iat": 0} == {
        "exp": int(expires),
        "iat": 0,
        "scope": "kafka",
        "sub": Credentials.service_account_email,
    }
    assert abs(json.loads(claims)["iat"] - time.time()) < 60
    assert access == "ya29.an-access-token"
    assert expires == expiry.replace(tzinfo=dt.UTC).timestamp()
    assert "=" not in token


def test_no_credentials_of_google(secured: Secured, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plain = KafkaAddress(bootstrap_servers=secured.plain, security_protocol="PLAINTEXT")
    topic = KafkaSink(plain, "no-credentials").create(TopicSettings())
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nowhere.json"))
    sink = KafkaSink(login(secured, "OAUTHBEARER"), "no-credentials")
    began = time.monotonic()
    with pytest.raises(TargetFailed, match="nowhere"):
        sink.topic()
    with pytest.raises(Undelivered, match="nowhere") as error:
        send(sink, topic, [event(0, "k")])
    assert said(error)["retry"] is False
    assert time.monotonic() - began < 20


def test_the_password_travels_with_the_work_and_is_not_read_again(
    secured: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = KafkaSink(login(secured, "PLAIN"), "travels", QUICK)
    topic = sink.create(TopicSettings())
    work = cloudpickle.dumps(sink.sender(topic, kafka_producer.Envelope("/products/flights"), "b"))
    monkeypatch.delenv("KAFKA_PASSWORD")  # as on an executor
    (row,) = pickle.loads(work)(iter([]))
    assert row.num_rows == 1

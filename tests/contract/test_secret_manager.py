"""Secrets at sm:// references, against a server on the loopback that speaks Secret Manager's API and wants a token."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from polyexpose_spark.clients import secrets
from polyexpose_spark.clients.secret_manager import SecretManager
from polyexpose_spark.config import SecretManagerConfig
from polyexpose_spark.errors import ConfigError, PolyexposeError, TargetFailed, TargetUnavailable
from tests.servers import free_port

CANARY = "c4n4ry-of-the-admin-secret"
TOKEN = "ya29.of-the-runner"


@dataclass
class Google:
    """The token endpoint and Secret Manager at one address: what it holds, and what it was asked."""

    address: str
    stored: dict[str, bytes] = field(default_factory=dict)
    failing: list[tuple[int, str]] = field(default_factory=list)
    """Status and body of the answers to come, before the right ones."""
    trickles: bool = False
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)


@pytest.fixture
def google(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Google]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
            self.answer(200, json.dumps({"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer"}))

        def do_GET(self) -> None:
            state.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            if self.headers["Authorization"] != f"Bearer {TOKEN}":
                self.answer(401, error(401, "Request had invalid authentication credentials."))
            elif state.failing:
                self.answer(*state.failing.pop(0))
            elif state.trickles:
                self.trickle()
            elif (held := state.stored.get(self.path)) is None:
                self.answer(404, error(404, "Secret [...] not found or has no versions."))
            else:
                data = base64.b64encode(held).decode()
                name = self.path.removeprefix("/v1/").removesuffix(":access")
                self.answer(200, json.dumps({"name": name, "payload": {"data": data}}))

        def answer(self, status: int, body: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        def trickle(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            for _ in range(100):
                self.wfile.write(b" ")
                self.wfile.flush()
                time.sleep(0.1)

        def log_message(self, *_: object) -> None:
            pass

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:  # a client that has waited long enough
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state = Google(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    key = tmp_path / "runner.json"
    key.write_text(json.dumps(service_account_key(f"{state.address}/token")))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
    yield state
    server.shutdown()
    server.server_close()


def service_account_key(token_uri: str) -> dict[str, str]:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {
        "type": "service_account",
        "project_id": "acme",
        "private_key_id": "1",
        "private_key": pem.decode(),
        "client_email": "runner@acme.iam.gserviceaccount.com",
        "token_uri": token_uri,
    }


def error(code: int, message: str) -> str:
    return json.dumps({"error": {"code": code, "message": message, "status": "..."}})


def path(secret: str, version: str = "latest", project: str = "acme-prod") -> str:
    return f"/v1/projects/{project}/secrets/{secret}/versions/{version}:access"


def manager(google: Google, deadline: float = 10.0, **given: Any) -> SecretManager:
    return SecretManager(SecretManagerConfig(endpoint=google.address, **given), deadline)


def refused(kind: type[PolyexposeError], of: SecretManager, reference: str) -> str:
    with pytest.raises(kind) as caught:
        of.read(reference)
    message = str(caught.value)
    assert "\n" not in message
    assert reference in message
    assert CANARY not in message
    assert TOKEN not in message
    return message


@pytest.mark.parametrize(
    ("reference", "version"),
    [
        ("sm://acme-prod/admin", "latest"),
        ("sm://projects/acme-prod/secrets/admin", "latest"),
        ("sm://projects/acme-prod/secrets/admin/versions/7", "7"),
        ("sm://projects/acme-prod/secrets/admin/versions/blue", "blue"),
    ],
)
def test_a_reference_names_a_secret_and_its_version(google: Google, reference: str, version: str) -> None:
    google.stored[path("admin", version)] = CANARY.encode()
    assert manager(google).read(reference) == CANARY
    [(_, headers)] = google.asked
    assert headers["authorization"] == f"Bearer {TOKEN}"
    assert "x-goog-user-project" not in headers


def test_the_quota_project_pays(google: Google) -> None:
    google.stored[path("admin")] = CANARY.encode()
    manager(google, project="acme-billing").read("sm://acme-prod/admin")
    assert google.asked[0][1]["x-goog-user-project"] == "acme-billing"


def test_a_run_reads_a_secret_once_and_the_next_run_sees_the_new_one(
    google: Google, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "_manager", None)  # put back afterwards
    google.stored[path("admin")] = b"of yesterday\n"
    for expected in ("of yesterday", "of today"):
        secrets.begin(SecretManagerConfig(endpoint=google.address))
        assert {secrets.resolve("sm://acme-prod/admin") for _ in range(3)} == {expected}
        assert secrets.resolve("sm://projects/acme-prod/secrets/admin/versions/latest") == expected
        google.stored[path("admin")] = b"of today"
    assert len(google.asked) == 2


def test_no_such_secret(google: Google) -> None:
    assert "there is no such secret or version" in refused(ConfigError, manager(google), "sm://acme-prod/nowhere")


def test_no_right_is_said_as_google_says_it_and_asked_once(google: Google) -> None:
    google.failing = [(403, error(403, "Permission 'secretmanager.versions.access' denied"))]
    message = refused(TargetFailed, manager(google), "sm://acme-prod/admin")
    assert message == (
        f"Secret Manager at {google.address}: secret sm://acme-prod/admin: "
        "Permission 'secretmanager.versions.access' denied (HTTP 403)"
    )
    assert len(google.asked) == 1


def test_a_failure_that_passes_is_waited_for(google: Google) -> None:
    google.stored[path("admin")] = CANARY.encode()
    google.failing = [(503, error(503, "try again")), (429, "no JSON")]
    assert manager(google).read("sm://acme-prod/admin") == CANARY
    assert len(google.asked) == 3


def test_one_that_does_not_pass_ends_with_the_deadline(google: Google) -> None:
    google.failing = [(503, error(503, "try again"))] * 100
    began = time.monotonic()
    assert "try again (HTTP 503)" in refused(TargetUnavailable, manager(google, 1.0), "sm://acme-prod/admin")
    assert time.monotonic() - began < 3


def test_an_answer_that_trickles_ends_with_the_deadline(google: Google) -> None:
    google.trickles = True
    began = time.monotonic()
    assert "no answer in time" in refused(TargetUnavailable, manager(google, 1.0), "sm://acme-prod/admin")
    assert time.monotonic() - began < 3


def test_nobody_is_there(google: Google) -> None:
    nobody = SecretManager(SecretManagerConfig(endpoint=f"http://127.0.0.1:{free_port()}"), 1.0)
    assert "nobody answers" in refused(TargetUnavailable, nobody, "sm://acme-prod/admin")


def test_no_credentials(google: Google, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "nowhere.json")
    assert "nowhere.json" in refused(ConfigError, manager(google), "sm://acme-prod/admin")
    assert google.asked == []


def test_the_token_goes_to_no_other_address(google: Google) -> None:
    google.failing = [(302, "")]
    refused(TargetFailed, manager(google), "sm://acme-prod/admin")
    assert len(google.asked) == 1


@pytest.mark.parametrize("stored", [b"\xff" + CANARY.encode(), None])
def test_what_is_no_text_is_not_repeated(google: Google, stored: bytes | None) -> None:
    if stored is None:
        google.failing = [(200, json.dumps({"payload": {"data": f"!{CANARY}"}}))]
    else:
        google.stored[path("admin")] = stored
    assert "no UTF-8 text" in refused(ConfigError, manager(google), "sm://acme-prod/admin")


@pytest.mark.parametrize(
    "reference",
    ["sm://admin", "sm://", "sm://acme/admin/7", "sm://acme/../x", "sm://../x", "sm://projects/a/secrets/b/versions/"],
)
def test_what_is_no_reference_says_how_one_is_written(google: Google, reference: str) -> None:
    assert "sm://PROJECT/SECRET or" in refused(ConfigError, manager(google), reference)
    assert google.asked == []


def test_without_the_library_the_extra_is_named() -> None:
    script = (
        "import sys; sys.modules['google.auth'] = None\n"
        "from polyexpose_spark.clients import secrets\n"
        "try: secrets.resolve('sm://acme/admin')\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (
        "ConfigError secret sm://acme/admin: Google's libraries are not installed: "
        "pip install 'polyexpose-spark[secrets]'"
    )

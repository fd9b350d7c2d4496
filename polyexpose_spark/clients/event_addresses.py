"""Where message services are (blocks `kafka`, `pubsublite`, `pubsub` of `ports.events` in a profile), and how long
they may take.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field, model_validator

from polyexpose_spark.config import SecretReference
from polyexpose_spark.documents import Strict


@dataclass(frozen=True)
class Deadlines:
    """Seconds until an answer that does not come is an error."""

    call: float = 20.0
    """Asking for, making and deleting the topic, with repeats."""
    send: float = 60.0
    """Without an acknowledgement while events are on their way, with repeats; what restarts is back by then."""


class KafkaAddress(Strict):
    """A Kafka cluster. Names as in librdkafka's configuration, which is what reads them."""

    bootstrap_servers: str | None = None
    """host:port,...; None: the contract's `host`."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "SASL_SSL"
    sasl_mechanism: Literal["OAUTHBEARER", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    """OAUTHBEARER: tokens of Google's application default credentials, as its Managed Kafka takes them."""
    sasl_username: str | None = None
    sasl_password: SecretReference | None = None
    ssl_ca_location: str | None = None
    """PEM file with the certificate authorities, there on every executor; None: the system's."""
    replication_factor: int | None = Field(default=None, ge=1)
    """Of topics that are created; None: the cluster's default."""

    @model_validator(mode="after")
    def _complete(self) -> KafkaAddress:
        if self.security_protocol.startswith("SASL") != (self.sasl_mechanism is not None):
            raise ValueError("security_protocol SASL_* and sasl_mechanism go together")
        by_name = self.sasl_mechanism not in (None, "OAUTHBEARER")
        if by_name != (self.sasl_username is not None and self.sasl_password is not None):
            raise ValueError("PLAIN and SCRAM take sasl_username and sasl_password, OAUTHBEARER takes neither")
        return self


class PubsubliteAddress(Strict):
    """Pub/Sub Lite in one project and location."""

    project: str | None = None
    """Project id or number; None: the contract's `project`."""
    location: str | None = None
    """A zone (europe-west1-b) or a region; None: the contract's `location`."""
    endpoint: str | None = None
    """http://host:port without TLS, https:// with; None: Google's own for the region."""
    credentials: Literal["application_default", "anonymous"] = "application_default"


class PubsubAddress(Strict):
    """Pub/Sub in one project."""

    project: str | None = None
    """None: the contract's `project`."""
    endpoint: str | None = None
    """http://host:port without TLS, https:// with; None: Google's own."""
    credentials: Literal["application_default", "anonymous"] = "application_default"

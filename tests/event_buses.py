"""A message service for the command line: how a profile names it, and everything that its topics hold."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.event_services import PROJECT, SERVICES, ZONE, Received, Service


class Bus:
    """One running service."""

    def __init__(self, name: str, service: Service) -> None:
        self.name, self._service = name, service
        address = f"127.0.0.1:{service.port}"
        settings = {"sink": name, "documents": ".polyexpose/exposed"}
        if name == "kafka":
            settings["kafka.bootstrap_servers"] = address
        else:
            settings |= {f"{name}.endpoint": f"http://{address}", f"{name}.project": PROJECT}
        if name == "pubsublite":
            settings["pubsublite.location"] = ZONE
        self.settings = tuple(f"ports.events.{key}={value}" for key, value in settings.items())
        self.address = address
        self.go_away, self.come_back = service.go_away, service.come_back
        self._taken: dict[str, list[Received]] = {}

    @property
    def arguments(self) -> tuple[str, ...]:
        """Return the settings for the command line."""
        return tuple(part for each in self.settings for part in ("--set", each))

    def prepare(self, topic: str) -> None:
        """Make the topic where a consumer has to be there before the first event."""
        if self.name == "pubsub":
            self._service.made(topic)

    def messages(self, topic: str, count: int = 1) -> list[Received]:
        """Return everything in the topic, in order per key."""
        found = self._service.received(topic, count)
        if self.name != "pubsub":
            return found
        # Google's fake hands out what was not acknowledged only.
        taken = self._taken.setdefault(topic, [])
        taken += found
        return list(taken)


@contextlib.contextmanager
def running(name: str, folder: Path) -> Iterator[Bus]:
    """Run a service: one of SERVICES."""
    service = SERVICES[name](folder)
    service.start()
    try:
        yield Bus(name, service)
    finally:
        service.stop()

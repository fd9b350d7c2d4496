"""PartitionAssignmentService: the partitions of a topic, shared among the subscribers of a subscription."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import grpc
from google.cloud import pubsublite_v1 as lite

from polyexpose_spark.local.pubsublite.messages import Failure, Message, invalid

PartitionAssignment = lite.PartitionAssignment.pb()
Read = Callable[[], Awaitable[Message]]


@dataclass(eq=False)
class _Member:
    """A subscriber client."""

    client: bytes
    assigned: frozenset[int] = frozenset()
    """What it was told last."""
    held: frozenset[int] = frozenset()
    """What it may be reading: until it has acknowledged an assignment, that of before as well."""
    told: bool = False
    """Whether it was told anything yet."""
    acknowledged: bool = True
    failure: Failure | None = None
    ended: bool = False
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def fail(self, failure: Failure) -> None:
        self.failure = failure
        self.wake.set()


class Assignments:
    """Who reads what. A partition goes to another subscriber only when the one that had it has said that it let go."""

    def __init__(self, partitions: Callable[[str], int]) -> None:
        """Take what says how many partitions the topic of a subscription has."""
        self._partitions = partitions
        self._members: dict[str, list[_Member]] = {}

    async def serve(self, subscription: str, client: bytes, read: Read, context: grpc.aio.ServicerContext) -> None:
        """Tell a subscriber what is its own, and again whenever that changes, until it goes."""
        members = self._members.setdefault(subscription, [])
        for other in members:
            if other.client == client:
                other.fail(Failure(grpc.StatusCode.ABORTED, "The client has connected anew"))
        member = _Member(client)
        members.append(member)
        self.share_anew(subscription)
        reader = asyncio.create_task(self._listen(subscription, member, read))
        try:
            while not member.failure and not member.ended:
                member.wake.clear()
                told = self._next(subscription, member)
                if told is None:
                    await member.wake.wait()
                    continue
                member.held |= told
                member.assigned, member.told, member.acknowledged = told, True, False
                await context.write(PartitionAssignment(partitions=sorted(told)).SerializeToString())
        finally:
            reader.cancel()
            members.remove(member)
            self.share_anew(subscription)
        if member.failure:
            raise member.failure

    def share_anew(self, subscription: str) -> None:
        """Look again who should have what."""
        for member in self._members.get(subscription, []):
            member.wake.set()

    def break_off(self, subscription: str, failure: Failure) -> None:
        """End the streams of a subscription."""
        for member in self._members.get(subscription, []):
            member.fail(failure)

    def _next(self, subscription: str, member: _Member) -> frozenset[int] | None:
        """Return what a member is to be told now; None: nothing new, or it has not answered yet."""
        if not member.acknowledged:
            return None
        members = self._members[subscription]
        place = members.index(member)
        share = frozenset(range(place, self._partitions(subscription), len(members)))
        taken = frozenset[int]().union(*(other.held for other in members if other is not member))
        told = share - taken
        return None if member.told and told == member.assigned else told

    async def _listen(self, subscription: str, member: _Member, read: Read) -> None:
        while (request := await read()) is not None:
            if request.WhichOneof("request") != "ack" or member.acknowledged:
                member.fail(invalid("every request after the first acknowledges one assignment"))
                return
            member.held, member.acknowledged = member.assigned, True
            self.share_anew(subscription)
        member.ended = True
        member.wake.set()

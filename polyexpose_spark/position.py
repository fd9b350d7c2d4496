"""Position: how far a port that sends what changed has come. Kept in the ledger, stored before the first send."""

from __future__ import annotations

from pydantic import ConfigDict
from pydantic.alias_generators import to_camel

from polyexpose_spark.documents import Strict


class Position(Strict):
    """Everything up to a snapshot was sent; and what is being sent just now, where that is not simply the next commit.

    The epoch is part of every event's id. It rises when the position leaves its line of descent (a rollback, a branch,
    a new beginning), so that what is sent then does not look like a repeat of what was sent before. The move is stored
    before its first event, so that a run that dies in it is repeated under the same epoch.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)

    snapshot_id: int | None = None
    """Everything up to this snapshot was sent; None: not even a first snapshot."""
    epoch: int = 0
    sequence: int = 0
    """Counts the snapshots sent, over all epochs."""
    toward: int | None = None
    """Snapshot of a first load, or of a move off the line of descent, that has begun and is not done."""
    pieces: int = 0
    """Pieces of a first load that were sent."""

    def loading(self, snapshot_id: int) -> Position:
        """Return the position at the beginning of a first load."""
        return self.model_copy(update={"snapshot_id": None, "toward": snapshot_id, "pieces": 0})

    def leaving(self, snapshot_id: int) -> Position:
        """Return the position at the beginning of a move off the line of descent."""
        return self.model_copy(update={"epoch": self.epoch + 1, "toward": snapshot_id})

    def at(self, snapshot_id: int) -> Position:
        """Return the position after all of this snapshot was sent."""
        return Position(snapshot_id=snapshot_id, epoch=self.epoch, sequence=self.sequence + 1)

    def anew(self) -> Position:
        """Return the position that begins with a first load again."""
        return Position(epoch=self.epoch + 1, sequence=self.sequence)

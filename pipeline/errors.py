"""The errors of this package, one class for each reaction of the caller.

PipelineError
├── SettingsError     a setting cannot be right: exit with the reason
├── ConnectionLost    Redis is away or starting: wait and try again
├── RedisFull         Redis is out of memory or disk: wait, say so
├── RedisUnfit        this server would lose frames (evicts, too old): refuse it
├── UnreadableFrame   these bytes are no frame: answer UNKNOWN/UNREADABLE, keep a dead letter
├── RefusedFrame      the line did not take this frame (seq seen before): drop it, say so
├── WrongSize         a frame that fits another engine: the same, and count it
├── RingStale         the ring slot was written again: answer UNKNOWN/UNREADABLE
├── CameraLost        the source gave no frame: reconnect with back-off
├── CannotServe       this machine cannot serve an engine: keep the one in force, try again later
├── DoesNotHold       an engine failed on live frames: keep it from all workers of the line
├── ForeignVerdict    these bytes are no verdict: hand it out as UNKNOWN/FOREIGN, say so
├── UnwritableJudgement  no program could read this judgement: answer UNKNOWN/ENGINE
├── LabelError        this label cannot be right, or not of this frame: correct it, send again
├── BridgeFailed      a bridge can no longer reach its target: end, so that it is started again
└── BrokenPromise     a proof did not hold: exit non-zero
"""


class PipelineError(Exception):
    """Anything that goes wrong in this package."""


class SettingsError(PipelineError):
    """A setting cannot be right: exit with the reason."""


class ConnectionLost(PipelineError):  # noqa: N818  # a state of the world, not a mistake
    """Redis is away, starting or read-only: wait and try again."""


class RedisFull(PipelineError):  # noqa: N818
    """Redis is out of memory or disk: wait until frames are answered, say so."""


class RedisUnfit(PipelineError):  # noqa: N818
    """This server would lose frames or lacks a command: refuse it."""


class UnreadableFrame(PipelineError):  # noqa: N818
    """These bytes are no frame: answer UNKNOWN/UNREADABLE and keep a dead letter."""


class RefusedFrame(PipelineError):  # noqa: N818
    """The line did not take this frame: drop it and say so."""


class WrongSize(UnreadableFrame):  # a frame for another engine
    """A frame of another size than the engine takes."""

    def __init__(self, message: str, shape: tuple[int, int]) -> None:
        """Keep its height and width."""
        super().__init__(message)
        self.shape = shape


class RingStale(UnreadableFrame):
    """The ring slot was written again before it was read."""


class CameraLost(PipelineError):  # noqa: N818
    """The source gives no frames: reconnect with back-off."""


class CannotServe(PipelineError):  # noqa: N818
    """This machine cannot serve an engine: keep the one in force and try again later."""


class DoesNotHold(PipelineError):  # noqa: N818
    """An engine failed on live frames: keep it from all workers of the line."""


class ForeignVerdict(PipelineError):  # noqa: N818
    """These bytes are no verdict: hand it out as UNKNOWN/FOREIGN and say so."""


class UnwritableJudgement(PipelineError):  # noqa: N818
    """No program could read this judgement: answer UNKNOWN/ENGINE."""


class LabelError(PipelineError):
    """This label cannot be right, or does not fit its frame: correct it and send it again."""


class BridgeFailed(PipelineError):  # noqa: N818
    """A bridge can no longer reach its target: end, so that it is started again."""


class BrokenPromise(PipelineError):  # noqa: N818
    """A proof did not hold: exit non-zero."""

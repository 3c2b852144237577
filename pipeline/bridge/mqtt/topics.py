"""The topics of a line, and what may be asked on them."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import SettingsError
from pipeline.streams.keys import check_name

MOST_ROOT_CHARS = 128
MOST_REQUEST_BYTES = 256
MOST_AT_ONCE = 1000  # verdicts that one request may ask for
NO_CAMERA = "~unknown"  # the level of verdicts without a camera; "~" is in no camera's name
_MOST_SEQ = (1 << 62) - 1
Seq = Annotated[int, Field(ge=0, le=_MOST_SEQ)]


class RefusedRequest(ValueError):  # noqa: N818  # the answer to a client, no fault of this program
    """A client asked for what it does not get; the text is the answer."""


@dataclass(frozen=True, slots=True)
class Topics:
    """`{root}/{line}/...`."""

    root: str
    line: str

    @property
    def status(self) -> str:
        """The topic that tells whether the bridge is there, and the state of the line."""
        return f"{self.root}/{self.line}/status"

    @property
    def requests(self) -> str:
        """The filter of all requests."""
        return f"{self.root}/{self.line}/+/resend"

    def verdict(self, camera: str) -> str:
        """The topic of every verdict of a camera."""
        return self._of(camera, "verdict")

    def last(self, camera: str) -> str:
        """The topic that retains a camera's last verdict."""
        return self._of(camera, "last")

    def error(self, camera: str) -> str:
        """The topic of refused requests."""
        return self._of(camera, "error")

    def requested_camera(self, topic: str) -> str:
        """Return of which camera a request is; empty where it is none."""
        start, end = f"{self.root}/{self.line}/", "/resend"
        camera = topic.removeprefix(start).removesuffix(end)
        return camera if topic == start + camera + end and _is_name(camera) else ""

    def _of(self, camera: str, leaf: str) -> str:
        return f"{self.root}/{self.line}/{camera if _is_name(camera) else NO_CAMERA}/{leaf}"


def _is_name(text: str) -> bool:
    try:
        check_name(text)
    except SettingsError:
        return False
    return True


def check_root(root: str) -> str:
    """Return a topic root that can be published to, of one or more levels.

    Raises:
        ValueError: it is empty or too long, begins with `$`, or has empty levels, wildcards or
            control characters.
    """
    wrong = not root.isprintable() or any(sign in root for sign in "+#")
    if wrong or root.startswith("$") or len(root) > MOST_ROOT_CHARS or not all(root.split("/")):
        raise ValueError(f"--topic-root {root!r:.80}: levels like plant/hall-2, without + and #")
    return root


class ResendRequest(BaseModel):
    """Which verdicts a client wants again: `{"from": seq, "to": seq}`; `to` may be left out."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    first: Seq = Field(alias="from")
    asked_last: Seq | None = Field(default=None, alias="to")

    @property
    def last(self) -> int:
        """The last seq, where none is given the last that one request may ask for."""
        return self.first + MOST_AT_ONCE - 1 if self.asked_last is None else self.asked_last


def read_request(payload: bytes) -> ResendRequest:
    """Read a request.

    Raises:
        RefusedRequest: it is none, or asks for too much.
    """
    if len(payload) > MOST_REQUEST_BYTES:
        raise RefusedRequest(f"{len(payload)} bytes: at most {MOST_REQUEST_BYTES}")
    try:
        request = ResendRequest.model_validate_json(payload)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        why = f"{where}: {first['msg']}" if where else first["msg"]
        raise RefusedRequest(f'{why:.200}; wanted: {{"from": seq, "to": seq}}') from error
    if request.last < request.first:
        raise RefusedRequest('"to" is less than "from"')
    if request.last - request.first >= MOST_AT_ONCE:
        raise RefusedRequest(f"{request.last - request.first + 1} seqs: at most {MOST_AT_ONCE}")
    return request

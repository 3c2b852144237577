"""Every key and field of a line in Redis: the glossary.

All keys of a line share the hash tag `{line}`: each script touches one slot of a Redis Cluster.

{line}:frames        stream   frames waiting or being judged. Fields: `m` head (wire), `d` payload
                              (not for ring frames), `n` bytes charged to the budget (`charge`),
                              `u` deadline, ms on Redis's clock. Group `workers`, one consumer a
                              worker process
{line}:open          zset     the register: entry id of every unanswered frame -> deadline, ms on
                              Redis's clock. Who removes an id publishes its verdict: so a part
                              gets exactly one
{line}:results       stream   verdicts. Fields: `k` the answer: OK, NG, LATE, SHED, UNREADABLE or
                              ENGINE; `e` entry id of the frame; `m` its head, as it came; `j`
                              judgement (wire), where an engine was asked; `r` the reason where `k`
                              has no word for it; `n` number of the verdict, rising by one on a
                              line: a jump is what a reader missed; `t` when it was published and
                              `u` its deadline, both ms on Redis's clock. One group a program
{line}:programs      hash     program -> result id and number of the last verdict it had read when
                              it last acknowledged any
{line}:reader:NAME   string   token of the process that reads as a program, gone soon after it
{line}:counts        hash     answer -> verdicts published since the line began; LOST: those whose
                              answer is not known any more, because this key was overwritten
{line}:bytes         string   bytes charged by the frames not yet answered
{line}:cameras       set      names of all cameras that ever offered a frame
{line}:camera:NAME   hash     last: highest seq admitted; from: where its run of seqs began;
                              offered: frames admitted; lost: seqs passed over, triggers whose
                              picture the camera never delivered; rolled: seqs admitted of which
                              the server knew nothing any more; cursor: where the source goes
                              on after a restart; event, event_ms: lost or back, and since when;
                              reading, deaths: the picture file that a process is at, and how
                              many processes died at it; gone after an end in order
{line}:holder:NAME   string   token of the process that has a camera's name, gone soon after it
{line}:runs:NAME     list     closed runs of admitted seqs "first-last", oldest first: with
                              from..last they say exactly which seqs were offered. A gap between
                              two is a trigger without a frame: it has no verdict, because nothing
                              was ever offered, and the reader of verdicts sees seq jump
{line}:rolled:NAME   list     seqs that the server had admitted and lost with its last writes, as
                              "AFTER:LAST": those above AFTER, up to LAST. Oldest first
{line}:witnesses     hash     random name of a program -> how far the line had come when it last
                              looked, as JSON: looks (how often it has), published (number of the
                              last verdict), cameras (name -> last seq). Gone after an end in order,
                              unless the program keeps the same in a file of its own
{line}:rollbacks     list     that Redis went back to an earlier state, oldest first: "MS JSON",
                              ms on Redis's clock when noticed; by (program), verdicts (first and
                              last number that may be lost), frames (camera, seq before the first
                              lost, last one). A person deletes it
{line}:taken:NAME    hash     number of a checkpoint -> the files of a watched folder that a camera
                              has offered, 32 bytes each; the last two. The cursor names one
{line}:control       stream   field `c`: control message (wire)
{line}:labels        stream   what people and the plant's own checks say of frames. Field `l`: label
                              (wire). The last one of a frame counts, all are kept: 100,000, about
{line}:label:HASH    string   id in {line}:labels of the label whose bytes have this hash: one that
                              is sent again within a day is not taken again
{line}:swap          string   token of the worker that changes its engine now: one at a time. Runs
                              out soon after it
{line}:promotions    hash     what is known of each promotion, "VERSION AT" -> trial (wire): being
                              tried, held, or refused on live frames: then no worker of the line
                              takes it, who has taken it goes back. The last 64 noted, about
{line}:dead          stream   dead letters. Fields: `why`, `e`, `m`, `d` (cut to its limit)
KEY:damaged          any      what lay at a key of another kind than this page says: a script put
                              it aside and began the key anew
{line}:worker:NAME   string   heartbeat of a worker (wire), gone a few seconds after it

A station has a name like a line, and its books under it: pipeline/streams/station/books.py.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.errors import SettingsError

GROUP = "workers"
NEVER_DELIVERED = ">"
WHY_DAMAGED = "the key held a value of another kind: that lies here now, and the key is begun anew"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class LineLimits:
    """How much a line holds."""

    budget_bytes: int = 64 << 20  # frames not yet answered
    results_kept: int = 100_000  # verdicts, about
    results_bytes: int = 256 << 20  # that they may take, about: masks can make them large


def is_name(name: str) -> bool:
    """Return whether a name of a line, camera or program is safe in a key."""
    return bool(_NAME.fullmatch(name))


def check_name(name: str) -> str:
    """Refuse names of lines, cameras and programs that would not be safe in a key.

    Raises:
        SettingsError: other than 1 to 64 letters, digits, dots, dashes, underscores.
    """
    if not is_name(name):
        raise SettingsError(f"name {name!r:.80}: use 1 to 64 letters, digits, '.', '-', '_'")
    return name


class Keys:
    """The keys of one line."""

    def __init__(self, line: str) -> None:
        self._tag = "{" + check_name(line) + "}"
        self.frames = f"{self._tag}:frames"
        self.open = f"{self._tag}:open"
        self.results = f"{self._tag}:results"
        self.counts = f"{self._tag}:counts"
        self.bytes = f"{self._tag}:bytes"
        self.cameras = f"{self._tag}:cameras"
        self.control = f"{self._tag}:control"
        self.labels = f"{self._tag}:labels"
        self.dead = f"{self._tag}:dead"
        self.swap = f"{self._tag}:swap"
        self.promotions = f"{self._tag}:promotions"
        self.programs = f"{self._tag}:programs"
        self.parts = f"{self._tag}:parts"
        self.views = f"{self._tag}:views"
        self.closed = f"{self._tag}:closed"
        self.books = f"{self._tag}:books"
        self.positions = f"{self._tag}:positions"
        self.after = f"{self._tag}:after"
        self.witnesses = f"{self._tag}:witnesses"
        self.rollbacks = f"{self._tag}:rollbacks"

    @property
    def written_by_answers(self) -> list[str]:
        """The keys that `answer` and `expire` write, in the order of their scripts."""
        return [self.frames, self.open, self.bytes, self.results, self.counts]

    def put_aside(self, cameras: Iterable[str] = ()) -> list[str]:
        """Where the scripts put books of another kind, of the line and of these cameras."""
        books = [*self.written_by_answers, self.cameras, self.programs, self.labels]
        books += [self.promotions, self.swap, self.witnesses, self.rollbacks]
        for name in cameras:
            books += [self.camera(name), self.runs(name), self.rolled(name), self.holder(name)]
        return [f"{key}:damaged" for key in books]

    def camera(self, name: str) -> str:
        """Where a camera stands."""
        return f"{self._tag}:camera:{check_name(name)}"

    def holder(self, camera: str) -> str:
        """Which process offers in a camera's name."""
        return f"{self._tag}:holder:{check_name(camera)}"

    def runs(self, camera: str) -> str:
        """The closed runs of a camera's seqs."""
        return f"{self._tag}:runs:{check_name(camera)}"

    def rolled(self, camera: str) -> str:
        """The seqs of a camera that the server admitted and lost."""
        return f"{self._tag}:rolled:{check_name(camera)}"

    def reader(self, program: str) -> str:
        """Which process reads the verdicts as a program."""
        return f"{self._tag}:reader:{check_name(program)}"

    def taken(self, camera: str) -> str:
        """The checkpoints of what a camera's source has taken."""
        return f"{self._tag}:taken:{check_name(camera)}"

    def label(self, packed: bytes) -> str:
        """Which id a label got when it first arrived."""
        return f"{self._tag}:label:{hashlib.blake2b(packed, digest_size=16).hexdigest()}"

    def worker(self, name: str) -> str:
        """The heartbeat of a worker."""
        return f"{self._tag}:worker:{name}"

"""Damaged messages and pictures through a real worker and a real program, on a server of its own.

Every message gets exactly one verdict; the program hears each whose head names a frame; no process
ends; the peak memory of the processes is reported. An input is a head and a payload.
"""

import itertools
import json
import random
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import msgpack
import numpy as np
from fakes.tiny_engine import RUNTIME, write_tiny_engine

from fuzz.mutation import Flags, Mutator, read_flags, report
from pipeline.codecs import Codec, encode_pixels
from pipeline.commands.subprocesses import ChildProcess, ProcessGroup, peak_mb, wait_until
from pipeline.errors import UnreadableFrame
from pipeline.frames import FrameMeta
from pipeline.streams.connect import Access
from pipeline.streams.connection import RedisConnection, open_connection
from pipeline.streams.frame_producer import FrameProducer, Status, charge
from pipeline.streams.keys import LineLimits
from pipeline.streams.ledger import Ledger
from pipeline.wire import FrameHeader, RingPlace, decode_identity, encode_frame_header

LINE, CAMERA, PROGRAM = "fuzz", "fuzz", "plc"
SIDE = 16
LIVES_NS = 3600 * 10**9  # no frame is late here, however slow the machine
WAIT_S = 120.0  # for the last verdicts
HOUR_MS = 3_600_000
LIMITS = LineLimits(budget_bytes=32 << 20, results_kept=1_000_000, results_bytes=1 << 30)
ODD_VALUES = (
    *(None, True, False, -1, 0, 2**31, 2**53 + 1, 2**62, 2**62 + 1, 2**63 - 1),
    *(1e200, 1e-320, float("nan"), float("inf"), -0.0, "", "x" * 5000, "\x00", "a\nb", "[/]"),
    *(b"bytes", [], [1e200, 1e200], [9000, 9000], [2**40, 2**40], [1], {}, {"a": 1}, "webp"),
)


@dataclass(frozen=True)
class Message:
    """What is offered."""

    header: bytes
    payload: bytes

    def packed(self) -> bytes:
        """Join both for `--hex`."""
        return struct.pack(">I", len(self.header)) + self.header + self.payload

    @classmethod
    def unpacked(cls, content: bytes) -> "Message":
        """Undo `packed`."""
        (length,) = struct.unpack(">I", content[:4])
        return cls(content[4 : 4 + length], content[4 + length :])


class Messages:
    """Draws messages: sound, with a damaged picture, a damaged head, or an odd field."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)  # noqa: S311  # damage is no secret
        pixels = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        codecs = (Codec.RAW, Codec.JPEG, Codec.PNG)
        self._pictures = {codec: encode_pixels(pixels, codec) for codec in codecs}
        self._pictures |= {Codec.NONE: b"the picture was torn", Codec.RING: b""}
        self._damaged = {
            codec: Mutator(seed, [picture], PICTURE_WORDS)
            for codec, picture in self._pictures.items()
        }
        heads = [self._head(0, codec) for codec in self._pictures]
        self._damaged_heads = Mutator(seed, heads, HEAD_WORDS)

    def draw(self, seq: int) -> Message:
        """Draw one; a head that is sound names this seq."""
        codec = self._rng.choice(list(self._pictures))
        head, picture = self._head(seq, codec), self._pictures[codec]
        kind = self._rng.randrange(10)
        if kind < 5:
            return Message(head, self._damaged[codec].draw())
        if kind < 7:
            return Message(self._odd(head), picture)
        if kind < 9:
            return Message(self._damaged_heads.draw(), picture)
        return Message(head, picture)

    def _head(self, seq: int, codec: Codec) -> bytes:
        now = time.time_ns()
        meta = FrameMeta(CAMERA, seq, f"part-{seq}", now, now + LIVES_NS, (0.1, 0.1))
        place = RingPlace("prn-fuzz-no-such-ring", 1, 1) if codec is Codec.RING else None
        return encode_frame_header(FrameHeader(meta, codec, (SIDE, SIDE), place))

    def _odd(self, head: bytes) -> bytes:
        fields = msgpack.unpackb(head)
        for _ in range(self._rng.choice((1, 1, 2))):
            name = self._rng.choice([*fields, "v", "later"])
            if self._rng.random() < 0.2:
                fields.pop(name, None)
            else:
                fields[name] = self._rng.choice(ODD_VALUES)
        return bytes(msgpack.packb(fields))


PICTURE_WORDS = [
    *(b"IHDR", b"IDAT", b"IEND", b"PLTE", b"acTL", b"fcTL", b"iCCP", b"zTXt", b"\x89PNG\r\n\x1a\n"),
    *(b"\xff\xd8", b"\xff\xd9", b"\xff\xda", b"\xff\xc0", b"\xff\xc2", b"\xff\xc4", b"\xff\xdb"),
    *(b"\xff\xe1\xff\xff", b"\xff\xdd", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00" * 64),
]
HEAD_WORDS = [
    *(b"\xa1v\x02", b"\xa1v\xc0", b"\xc1", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff"),
    *(b"\xdb\xff\xff\xff\xff", b"\xcb\x7f\xf8" + bytes(6), b"\x91" * 2000, b"\x81\xa1a" * 500),
    *(b"\xa5codec", b"\xa3png", b"\xa4none", b"\xa5shape", b"\xa3seq", b"\xcf" + b"\xff" * 8),
]


class FuzzedLine:
    """A server, a worker, a program, and what was offered to them."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        environment = {"PRN_STATE_DIR": str(folder / "redis"), "PRN_LOG_FORMAT": "json"}
        self.connection: RedisConnection = stack.enter_context(
            open_connection(Access(""), folder / "redis")
        )
        processes = stack.enter_context(ProcessGroup(folder / "logs", environment))
        engine = folder / "tiny.onnx"
        write_tiny_engine(engine, SIDE, max_batch=32)
        self._producer = FrameProducer(self.connection.client, LINE, CAMERA, LIMITS)
        self._producer.join()
        self._heard = folder / "heard.jsonl"
        self.program = self._program(processes)
        self.worker = self._worker(processes, engine)
        self._ledger = Ledger(self.connection.client, LINE)
        self.offered: dict[str, Message] = {}

    def _worker(self, processes: ProcessGroup, engine: Path) -> ChildProcess:
        flags = ("--engine", str(engine), "--backend", RUNTIME.backend, "--threads", "1")
        kept = ("--results-kept", str(LIMITS.results_kept), "--results-mb", "1024")
        quiet = ("--log-level", "error")
        return processes.start("worker", "pipeline-worker", "--line", LINE, *flags, *kept, *quiet)

    def _program(self, processes: ProcessGroup) -> ChildProcess:
        flags = ("--line", LINE, "--program", PROGRAM, "--from-start", "--log-level", "error")
        return processes.start("program", "pipeline-consume", *flags, to=self._heard)

    def offer(self, seq: int, message: Message) -> None:
        """Offer one message, waiting while the line is full; look after the processes."""
        due, size = time.time_ns() + LIVES_NS, len(message.payload)
        charged = charge(message.header, size)
        while True:
            result = self._producer.offer(
                seq, message.header, message.payload, charged, due, "", shed=False
            )
            if result.status is Status.ADMITTED:
                break
            assert result.status is Status.FULL, result
            self.check_processes()
            time.sleep(0.01)
        self.offered[result.entry_id] = message

    def check_processes(self) -> None:
        """Raise when a process ended."""
        for child in (self.worker, self.program):
            assert child.alive(), f"{child.name} ended:\n{child.log_tail(30)}"

    def faults(self) -> Iterator[tuple[str, Message | None]]:
        """Wait until all is answered and heard; yield what is wrong, and with which message."""
        wait_until(self._all_answered, WAIT_S, "the last verdict")
        answered = Counter(result.entry_id for result in self._results())
        for entry_id, message in self.offered.items():
            if answered[entry_id] != 1:
                yield f"{answered[entry_id]} verdicts for one message", message
        named = {entry for entry, message in self.offered.items() if _has_identity(message.header)}
        self._settle(named)
        heard = self._heard_by_program()
        for entry_id in named:
            if heard[entry_id] != 1:
                yield (
                    f"the program heard its verdict {heard[entry_id]} times",
                    self.offered[entry_id],
                )
        for entry_id in heard.keys() - self.offered.keys():
            yield f"the program heard of {entry_id}, which nobody offered", None

    def _all_answered(self) -> bool:
        self.check_processes()
        return self._ledger.snapshot().open_entries == 0

    def _settle(self, named: set[str]) -> None:
        """Wait until the program has heard all, or stands still with nothing left to read."""
        deadline_s, before, still = time.monotonic() + WAIT_S, -1, 0
        while time.monotonic() < deadline_s and still < 20:
            self.check_processes()
            heard = self._heard_by_program()
            if named <= heard.keys():
                return
            still = still + 1 if len(heard) == before else 0
            before = len(heard)
            time.sleep(0.25)

    def _heard_by_program(self) -> Counter[str]:
        lines = self._heard.read_bytes().split(b"\n")[:-1]  # the last is not whole yet
        return Counter(json.loads(line)["entry_id"] for line in lines)

    def _results(self) -> Iterator:  # type: ignore[type-arg]
        after = "-"
        while page := self._ledger.results(after, 1000):
            yield from page
            after = page[-1].result_id

    def answers(self) -> dict[str, int]:
        """How the messages were answered."""
        return dict(Counter(result.answer for result in self._results()))


def _has_identity(header: bytes) -> bool:
    try:
        decode_identity(header)
    except UnreadableFrame:
        return False
    return True


def drawn(flags: Flags, began_s: float) -> Iterator[Message]:
    """Yield the messages of this run."""
    if flags.content is not None:
        yield Message.unpacked(flags.content)
        return
    messages = Messages(flags.seed)
    for seq in itertools.count():
        over = time.monotonic() - began_s > flags.seconds
        if seq >= flags.inputs if flags.inputs is not None else over:
            return
        yield messages.draw(seq)


def main() -> int:
    """Fuzz a line; returns the exit status."""
    flags = read_flags(__doc__)
    with tempfile.TemporaryDirectory(prefix="prn-fuzz-") as name, ExitStack() as stack:
        line = FuzzedLine(Path(name), stack)
        began_s = time.monotonic()
        for seq, message in enumerate(drawn(flags, began_s)):
            line.offer(seq, message)
            if seq % 256 == 0:
                line.check_processes()
        faults = list(line.faults())
        for what, fault in faults[:5]:
            shown = fault.packed().hex() if fault else ""
            sys.stderr.write(f"{what}\ninput of {len(shown) // 2} bytes: {shown}\n")
        kinds = Counter(what for what, _ in faults)
        sys.stderr.writelines(f"{count} times: {what}\n" for what, count in kinds.items())
        sys.stderr.write(f"answers {line.answers()}\n")
        peaks = {
            "worker_peak_mb": round(peak_mb(line.worker.process.pid)),
            "program_peak_mb": round(peak_mb(line.program.process.pid)),
        }
        report(len(line.offered), began_s, findings=len(faults), **peaks)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

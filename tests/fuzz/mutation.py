"""What every target shares: how inputs are damaged, and the loop around the check."""

import argparse
import json
import random
import resource
import signal
import struct
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engines.machine import peak_memory_mb

MAX_INPUT_BYTES = 1 << 20
HANG_S = 60  # one input that takes longer is a finding, on the slowest of machines
MEMORY_MB = 4096  # of address space: an input that asks for more is a finding
_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@dataclass(frozen=True, slots=True)
class Flags:
    """What a target is told."""

    seconds: float
    seed: int
    inputs: int | None  # end after so many; None for no limit
    content: bytes | None  # check this one alone


class Mutator:
    """Damages inputs, the same way for the same seed."""

    def __init__(self, seed: int, corpus: Sequence[bytes], words: Sequence[bytes] = ()) -> None:
        """Keep what inputs are made from.

        Args:
            seed: of the random numbers.
            corpus: sound inputs, at least one.
            words: bytes that mean something in this format: keywords, lengths, marks.
        """
        self.rng = random.Random(seed)  # noqa: S311  # damage is no secret
        self._corpus = list(corpus)
        self._words = list(words)

    def draw(self) -> bytes:
        """Return a damaged copy of one of the corpus; now and then a sound one."""
        return self.damaged(self.rng.choice(self._corpus))

    def damaged(self, sound: bytes) -> bytes:
        """Return a damaged copy of an input; now and then a sound one."""
        content = bytearray(sound)
        for _ in range(self.rng.choice((0, 1, 1, 1, 2, 3, 5, 8))):
            self._damage(content)
        return bytes(content[:MAX_INPUT_BYTES])

    def _damage(self, content: bytearray) -> None:
        ways = (
            self._flip,
            self._overwrite,
            self._cut,
            self._remove,
            self._insert,
            self._repeat,
            self._splice,
            self._set_length,
            self._put_word,
        )
        self.rng.choice(ways)(content)

    def _place(self, content: bytearray) -> int:
        return self.rng.randrange(len(content) + 1)

    def _stretch(self, content: bytearray) -> tuple[int, int]:
        start = self._place(content)
        return start, min(len(content), start + self.rng.choice((1, 2, 4, 16, 256)))

    def _flip(self, content: bytearray) -> None:
        if content:
            content[self.rng.randrange(len(content))] ^= 1 << self.rng.randrange(8)

    def _overwrite(self, content: bytearray) -> None:
        start, end = self._stretch(content)
        content[start:end] = self.rng.randbytes(end - start)

    def _cut(self, content: bytearray) -> None:
        del content[self._place(content) :]

    def _remove(self, content: bytearray) -> None:
        start, end = self._stretch(content)
        del content[start:end]

    def _insert(self, content: bytearray) -> None:
        at = self._place(content)
        content[at:at] = self.rng.randbytes(self.rng.choice((1, 2, 4, 16)))

    def _repeat(self, content: bytearray) -> None:
        start, end = self._stretch(content)
        content[start:start] = content[start:end] * self.rng.choice((1, 2, 16, 1000))

    def _splice(self, content: bytearray) -> None:
        other = self.rng.choice(self._corpus)
        content[self._place(content) :] = other[self.rng.randrange(len(other) + 1) :]

    def _set_length(self, content: bytearray) -> None:
        """Write an extreme number over what may be a length field."""
        form = self.rng.choice((">B", ">H", "<H", ">I", "<I", ">Q", "<Q"))
        size = struct.calcsize(form)
        number = self.rng.choice((*_NUMBERS, len(content), len(content) + 1))
        at = self._place(content)
        content[at : at + size] = struct.pack(form, number & ((1 << 8 * size) - 1))

    def _put_word(self, content: bytearray) -> None:
        if self._words:
            start, end = self._stretch(content)
            content[start : self.rng.choice((start, end))] = self.rng.choice(self._words)


def read_flags(about: str | None) -> Flags:
    """Read the flags of a target."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to look")
    parser.add_argument("--seed", type=int, default=0, help="the same seed draws the same inputs")
    parser.add_argument("--inputs", type=int, default=None, help="end after so many inputs")
    parser.add_argument("--hex", type=bytes.fromhex, default=None, help="check this input alone")
    given = parser.parse_args()
    return Flags(given.seconds, given.seed, given.inputs, given.hex)


def run_target(
    check: Callable[[bytes], object],
    corpus: Sequence[bytes],
    words: Sequence[bytes] = (),
    about: str | None = None,
) -> int:
    """Check damaged inputs until the time is up; returns the exit status.

    Args:
        check: raises on a finding.
        corpus: sound inputs, each of which must pass.
        words: as for `Mutator`.
        about: the help text.
    """
    flags = read_flags(about)
    limit = MEMORY_MB << 20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    signal.signal(signal.SIGALRM, _on_hang)
    mutator = Mutator(flags.seed, corpus, words)
    began_s = time.monotonic()
    first = list(corpus) if flags.content is None else [flags.content]
    checked = 0
    while checked < len(first) or (flags.content is None and _goes_on(flags, began_s, checked)):
        content = first[checked] if checked < len(first) else mutator.draw()
        checked += 1
        if not _passes(check, content):
            report(checked, began_s, findings=1)
            return 1
    report(checked, began_s, findings=0)
    return 0


def report(inputs: int, began_s: float, **figures: float) -> None:
    """Print what was done as one JSON object; `began_s` on the monotonic clock."""
    seconds = round(time.monotonic() - began_s, 1)
    said = {"inputs": inputs, "seconds": seconds, "peak_mb": round(peak_memory_mb()), **figures}
    sys.stdout.write(json.dumps(said) + "\n")


def _goes_on(flags: Flags, began_s: float, checked: int) -> bool:
    if flags.inputs is not None and checked >= flags.inputs:
        return False
    return time.monotonic() - began_s < flags.seconds


def _passes(check: Callable[[bytes], object], content: bytes) -> bool:
    signal.alarm(HANG_S)
    try:
        check(content)
    except Exception:  # noqa: BLE001  # whatever a target did not expect is a finding
        traceback.print_exc()
        show_input(content)
        return False
    finally:
        signal.alarm(0)
    return True


def show_input(content: bytes) -> None:
    """Print an input so that `--hex` can run it again."""
    sys.stderr.write(f"input of {len(content)} bytes: {content.hex()}\n")


def _on_hang(_number: int, _frame: object) -> None:
    raise TimeoutError(f"one input took longer than {HANG_S} s")

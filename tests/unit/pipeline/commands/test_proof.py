"""The proof against a line that is simulated step by step and knows what truly happened."""

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from pipeline.codecs import Codec
from pipeline.commands.proof import CollectedVerdicts, Report, Span
from pipeline.commands.reconcile import reconcile
from pipeline.frames import FrameMeta
from pipeline.streams.ledger import CameraLedger, LedgerSnapshot, ResultRetention
from pipeline.streams.result_reader import Result
from pipeline.wire import FrameHeader, encode_frame_header

START_MS = 1_700_000_000_000
DEADLINE_MS = 40
Frame = tuple[str, int]


@dataclass
class SimulatedLine:
    """A line that does one of its steps whenever somebody reads its books."""

    steps: list[tuple[str, int]]  # what, and a number that means what the step wants
    now_ms: int = START_MS
    numbers: int = 0
    offered: dict[str, list[int]] = field(default_factory=dict)
    open: dict[str, tuple[Frame, int]] = field(default_factory=dict)  # entry id -> frame, deadline
    stream: list[Result] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    added: int = 0
    deleted: bool = False
    lost: set[Frame] = field(default_factory=set)  # the faults that were planted
    doubled: set[Frame] = field(default_factory=set)
    forged: set[Frame] = field(default_factory=set)
    unmarked: set[Frame] = field(default_factory=set)

    def step(self) -> bool:
        if not self.steps:
            return False
        what, number = self.steps.pop(0)
        getattr(self, what)(number)
        return True

    def stamp(self) -> str:
        self.numbers += 1
        return f"{self.now_ms}-{self.numbers}"

    def wait(self, number: int) -> None:
        self.now_ms += number

    def offer(self, number: int) -> None:
        camera = "ab"[number % 2]
        seqs = self.offered.setdefault(camera, [])
        seqs.append((seqs[-1] if seqs else 4) + 1 + (number // 2) % 3 // 2)
        self.open[self.stamp()] = ((camera, seqs[-1]), self.now_ms + DEADLINE_MS)

    def answer(self, number: int) -> None:
        if self.open:
            entry_id = list(self.open)[number % len(self.open)]
            frame, deadline_ms = self.open.pop(entry_id)
            self.publish(
                "LATE" if self.now_ms > deadline_ms else "OK", entry_id, frame, deadline_ms
            )

    def publish(self, answer: str, entry_id: str, frame: Frame, deadline_ms: int) -> None:
        self.counts[answer] += 1
        self.add(answer, entry_id, frame, deadline_ms)

    def add(self, answer: str, entry_id: str, frame: Frame, deadline_ms: int) -> None:
        meta = FrameMeta(*frame, "part", 0, deadline_ms * 1_000_000)
        head = encode_frame_header(FrameHeader(meta, Codec.RAW, (1, 1)))
        self.stream.append(Result(self.stamp(), answer, entry_id, head, None))
        self.added += 1

    def trim(self, number: int) -> None:
        del self.stream[: min(number % 4, len(self.stream) - 1)]

    def lose(self, number: int) -> None:
        if self.open:
            frame, _ = self.open.pop(list(self.open)[number % len(self.open)])
            self.lost.add(frame)

    def double(self, number: int) -> None:
        if self.open:
            entry_id = list(self.open)[number % len(self.open)]
            frame, deadline_ms = self.open.pop(entry_id)
            self.publish("LATE", entry_id, frame, deadline_ms)
            self.add("LATE", entry_id, frame, deadline_ms)
            self.doubled.add(frame)

    def forge(self, number: int) -> None:
        frame = ("abc"[number % 3], 10_000 + self.numbers)
        self.add("OK", self.stamp(), frame, self.now_ms)
        self.forged.add(frame)

    def hide_lateness(self, number: int) -> None:
        if self.open:
            entry_id = list(self.open)[number % len(self.open)]
            frame, deadline_ms = self.open.pop(entry_id)
            self.now_ms = max(self.now_ms, deadline_ms + 1)
            self.publish("OK", entry_id, frame, deadline_ms)
            self.unmarked.add(frame)

    def snapshot(self) -> LedgerSnapshot:
        self.step()
        cameras = (
            CameraLedger(camera, len(seqs), runs_of(seqs)) for camera, seqs in self.offered.items()
        )
        first_ms = int(self.stream[0].result_id.split("-")[0]) if self.stream else 0
        kept = ResultRetention(self.added, len(self.stream), first_ms, self.deleted)
        return LedgerSnapshot(tuple(cameras), len(self.open), dict(self.counts), kept)

    def results(self, after: str, count: int) -> list[Result]:
        self.step()
        later = [
            result
            for result in self.stream
            if after == "-" or number_of(result) > int(after.split("-")[1])
        ]
        return later[: min(count, 3)]

    def open_headers(self) -> dict[str, bytes]:
        self.step()
        return {
            entry_id: encode_frame_header(
                FrameHeader(
                    FrameMeta(*frame, "part", 0, deadline_ms * 1_000_000), Codec.RAW, (1, 1)
                )
            )
            for entry_id, (frame, deadline_ms) in self.open.items()
        }


def number_of(result: Result) -> int:
    return int(result.result_id.split("-")[1])


def runs_of(seqs: list[int]) -> tuple[tuple[int, int], ...]:
    runs: list[tuple[int, int]] = []
    for seq in seqs:
        if runs and runs[-1][1] == seq - 1:
            runs[-1] = (runs[-1][0], seq)
        else:
            runs.append((seq, seq))
    return tuple(runs)


HONEST = ("offer", "offer", "answer", "answer", "wait", "trim")
FAULTS = ("lose", "double", "forge", "hide_lateness")


def steps(*kinds: str) -> st.SearchStrategy[list[tuple[str, int]]]:
    return st.lists(st.tuples(st.sampled_from(kinds), st.integers(0, 30)), max_size=80)


def lived(history: list[tuple[str, int]], later: list[tuple[str, int]]) -> SimulatedLine:
    line = SimulatedLine(list(history))
    while line.step():
        pass
    line.steps = list(later)
    return line


@given(steps(*HONEST), steps(*HONEST))
def test_honest_line_is_never_accused_though_it_runs_while_it_is_read(
    history: list[tuple[str, int]], later: list[tuple[str, int]]
) -> None:
    report = reconcile(lived(history, later))
    assert report.broken() == []
    assert report.missing == ()
    assert report.offered == report.published + report.open


@given(steps("offer", "answer", "wait", *FAULTS))
def test_every_fault_is_named_while_all_verdicts_are_kept(history: list[tuple[str, int]]) -> None:
    line = lived(history, [])
    report = reconcile(line)
    assert set(report.missing) == line.lost
    assert set(report.repeated) == line.doubled
    assert set(report.unoffered) == line.forged
    assert set(report.unmarked) == line.unmarked
    assert bool(report.broken()) == bool(line.lost or line.doubled or line.forged or line.unmarked)
    answered = Counter(result.answer for result in line.stream)
    assert report.answers == answered


@given(steps(*HONEST, *FAULTS), steps(*HONEST))
def test_no_part_is_accused_wrongly_and_no_loss_stays_hidden_when_verdicts_are_trimmed(
    history: list[tuple[str, int]], later: list[tuple[str, int]]
) -> None:
    line = lived(history, later)
    report = reconcile(line)
    assert set(report.missing) <= line.lost
    assert set(report.repeated) <= line.doubled
    assert set(report.unoffered) <= line.forged
    if line.lost or line.doubled or line.forged:
        assert report.broken()
    check_coverage(line, report)


def check_coverage(line: SimulatedLine, report: Report) -> None:
    """Whatever lies in the span that the report calls proven is named."""
    for book in report.cameras:
        if book.proven is not None:
            low, high = book.proven
            proven = {(book.camera, seq) for seq in range(low, high + 1)}
            assert line.lost & proven == set(report.missing) & proven


@given(steps("offer", "answer", "wait", "lose"), st.integers(0, 20), st.integers(0, 20))
def test_span_shows_its_own_frames_only(
    history: list[tuple[str, int]], low: int, length: int
) -> None:
    line = lived(history, [])
    report = reconcile(line, Span("a", low, low + length))
    wanted = {(camera, seq) for camera, seq in line.lost if camera == "a"}
    assert set(report.missing) == {frame for frame in wanted if low <= frame[1] <= low + length}
    assert bool(report.broken()) == bool(line.lost)


def published(
    seq: int, admitted_ms: int, result_ms: int, published_ms: int | None, due_ms: int | None
) -> Result:
    """A verdict `OK` whose header names a deadline of START_MS + DEADLINE_MS."""
    meta = FrameMeta("a", seq, "part", 0, (START_MS + DEADLINE_MS) * 1_000_000)
    header = encode_frame_header(FrameHeader(meta, Codec.RAW, (1, 1)))
    ids = f"{result_ms}-{seq}", f"{admitted_ms}-{seq}"
    return Result(
        ids[0], "OK", ids[1], header, None, published_ms=published_ms, due_ms=due_ms, number=seq
    )


def unmarked(result: Result) -> bool:
    collected = CollectedVerdicts()
    collected.add(result)
    return bool(collected.unmarked)


LONG_MS = 3_600_000


def test_verdict_in_time_is_not_accused_after_the_clock_was_stepped_back() -> None:
    ahead_ms = START_MS + LONG_MS  # ids stay there
    assert not unmarked(published(1, ahead_ms, ahead_ms, START_MS + 30, START_MS + DEADLINE_MS))


def test_late_verdict_is_found_though_the_camera_promised_another_time() -> None:
    late_ms = START_MS + 30  # before the deadline in the header, after the one that was admitted
    assert unmarked(published(1, START_MS, late_ms, late_ms, START_MS + 20))
    in_time_ms = START_MS + LONG_MS
    assert not unmarked(published(1, START_MS, in_time_ms, in_time_ms, in_time_ms + 1))


def test_verdicts_of_earlier_releases_are_held_to_what_they_say() -> None:
    due_ms = START_MS + DEADLINE_MS
    for at_ms, is_late in ((due_ms, False), (due_ms + 1, True)):
        assert unmarked(published(1, START_MS, at_ms, None, None)) is is_late
        assert unmarked(published(1, START_MS, due_ms + LONG_MS, at_ms, None)) is is_late


def test_nothing_is_called_missing_where_ids_are_no_clock_and_verdicts_were_trimmed() -> None:
    """Frame 1 was answered and its verdict trimmed; ids of frames have stayed an hour ahead."""
    kept = published(2, START_MS + LONG_MS, START_MS + 10, START_MS + 10, START_MS + DEADLINE_MS)
    earlier = published(0, START_MS + LONG_MS, START_MS + 5, START_MS + 5, START_MS + DEADLINE_MS)

    class Books:
        def snapshot(self) -> LedgerSnapshot:
            cameras = (CameraLedger("a", 3, ((0, 2),)),)
            return LedgerSnapshot(cameras, 0, {"OK": 3}, ResultRetention(3, 2, START_MS + 5, False))  # noqa: FBT003

        def results(self, after: str, count: int) -> list[Result]:
            return [earlier, kept][:count] if after == "-" else []

        def open_headers(self) -> dict[str, bytes]:
            return {}

    report = reconcile(Books())
    assert report.missing == ()
    assert report.broken() == []
    assert report.stepped

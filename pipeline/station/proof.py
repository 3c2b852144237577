"""The proof that every part of a station got exactly one verdict, from what its books keep.

Two equations hold however many old verdicts are no longer kept:

    opened == published + open             each part that a view showed was decided or waits
    verdicts added == published            every verdict came through the register, none was forged

Beyond that, each verdict that is kept is compared with what its views said, and each verdict of a
view that was joined is sought: it must be in exactly one part, in an open one, or among those that
came after their part was decided.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pipeline.errors import ForeignVerdict
from pipeline.frames import Decision, Reason, ViewVerdict
from pipeline.streams.result_reader import Result, id_order
from pipeline.streams.station.books import StationSnapshot
from pipeline.wire.views import decode_views

ViewFrame = tuple[str, str]  # view and entry id of its frame


@dataclass(slots=True)
class CollectedParts:
    """The verdicts of a station that are kept, gathered one by one."""

    views: tuple[str, ...]  # that a part is expected to have
    answers: Counter[str] = field(default_factory=Counter)
    parts: Counter[str] = field(default_factory=Counter)  # entry id -> verdicts
    joined: Counter[ViewFrame] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)  # parts whose answer is not what the views said
    unmarked: list[str] = field(default_factory=list)  # after their deadline, but not LATE
    first_ms: int = 0  # when the oldest kept was published

    def add(self, result: Result) -> None:
        """Take one verdict of the stream."""
        self.first_ms = self.first_ms or id_order(result.result_id)[0]
        self.answers[result.answer] += 1
        self.parts[result.entry_id] += 1
        views = _views(result)
        self.joined.update((view.view, view.entry_id) for view in views or ())
        if views is None or not _follows(result, views, self.views):
            self.wrong.append(result.entry_id)
        late = None not in {result.published_ms, result.due_ms} and (
            (result.published_ms or 0) > (result.due_ms or 0)
        )
        if late and result.answer != Reason.LATE:
            self.unmarked.append(result.entry_id)


def _views(result: Result) -> tuple[ViewVerdict, ...] | None:
    try:
        return decode_views(result.views or b"")
    except ForeignVerdict:
        return None


def _follows(result: Result, views: tuple[ViewVerdict, ...], expected: tuple[str, ...]) -> bool:
    """Return whether a part's answer follows from what its views said."""
    decisions = [view.decision for view in views]
    complete = {view.view for view in views} == set(expected)
    if result.answer == Reason.LATE:
        return True  # after the deadline, whatever the views said; else `unmarked` tells
    if result.answer == Decision.NG:
        return Decision.NG in decisions
    if Decision.NG in decisions or not complete:
        return False
    is_ok = all(decision is Decision.OK for decision in decisions)
    return is_ok == (result.answer == Decision.OK)


@dataclass(frozen=True, slots=True)
class StationReport:
    """What the books of a station prove."""

    views: tuple[str, ...]
    answers: Mapping[str, int]  # part verdicts kept, by answer
    opened: int  # parts, since the station began
    published: int  # of these
    open: int  # of these
    added: int  # verdicts ever put into the stream
    kept: int
    deleted: bool
    repeated: tuple[str, ...]  # parts with more than one verdict
    wrong: tuple[str, ...]
    unmarked: tuple[str, ...]
    twice: tuple[ViewFrame, ...]  # frames of views that were joined into two parts
    lost: tuple[ViewFrame, ...]  # frames of views that were joined and are in no part
    checked: int  # verdicts of views that were sought
    unjoined: Mapping[str, int]  # verdicts of views that joined no open part, by what became of it

    def broken(self) -> list[str]:
        """Name every promise that was broken, one sentence each."""
        promises = {
            f"{self.opened} parts were seen, but {self.published} decided and {self.open} open": (
                self.opened != self.published + self.open
            ),
            f"{self.added} verdicts in the stream, but {self.published} published through the "
            "register": self.added != self.published,
            "verdicts were deleted from the stream": self.deleted,
            f"{len(self.repeated)} parts have more than one verdict": self.repeated,
            f"{len(self.wrong)} verdicts do not follow from what the views said": self.wrong,
            f"{len(self.unmarked)} verdicts after their deadline do not say LATE": self.unmarked,
            f"{len(self.twice)} frames of views were joined into two parts": self.twice,
            f"{len(self.lost)} frames of views were joined, but are in no part": self.lost,
            f"{self.unjoined.get('missed', 0)} verdicts of views were dropped before they were "
            "joined: their parts miss a view": self.unjoined.get("missed", 0),
            f"{self.unjoined.get('forgotten', 0)} verdicts of views came when their part was no "
            "longer remembered": self.unjoined.get("forgotten", 0),
            f"{self.unjoined.get('nameless', 0)} verdicts of views do not name their frame": (
                self.unjoined.get("nameless", 0)
            ),
        }
        return [sentence for sentence, is_broken in promises.items() if is_broken]


def prove_station(
    before: StationSnapshot,
    view_results: Mapping[str, Iterable[Result]],
    collected: CollectedParts,
    after: StationSnapshot,
) -> StationReport:
    """Compare what the views said with what the station answered.

    Args:
        before: the books before any verdict was read: what was joined by then is sought.
        view_results: of each view, the verdicts kept.
        collected: the station's verdicts kept, read after those of the views.
        after: the books afterwards.
    """
    known = set(after.after) | after.waiting
    complete = after.kept == after.added
    checked, lost = 0, []
    for view, results in view_results.items():
        low, high = before.started[view], before.positions[view]
        for result in results:
            if not id_order(low) < id_order(result.result_id) <= id_order(high):
                continue
            if not complete and id_order(result.result_id)[0] <= collected.first_ms:
                continue  # its part's verdict may be among those no longer kept
            frame = (view, result.entry_id)
            checked += 1
            if frame not in collected.joined and frame not in known:
                lost.append(frame)
    return StationReport(
        views=tuple(before.positions),
        answers=dict(collected.answers),
        opened=after.books.get("opened", 0),
        published=sum(after.counts.values()),
        open=after.open_parts,
        added=after.added,
        kept=after.kept,
        deleted=after.deleted,
        repeated=tuple(part for part, count in collected.parts.items() if count > 1),
        wrong=tuple(collected.wrong),
        unmarked=tuple(collected.unmarked),
        twice=tuple(frame for frame, count in collected.joined.items() if count > 1),
        lost=tuple(lost),
        checked=checked,
        unjoined={
            what: after.books.get(what, 0)
            for what in ("after", "repeated", "missed", "forgotten", "nameless")
        },
    )

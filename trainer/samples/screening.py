"""New normal pictures of a store -> kept, or waiting for a person with the reasons."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from trainer.networks.backbones import Backbone
from trainer.networks.proto_ad import PatchEncoder
from trainer.progress import Steps
from trainer.samples.patch_distances import find_nearest
from trainer.samples.quarantine import (
    LEAST_REFERENCES,
    QuarantineLimits,
    dominating,
    flooding,
    rate_oddness,
)
from trainer.samples.records import LabelSource, Picture, SampleStatus
from trainer.samples.store import SampleStore

MOST_REFERENCES = 300  # compared with; of more, so many are drawn
_SECOND_NS = 10**9
_DAY_NS = 24 * 3600 * _SECOND_NS


@dataclass(frozen=True, slots=True)
class ScreeningResult:
    """What became of the new normal pictures."""

    kept: int
    held: int
    left: int  # still incoming: there are too few normal pictures to compare with


def screen(
    store: SampleStore,
    backbone: Backbone,
    steps: Steps,
    limits: QuarantineLimits | None = None,
    seed: int = 0,
) -> ScreeningResult:
    """Judge every incoming picture.

    Args:
        store: opened to write.
        backbone: frozen; its features are compared.
        steps: shows how far it is.
        limits: from where on pictures wait; None: the usual ones.
        seed: of what is compared with.

    Raises:
        StoreError: the disk is full; what was decided stays, a repeat goes on.
    """
    there = [each for each in store.pictures() if store.path(each).is_file()]
    new = [each for each in there if each.place is SampleStatus.INCOMING]
    trusted = _trusted(there)
    if not new or len(new) + len(trusted) < LEAST_REFERENCES:
        return ScreeningResult(0, 0, len(new))
    rules = limits or QuarantineLimits()
    odd = _oddness(store, PatchEncoder(backbone).eval(), new, trusted, steps, rules, seed)
    reasons = _reasons(store, there, new, odd, rules)
    with steps.step("deciding", len(new)) as advance:
        for picture, why in zip(new, reasons, strict=True):
            if why:
                store.hold(picture.sha, why)
            else:
                store.keep(picture.sha)
            advance(1)
    held = sum(bool(why) for why in reasons)
    return ScreeningResult(len(new) - held, held, 0)


def _oddness(
    store: SampleStore,
    encoder: PatchEncoder,
    new: Sequence[Picture],
    trusted: Sequence[Picture],
    steps: Steps,
    limits: QuarantineLimits,
    seed: int,
) -> NDArray[np.float64]:
    """By how many standard deviations each new picture is odd, [len(new)]."""
    rng = np.random.default_rng(seed)
    vouchers = [trusted[index] for index in _drawn(len(trusted), rng)]
    every = [*vouchers, *new]
    enough = len(vouchers) >= LEAST_REFERENCES
    references = _drawn(len(vouchers) if enough else len(every), rng)
    with steps.step("comparing new normals", len(every) + len(references)) as advance:
        paths = [store.path(each) for each in every]
        nearest = find_nearest(encoder, paths, references, seed, advance)
    among = np.zeros(len(every), np.bool_)
    among[references] = True
    odd = rate_oddness(nearest, among, trusted=enough, limit=limits.oddness)
    return odd[len(vouchers) :]


def _reasons(
    store: SampleStore,
    there: Sequence[Picture],
    new: Sequence[Picture],
    odd: NDArray[np.float64],
    limits: QuarantineLimits,
) -> list[list[str]]:
    """Say why each new picture waits; nothing where it does not."""
    kept = {each.sha for each in _trusted(there)}
    likes = {each.sha: store.near_duplicates(each.sha) for each in new}
    flood = flooding([each.sha for each in new], likes, kept, limits.alike)
    # what a first import is made of cannot dominate anything
    hours = hours_of_a_day(store, there) if len(kept) >= LEAST_REFERENCES else {}
    crowded = dominating(list(hours.values()), limits)
    reasons = []
    for picture, deviation in zip(new, odd, strict=True):
        why = []
        if deviation > limits.oddness:
            why.append(f"odd by {deviation:.1f}, limit {limits.oddness:g}")
        if picture.sha in flood:
            why.append(f"flood: more than {limits.alike} near-duplicates")
        if crowded and hours[picture.sha] == crowded:
            why.append(f"hour {crowded}: more than {limits.share:.0%} of a day's new pictures")
        reasons.append(why)
    return reasons


def hours_of_a_day(store: SampleStore, there: Sequence[Picture]) -> dict[str, str]:
    """Return the hours of the normal pictures that came in the last day, new or decided, by hash.

    The day ends with the last label, so that who looks often sees no fewer than who looks nightly.
    An hour that is not known is "".
    """
    sources = {each.sha: _first_source(store, each.sha) for each in there if each.normal}
    since_ns = max((source.at_ns for source in sources.values()), default=0) - _DAY_NS
    new = {each.sha for each in there if each.place is SampleStatus.INCOMING}
    return {
        sha: _hour(source.captured_ns)
        for sha, source in sources.items()
        if sha in new or (source.at_ns and source.at_ns > since_ns)
    }


def _trusted(there: Sequence[Picture]) -> list[Picture]:
    return [each for each in there if each.place is SampleStatus.KEPT and each.normal]


def _drawn(count: int, rng: np.random.Generator) -> NDArray[np.intp]:
    return np.sort(rng.permutation(count)[:MOST_REFERENCES])


def _first_source(store: SampleStore, sha: str) -> LabelSource:
    """Where the label that brought a picture came from; an index that was lost does not know."""
    said = store.label_records(sha)
    return said[0].source if said else LabelSource("")


def _hour(captured_ns: int) -> str:
    if not captured_ns:
        return ""
    return datetime.fromtimestamp(captured_ns / _SECOND_NS, UTC).strftime("%Y-%m-%dT%H")

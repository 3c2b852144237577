"""New normal pictures of a store -> kept, or waiting for a person with the reasons."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from trainer.networks.backbones import Backbone
from trainer.networks.proto_ad import PatchEncoder
from trainer.progress import Steps
from trainer.samples.places import find_nearest
from trainer.samples.quarantine import (
    LEAST_REFERENCES,
    Limits,
    dominating,
    flooding,
    judge_oddness,
)
from trainer.samples.records import Picture, Place
from trainer.samples.store import SampleStore

MOST_REFERENCES = 300  # compared with; of more, so many are drawn
_SECOND_NS = 10**9


@dataclass(frozen=True, slots=True)
class Screened:
    """What became of the new normal pictures."""

    kept: int
    held: int
    left: int  # still incoming: there are too few normal pictures to compare with


def screen(
    store: SampleStore,
    backbone: Backbone,
    steps: Steps,
    limits: Limits | None = None,
    seed: int = 0,
) -> Screened:
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
    new = [each for each in there if each.place is Place.INCOMING]
    trusted = [each for each in there if each.place is Place.KEPT and each.normal]
    if not new or len(new) + len(trusted) < LEAST_REFERENCES:
        return Screened(0, 0, len(new))
    rules = limits or Limits()
    odd = _oddness(store, PatchEncoder(backbone).eval(), new, trusted, steps, rules, seed)
    reasons = _reasons(store, new, trusted, odd, rules)
    with steps.step("deciding", len(new)) as advance:
        for picture, why in zip(new, reasons, strict=True):
            if why:
                store.hold(picture.sha, why)
            else:
                store.keep(picture.sha)
            advance(1)
    held = sum(bool(why) for why in reasons)
    return Screened(len(new) - held, held, 0)


def _oddness(
    store: SampleStore,
    encoder: PatchEncoder,
    new: Sequence[Picture],
    trusted: Sequence[Picture],
    steps: Steps,
    limits: Limits,
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
    odd = judge_oddness(nearest, among, trusted=enough, limit=limits.oddness)
    return odd[len(vouchers) :]


def _reasons(
    store: SampleStore,
    new: Sequence[Picture],
    trusted: Sequence[Picture],
    odd: NDArray[np.float64],
    limits: Limits,
) -> list[list[str]]:
    """Say why each new picture waits; nothing where it does not."""
    sources = [_first_source(store, each.sha) for each in new]
    kept = {each.sha for each in trusted}
    likes = {each.sha: store.likes(each.sha) for each in new}
    flood = flooding([each.sha for each in new], likes, kept, limits.alike)
    # what a first import is made of cannot dominate anything
    named = sources if len(trusted) >= LEAST_REFERENCES else [("", "")] * len(new)
    lot, hour = (dominating([each[which] for each in named], limits) for which in range(2))
    reasons = []
    for picture, deviation, source in zip(new, odd, sources, strict=True):
        why = []
        if deviation > limits.oddness:
            why.append(f"odd by {deviation:.1f}, limit {limits.oddness:g}")
        if picture.sha in flood:
            why.append(f"flood: more than {limits.alike} near-duplicates")
        if lot and source[0] == lot:
            why.append(f"lot {lot}: more than {limits.share:.0%} of the new")
        if hour and source[1] == hour:
            why.append(f"hour {hour}: more than {limits.share:.0%} of the new")
        reasons.append(why)
    return reasons


def _drawn(count: int, rng: np.random.Generator) -> NDArray[np.intp]:
    return np.sort(rng.permutation(count)[:MOST_REFERENCES])


def _first_source(store: SampleStore, sha: str) -> tuple[str, str]:
    """Lot and hour of a picture; "" where they are not known."""
    for statement in store.statements(sha):
        source = statement.source
        captured = source.captured_ns
        hour = datetime.fromtimestamp(captured / _SECOND_NS, UTC).strftime("%Y-%m-%dT%H")
        return source.lot, hour if captured else ""
    return "", ""

"""Reads and checks zones from `zones.json` and the mask pictures beside it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from engines.errors import PictureError, ZoneError
from engines.files import parse_json, read_file
from engines.pictures.masks import read_mask
from engines.zones.schema import MAX_RUNS, MAX_ZONES, MaskRuns, ZoneSet

MAX_ZONES_BYTES = 1 << 20
_SHOWN = 300  # characters of a foreign message


@dataclass(frozen=True, slots=True)
class ZonesFile:
    """Zones as read, and the files that they came from."""

    zones: ZoneSet
    files: tuple[Path, ...]  # the zones file first, then mask pictures


def read_zones(path: Path, product: str = "") -> ZoneSet:
    """Read the zones of a file; `product` chooses among those that name one.

    Raises:
        ZoneError: unreadable, too large or inconsistent; one sentence explains the fault.
    """
    return read_zones_file(path, product).zones


def read_zones_file(path: Path, product: str = "") -> ZonesFile:
    """Read zones, and return them with the files that they came from.

    Raises:
        ZoneError: as `read_zones`.
    """
    try:
        content = read_file(path, MAX_ZONES_BYTES)
    except OSError as error:
        raise ZoneError(f"zones file {path}: {error.strerror or error}") from error
    try:
        document = parse_json(content)
    except ValueError as error:
        raise ZoneError(f"zones file {path} is not readable JSON: {error}") from error
    files = _with_masks(path, document)
    try:
        zones = ZoneSet.model_validate(document)
    except ValidationError as error:
        raise ZoneError(f"zones file {path}: {_fault(error)}") from error
    return ZonesFile(_of_product(path, zones, product), (path, *files))


def _with_masks(path: Path, document: Any) -> list[Path]:  # noqa: ANN401  # foreign JSON
    """Replace the names of mask pictures by their runs, in place."""
    zones = document.get("zones") if isinstance(document, dict) else None
    if not isinstance(zones, list):
        return []
    if len(zones) > MAX_ZONES:
        raise ZoneError(f"zones file {path} has {len(zones)} zones, the limit is {MAX_ZONES}")
    files = []
    for zone in zones:
        if isinstance(zone, dict) and isinstance(zone.get("mask"), str):
            if Path(zone["mask"]).name != zone["mask"]:
                raise ZoneError(
                    f"zones file {path}: mask {zone['mask'][:_SHOWN]!r} is no file name: put the "
                    "picture beside the zones file"
                )
            files.append(path.parent / zone["mask"])
            zone["mask"] = _runs(files[-1], str(zone.get("name"))[:64])
    return files


def _runs(path: Path, name: str) -> dict[str, Any]:
    try:
        mask = read_mask(path)
    except PictureError as error:
        raise ZoneError(f"the mask of zone {name!r}: {error}") from error
    if not mask.any():
        raise ZoneError(f"the mask of zone {name!r}, {path}, marks no pixel")
    runs = int((mask.ravel()[1:] != mask.ravel()[:-1]).sum()) + 2
    if runs > MAX_RUNS:
        raise ZoneError(
            f"the mask of zone {name!r}, {path}, has {runs} runs of pixels, {MAX_RUNS} are the "
            "most: smooth it"
        )
    return MaskRuns.of(mask).model_dump()


def _of_product(path: Path, zones: ZoneSet, product: str) -> ZoneSet:
    products = sorted({zone.product for zone in zones.zones if zone.product is not None})
    if not products and not product:
        return zones
    if not product:
        raise ZoneError(
            f"zones file {path} has zones for {', '.join(products)}: choose the product with "
            "--zones-product"
        )
    if product not in products:
        raise ZoneError(
            f"zones file {path} has no zone for product {product!r}: it names "
            f"{', '.join(products) or 'none'}"
        )
    chosen = tuple(zone for zone in zones.zones if zone.product in {None, product})
    return zones.model_copy(update={"zones": chosen})


def _fault(error: ValidationError) -> str:
    """Return the first fault as one sentence, with its place."""
    first = error.errors(include_input=False, include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")[:_SHOWN]
    own = first["type"] == "value_error"
    return message if own or not where else f"{where[:_SHOWN]}: {message}"

"""Where each project internal that the capture needs is found, in the old tree and in the new one.

These tables are the only place that knows the project's names. When a class or function moves or is
renamed, add "module:attribute" at the front of its list in TABLE. Every module of a list is tried
with every attribute of it, new ones first, so that a tree with moved modules and old names works
too. Methods are called by their names at cba2de7, through `Renamed`; when one is renamed, add its
new name at the front of its list in METHODS.
"""

from importlib import import_module
from itertools import product
from typing import Any

TABLE: dict[str, list[str]] = {
    # wire
    "encode_frame_header": ["pipeline.wire:encode_frame_header", "pipeline.wire:encode_head"],
    "decode_frame_header": ["pipeline.wire:decode_frame_header", "pipeline.wire:decode_head"],
    "decode_identity": ["pipeline.wire:decode_identity"],
    "encode_judgement": ["pipeline.wire:encode_judgement"],
    "decode_judgement": ["pipeline.wire:decode_judgement"],
    "encode_label": ["pipeline.wire:encode_label"],
    "decode_label": ["pipeline.wire:decode_label"],
    "encode_control": ["pipeline.wire:encode_control"],
    "decode_control": ["pipeline.wire:decode_control"],
    "encode_report": ["pipeline.wire:encode_report"],
    "decode_report": ["pipeline.wire:decode_report"],
    "encode_rollout": [
        "pipeline.wire:encode_rollout",
        "pipeline.wire:encode_rollout_record",
        "pipeline.wire:encode_trial",
    ],
    "decode_rollout": [
        "pipeline.wire:decode_rollout",
        "pipeline.wire:decode_rollout_record",
        "pipeline.wire:decode_trial",
    ],
    "pack_mask": ["pipeline.wire:pack_mask"],
    "unpack_mask": ["pipeline.wire:unpack_mask"],
    "FrameHeader": ["pipeline.wire:FrameHeader", "pipeline.wire:Head"],
    "RingPlace": ["pipeline.wire:RingPlace"],
    "RolloutRecord": ["pipeline.wire:RolloutRecord", "pipeline.wire:Trial"],
    "RolloutState": ["pipeline.wire:RolloutState", "pipeline.wire:Standing"],
    "Codec": ["pipeline.codecs:Codec"],
    "MAX_CORNERS": ["pipeline.wire:MAX_CORNERS"],
    "MAX_NAME_CHARS": ["pipeline.wire:MAX_NAME_CHARS"],
    "MAX_OUTLINES": ["pipeline.wire:MAX_OUTLINES"],
    "MAX_REGIONS": ["pipeline.wire:MAX_REGIONS"],
    "WIRE_VERSION": ["pipeline.wire:WIRE_VERSION"],
    # values that travel
    "Decision": ["pipeline.frames:Decision"],
    "Reason": ["pipeline.frames:Reason"],
    "FrameMeta": ["pipeline.frames:FrameMeta"],
    "Region": ["pipeline.frames:Region"],
    "EngineName": ["pipeline.frames:EngineName"],
    "Timings": ["pipeline.frames:Timings"],
    "Judgement": ["pipeline.frames:Judgement"],
    "Verdict": ["pipeline.frames:Verdict"],
    "Label": ["pipeline.frames:Label"],
    "LabelKind": ["pipeline.frames:LabelKind"],
    # Redis
    "Keys": ["pipeline.streams.keys:Keys"],
    "Access": ["pipeline.streams.connect:Access"],
    "open_client": ["pipeline.streams.connect:open_client"],
    "LineLimits": [
        "pipeline.streams.frame_producer:LineLimits",
        "pipeline.streams.intake:Limits",
    ],
    "FrameProducer": [
        "pipeline.streams.frame_producer:FrameProducer",
        "pipeline.streams.intake:Intake",
    ],
    "FrameConsumer": [
        "pipeline.streams.frame_consumer:FrameConsumer",
        "pipeline.streams.work:Work",
    ],
    "Answer": ["pipeline.streams.frame_consumer:Answer", "pipeline.streams.work:Answer"],
    "ResultReader": [
        "pipeline.streams.result_reader:ResultReader",
        "pipeline.streams.outcome:Outcomes",
    ],
    "Ledger": ["pipeline.streams.ledger:Ledger"],
    "Controls": ["pipeline.streams.control:Controls"],
    "LabelStream": ["pipeline.streams.labels:LabelStream"],
    "RedisSwapCoordinator": [
        "pipeline.streams.swap_coordinator:RedisSwapCoordinator",
        "pipeline.streams.swaps:Swaps",
    ],
    # engines
    "FixedPlan": ["engines.backends.fixed:FixedPlan", "engines.fixed_engine:FixedPlan"],
    "write_fixed_engine": [
        "engines.backends.fixed:write_fixed_engine",
        "engines.fixed_engine:write_fixed_engine",
    ],
    "Registry": ["engines.registry.registry:Registry"],
    # files
    "verdict_fields": ["pipeline.verdicts:verdict_fields"],
    "ArchivedFrame": ["pipeline.archive:ArchivedFrame"],
    "RingWriter": ["pipeline.ring:RingWriter", "pipeline.ring.ring:RingWriter"],
    "ring_name": ["pipeline.ring:ring_name", "pipeline.ring.ring:ring_name"],
    "drift_history": [
        "pipeline.drift:drift_history",
        "pipeline.drift.history:drift_history",
        "pipeline.drift_history:drift_history",
    ],
    "SampleStore": ["trainer.samples.store:SampleStore"],
    "LabelSource": ["trainer.samples.records:LabelSource", "trainer.samples.records:Source"],
    # metrics
    "Telemetry": ["pipeline.telemetry:Telemetry", "pipeline.worker.telemetry:Telemetry"],
    "served": ["pipeline.telemetry:served", "pipeline.worker.telemetry:served"],
}


METHODS: dict[str, list[str]] = {
    # frame producer and swap coordinator
    "hold": ["acquire_lease", "hold"],
    "let_go": ["release_lease", "let_go"],
    "still_open": ["unanswered", "still_open"],
    "note": ["record_event", "compare_and_set", "note"],
    "lives": ["is_alive", "lives"],
    "noted": ["read_record", "noted"],
    "notes": ["read_records", "notes"],
    # frame consumer
    "mine": ["pending", "mine"],
    "bury": ["dead_letter", "bury"],
    "beat": ["send_heartbeat", "beat"],
    "waiting": ["unanswered", "waiting"],
    # ledger
    "books": ["snapshot", "books"],
    "open_heads": ["open_headers", "open_heads"],
}


def look_up(name: str) -> Any:  # noqa: ANN401  # whatever the table names
    """Return what the table names; the first of its alternatives that exists.

    Raises:
        LookupError: no alternative exists in this tree; the message names them all.
    """
    places = [place.partition(":") for place in TABLE[name]]
    modules = dict.fromkeys(module for module, _, _ in places)
    attributes = dict.fromkeys(attribute for _, _, attribute in places)
    problems: list[str] = []
    for module, attribute in product(modules, attributes):
        try:
            return getattr(import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            problems.append(f"{module}:{attribute} ({error})")
    raise LookupError(f"{name}: extend tests/unchanged/names.py: no {', no '.join(problems)}")


class Renamed:
    """An object of the project whose methods may be called by their old names."""

    def __init__(self, owner: object) -> None:
        self._owner = owner

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # a bound method
        """Return the first of a method's names that the object has."""
        names = METHODS.get(name, [name])
        found = next((each for each in names if hasattr(self._owner, each)), None)
        if found is None:
            kind = type(self._owner).__name__
            raise LookupError(f"{kind} has no {', no '.join(names)}: extend METHODS in names.py")
        return getattr(self._owner, found)

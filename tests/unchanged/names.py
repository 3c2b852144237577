"""Where each project internal that the capture needs is found, in the old tree and in the new one.

This table is the only place that knows module and attribute names of the project. When a name
changes, add "module:attribute" at the front of its list; the first one that exists is taken.
"""

from importlib import import_module
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
    "Source": ["trainer.samples.records:SampleSource", "trainer.samples.records:Source"],
    # metrics
    "Telemetry": ["pipeline.telemetry:Telemetry", "pipeline.worker.telemetry:Telemetry"],
    "served": ["pipeline.telemetry:served", "pipeline.worker.telemetry:served"],
}


def look_up(name: str) -> Any:  # noqa: ANN401  # whatever the table names
    """Return what the table names; the first of its alternatives that exists.

    Raises:
        LookupError: no alternative exists in this tree; the message names them all.
    """
    problems: list[str] = []
    for place in TABLE[name]:
        module, _, attribute = place.partition(":")
        try:
            return getattr(import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            problems.append(f"{place} ({error})")
    raise LookupError(f"{name}: extend tests/unchanged/names.py: no {', no '.join(problems)}")


def first_method(owner: object, *names: str) -> Any:  # noqa: ANN401  # a bound method
    """Return the first of several methods that `owner` has: the new name stands first."""
    for name in names:
        if hasattr(owner, name):
            return getattr(owner, name)
    raise LookupError(f"{type(owner).__name__} has no method {' or '.join(names)}")

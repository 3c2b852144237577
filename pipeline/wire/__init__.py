"""Values <-> msgpack, and nowhere else. What comes in is checked field by field.

A frame's head (field `m`):  v, camera, seq, part, captured_ns, deadline_ns, codec, shape [H, W],
                             mm [vertical, horizontal] or nil, ring [name, slot, generation] or nil
A judgement (field `j`):     v, judged, score, normalised, threshold, pixel_threshold, regions,
                             mask, engine [model, version, sha256], timings, worker, nearest,
                             distance, cells
A label (field `l`):         v, entry, kind, defect, mask, predicted, outlines [[[y, x], ...], ...],
                             by, at_ns
A control message:           v, kind, and what the kind needs
A promotion's trial:         v, version, promoted_at, standing, worker, why, tries, noted_ms
What a part's views said (`w`): [[view, answer, reason, entry, camera, seq], ...], seq as text
A key that is not listed is ignored, so a field may be added. `v` stays 1, and programs of every
release read each other: docs/sdk.md.
"""

from pipeline.wire.fields import MAX_NAME_CHARS, WIRE_VERSION, pack_mask, unpack_mask
from pipeline.wire.frame_header import (
    FrameHeader,
    Identity,
    RingPlace,
    check_scale,
    decode_frame_header,
    decode_identity,
    decode_known_meta,
    encode_frame_header,
    encode_part_header,
)
from pipeline.wire.judgement import MAX_REGIONS, decode_judgement, encode_judgement
from pipeline.wire.message import (
    RolloutRecord,
    RolloutState,
    decode_control,
    decode_report,
    decode_rollout_record,
    encode_control,
    encode_report,
    encode_rollout_record,
)

__all__ = [
    "MAX_NAME_CHARS",
    "MAX_REGIONS",
    "WIRE_VERSION",
    "FrameHeader",
    "Identity",
    "MaskSizeError",
    "RingPlace",
    "RolloutRecord",
    "RolloutState",
    "check_scale",
    "decode_control",
    "decode_frame_header",
    "decode_identity",
    "decode_judgement",
    "decode_known_meta",
    "decode_report",
    "decode_rollout_record",
    "encode_control",
    "encode_frame_header",
    "encode_judgement",
    "encode_part_header",
    "encode_report",
    "encode_rollout_record",
    "pack_mask",
    "unpack_mask",
]

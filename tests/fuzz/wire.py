"""Mutated frames, judgements and verdicts through the readers of the wire and of the SDK.

`PYTHONPATH=.:tests python tests/fuzz/wire.py --seconds 60 --seed 1`: exit status 1 on a finding.
A reader may refuse a message by its own error and nothing else. The SDK may refuse nothing: what
lies in the stream becomes a verdict, is UNKNOWN where it was not read whole, and keeps its frame.
"""

import json
import sys
from contextlib import suppress

from rigs.line import head_of, judgement_of

from fuzz.mutate import run
from pipeline.errors import ForeignVerdict, LabelError, UnreadableFrame
from pipeline.frames import Decision, Label, LabelKind
from pipeline.streams.result_reader import read_result
from pipeline.verdicts import read_verdict, verdict_fields
from pipeline.wire import (
    decode_frame_header,
    decode_identity,
    decode_judgement,
    encode_frame_header,
    encode_judgement,
)
from pipeline.wire.label import decode_label, encode_label

HEADERS = [head_of("cam", 7, 10**18), head_of("cam-2", 2**53 + 1, 1)]
JUDGEMENTS = [encode_judgement(judgement_of(judged)) for judged in (Decision.OK, Decision.NG)]
LABELS = [encode_label(Label("1-1", LabelKind.DEFECT, "scratch", by="plc", at_ns=1))]


def check_header(packed: bytes) -> None:
    """Read a header, which can then be written and read again."""
    with suppress(UnreadableFrame):
        header = decode_frame_header(packed)
        assert decode_frame_header(encode_frame_header(header)) == header
        assert decode_identity(packed).seq == header.meta.seq


def check_judgement(packed: bytes) -> None:
    """Read a judgement, which can then be published."""
    with suppress(ForeignVerdict):
        encode_judgement(decode_judgement(packed))


def check_label(packed: bytes) -> None:
    """Read a label."""
    with suppress(LabelError):
        decode_label(packed)


def check_verdict(header: bytes, judgement: bytes, word: bytes) -> None:
    """Hand out a verdict as the SDK does."""
    fields = {b"k": word, b"e": b"1-1", b"m": header, b"j": judgement, b"n": judgement[:4]}
    verdict = read_verdict("line", read_result((b"1-1", fields)))
    json.dumps(verdict_fields(verdict, with_mask=True), allow_nan=False)
    assert not verdict.unread or verdict.decision is Decision.UNKNOWN
    assert verdict.decision is not Decision.OK or word == b"OK"
    with suppress(UnreadableFrame):
        identity = decode_identity(header)
        assert (verdict.meta.camera, verdict.meta.seq) == (identity.camera, identity.seq)


def check_verdict_of_header(header: bytes) -> None:
    """Hand out a verdict with a mutated header."""
    check_verdict(header, JUDGEMENTS[0], b"OK")


def check_verdict_of_judgement(judgement: bytes) -> None:
    """Hand out a verdict with a mutated judgement."""
    check_verdict(HEADERS[0], judgement, b"NG")


def check_verdict_of_word(word: bytes) -> None:
    """Hand out a verdict with a mutated word."""
    check_verdict(HEADERS[0], JUDGEMENTS[0], word)


CHECKS = (
    (check_header, HEADERS),
    (check_judgement, JUDGEMENTS),
    (check_label, LABELS),
    (check_verdict_of_header, HEADERS),
    (check_verdict_of_judgement, JUDGEMENTS),
    (check_verdict_of_word, (b"OK", b"LATE")),
)

if __name__ == "__main__":
    sys.exit(run(CHECKS))

"""A program of a PLC: one output for each part, and a stop when verdicts were missed."""

import argparse

from pipeline.consumer import Consumer
from pipeline.frames import Decision

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("line")
parser.add_argument("--program", default="plc")
parser.add_argument("--timeout-s", type=float, default=5.0, help="act safe after so long without")
given = parser.parse_args()

with Consumer(line=given.line, program=given.program, from_start=True) as verdicts:
    while (verdict := verdicts.next(given.timeout_s)) is not None:
        if verdicts.missed:
            print(f"STOP: {verdicts.missed} verdicts were dropped before they could be read")
            break
        # UNKNOWN is an error, not a bad part; neither of the two is ever passed by accident
        output = {Decision.OK: "PASS", Decision.NG: "EJECT"}.get(verdict.decision, "HOLD")
        why = verdict.reason.value if verdict.reason else ""
        print(verdict.meta.seq, verdict.meta.part_id, output, why, flush=True)
        verdicts.acknowledge(verdict)  # only now: after a crash it comes again

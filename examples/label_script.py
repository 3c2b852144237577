"""Labels from a script: `part_id,kind` lines, where kind is normal, or what is wrong."""

import argparse
import csv
from pathlib import Path

from pipeline.consumer import Consumer
from pipeline.frames import LabelKind

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("line")
parser.add_argument("truth", type=Path, help="CSV without a header: part id, kind")
given = parser.parse_args()

with given.truth.open(encoding="utf-8", newline="") as file:
    truth = dict(csv.reader(file))

sent = 0
with Consumer(line=given.line, program="measuring-machine", from_start=True) as verdicts:
    while (verdict := verdicts.next(timeout_s=2.0)) is not None:
        kind = truth.get(verdict.meta.part_id)
        if kind == "normal":
            verdicts.label(verdict, LabelKind.NORMAL)
        elif kind:  # a machine that knows where the defect is gives mask= or outlines= as well
            verdicts.label(verdict, LabelKind.DEFECT, defect=kind)
        sent += kind is not None
        verdicts.acknowledge(verdict)
print(f"{sent} labels sent")  # the end of the block above has sent them

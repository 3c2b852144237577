import json
from pathlib import Path

from engines.backends.fixed import FixedPlan, write_fixed_engine
from pipeline.commands.subprocesses import ProcessGroup


def test_bench_measures_a_line_beside_the_bare_loop(tmp_path: Path) -> None:
    engine = tmp_path / "slow.fixed"
    write_fixed_engine(engine, FixedPlan(height=64, width=64, cost_ms_per_frame=10), max_batch=4)
    out = tmp_path / "out"
    with ProcessGroup(tmp_path / "logs") as processes:
        bench = processes.start(
            "bench",
            "pipeline-bench",
            *("--engine", str(engine), "--threads", "[1]", "--codecs", '["ring"]'),
            *("--rounds", "2", "--seconds", "0.5", "--out", str(out)),
        )
        bench.wait(120.0)
    way = json.loads((out / "bench.json").read_text("utf-8"))["ways"][0]
    ring = way["transports"]["ring"]
    assert 0 < way["bare_frames_per_s"]["max"] <= 100
    assert ring["rate_to_bare"]["min"] <= ring["rate_to_bare"]["median"]
    assert ring["added_ms"]["frames"] > 0
    assert ring["added_ms"]["p50"] > 0

"""Fuzzing: programs that feed damaged input to one part of the line until something gives.

Each program of this folder is a target. `make fuzz` runs all of them, `MINUTES=10` each by default;
`tests/e2e/test_fuzz.py` runs each for a few seconds with a fixed seed, in CI too. One alone:

    PYTHONPATH=.:tests python tests/fuzz/manifest.py --seconds 60 --seed 7

A target ends with status 1 on a finding and prints the input as hex; `--hex` runs that input again.
It prints one JSON object at its end: how many inputs, how many seconds, and the peak memory.

To write one: make a list of sound inputs, a function that raises on a finding, and hand both to
`fuzz.mutation.run_target`. What the checked code is meant to raise is caught in that function, with
the narrowest class there is. A target that needs processes or a server of its own (`line.py`)
reads its flags with `fuzz.mutation.read_flags` and draws its input from a `Mutator`.
"""

"""The steps of measure.py: a module each, with `run(job)`, in a process of its own."""

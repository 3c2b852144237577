"""What stands in for GPUs, cameras, clocks and streams in tests; needs nothing to run."""

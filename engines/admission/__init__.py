"""Admission: the proof that an engine must pass on a machine before it judges parts there."""

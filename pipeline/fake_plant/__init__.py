"""A plant for tests: a conveyor with a reject gate, and the PLC that controls it."""

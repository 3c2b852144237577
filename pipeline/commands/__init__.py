"""Commands around a line: read, prove, label, control, measure, drill."""

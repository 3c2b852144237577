"""Training of Prototypical Residual Networks."""

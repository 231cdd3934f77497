"""Linear layers in 8 bits, for scoring on a CPU."""

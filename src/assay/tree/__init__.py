"""Prefix trees of sequences: layout, packing, attention."""

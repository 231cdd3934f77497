"""The reward model: opening, saving, fetching, and its rewards."""

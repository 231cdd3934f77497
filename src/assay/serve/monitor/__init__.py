"""Watching what a policy makes of its rewards: by run and step, without keeping a text."""

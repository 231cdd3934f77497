"""Rewards computed by vLLM: template and token ids stay ours, the passes are its own."""

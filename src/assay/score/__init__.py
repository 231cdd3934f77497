"""Rewards of rows and files."""

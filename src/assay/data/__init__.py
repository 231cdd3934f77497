"""Rows, groups, templates, token ids."""

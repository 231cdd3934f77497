"""Reward heads that other programs wrote: one module for each program, and the registry of them."""

from assay.model.foreign.head import ForeignHead
from assay.model.foreign.registry import foreign_head, foreign_settings, unread_head

__all__ = ["ForeignHead", "foreign_head", "foreign_settings", "unread_head"]

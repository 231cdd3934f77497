"""`assay doctor`: what is installed, what computes here and why, what a recipe lacks."""

from assay.doctor.examination import Diagnosis, examine

__all__ = ["Diagnosis", "examine"]

"""Sources: the files, directories, data sets, samples and streams that a user can name as data."""

from __future__ import annotations

from assay.data.sources.locate import check_not_read, locate, locate_all
from assay.data.sources.samples import sample_folder
from assay.data.sources.source import (
    KINDS_OF_FILE,
    STDIN,
    Compression,
    DataSource,
    Kind,
    Part,
    kind_of_name,
    part_of,
    unreadable,
)

__all__ = [
    "KINDS_OF_FILE",
    "STDIN",
    "Compression",
    "DataSource",
    "Kind",
    "Part",
    "check_not_read",
    "kind_of_name",
    "locate",
    "locate_all",
    "part_of",
    "sample_folder",
    "unreadable",
]

"""The rows of an evaluation, read as the model's training read them."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from assay.data.loading import LoadedData, load_groups
from assay.data.sources import DataSource
from assay.data.template_classes import format_by_template, is_of_a_class
from assay.errors import DataError
from assay.model.metadata import Metadata
from assay.notices import notice


def load_rows(
    source: DataSource,
    metadata: Metadata | None,
    *,
    template: str | None = None,
    on_bad_row: Literal["error", "skip"] = "error",
    limit: int | None = None,
) -> LoadedData:
    """Read a source for a model; a template class reads the rows itself, as in training.

    Args:
        source: the rows.
        metadata: of the model, where Assay trained it.
        template: the one that the user names instead of the model's own.
        on_bad_row: as in `load_groups`.
        limit: read so many rows.

    Raises:
        DataError: as `load_groups`.
    """
    trained_with = "auto" if metadata is None else metadata.template_name
    format = format_by_template(source.format, template or trained_with)
    sources = [replace(source, format=format)]
    own = format == "auto" and template is None and trained_with != "auto"
    if not (own and metadata is not None and is_of_a_class(metadata.template)):
        return load_groups(sources, on_bad_row=on_bad_row, limit=limit)
    give = f"give --plugin with the file that defines the template class {trained_with}"
    try:
        loaded = load_groups(sources, on_bad_row=on_bad_row, limit=limit)
    except DataError as error:
        mend = f"{error.mend}; or {give}, which read the rows of the training"
        raise DataError(error.what, where=error.where, mend=mend) from None
    notice(
        f"rows are read as {loaded.formats[0]}, although the model was trained with a template "
        f"class, which read the rows itself; {give} to read these so, too"
    )
    return loaded

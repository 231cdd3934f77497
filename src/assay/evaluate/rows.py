"""The rows of an evaluation, read as the model's training read them."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from assay.data.grouping import group_by_prompt
from assay.data.loading import LoadedData, SortedSource, bad_rows_error, load_groups, load_source
from assay.data.sources import DataSource
from assay.data.template_classes import format_by_template, is_of_a_class
from assay.errors import DataError
from assay.evaluate.outputs import counts_of, reasons_told
from assay.model.metadata import Metadata
from assay.notices import counted, notice

OnBadRow = Literal["error", "skip"]


def load_rows(
    source: DataSource,
    metadata: Metadata | None,
    *,
    template: str | None = None,
    on_bad_row: OnBadRow = "error",
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
    sources = [as_in_training(source, metadata, template)]
    trained_with = "auto" if metadata is None else metadata.template_name
    own = sources[0].format == "auto" and template is None and trained_with != "auto"
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


def load_answers(
    source: DataSource,
    metadata: Metadata | None,
    *,
    template: str | None = None,
    on_bad_row: OnBadRow = "error",
) -> LoadedData:
    """Read prompts and answers for a model, with comparisons or without; one group a prompt.

    Raises:
        DataError: bad rows and `on_bad_row` is `error`, texts without a prompt, or no answer.
    """
    rows = SortedSource(
        as_in_training(source, metadata, template), need_comparisons=False, usable_only=False
    )
    data = load_source(rows)
    if data.bad_rows and on_bad_row == "error":
        raise bad_rows_error(data.bad_rows)
    if not data.groups:
        reasons = reasons_told(counts_of(data.skipped))
        raise DataError(
            f"holds no answer ({reasons or counted(len(data.bad_rows), 'bad row')})",
            where=source.path,
            mend="give it rows with prompts and answers",
        )
    data.groups = group_by_prompt(data.groups)
    return data


def as_in_training(
    source: DataSource, metadata: Metadata | None, template: str | None = None
) -> DataSource:
    """The source, read by the template class that the model was trained with if it had one."""
    trained_with = "auto" if metadata is None else metadata.template_name
    return replace(source, format=format_by_template(source.format, template or trained_with))

"""The outputs of all shards of a job become the output that one job would have written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from assay.data.loading import bad_rows_beside
from assay.errors import DataError
from assay.files import check_not_input, check_output, made, output_errors, whole_file
from assay.score.account import ScoreSummary, sums_of, write_aside
from assay.score.outputs import assembler_of
from assay.score.parts import PartAccount
from assay.score.shards import ShardOutputs, account_file


def merge_shards(outputs: Sequence[Path], output: Path, *, overwrite: bool) -> ScoreSummary:
    """Merge shards into a file, whole or not at all.

    Raises:
        DataError: a shard is missing, given twice, of another job, or changed since; or no shard
            has a scored row.
        OutputError: the output is there already, is a shard, or cannot be written.
    """
    inputs = [one for shard in outputs for one in (shard, account_file(shard))]
    check_not_input(output, inputs)
    check_output(output, overwrite=overwrite)
    check_not_input(bad_rows_beside(output), inputs)
    assembler = assembler_of(output)
    shards = ShardOutputs(outputs)
    accounts: list[PartAccount] = []
    for account, body in shards.windows():
        accounts.append(account)
        assembler.look_at(body)
    if not any(account.rows for account in accounts):
        raise DataError("the shards hold no scored row", mend="give rows to the job")
    with output_errors(output), made(output.parent), whole_file(output) as partial:
        assembler.write((body for _, body in shards.windows()), partial)
        write_aside(accounts, output)
    return ScoreSummary.of(sums_of(accounts), output)

"""A share of a job: every n-th window, scored by itself and merged later."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from assay.errors import ConfigError, DataError
from assay.files import output_errors, write_text
from assay.model.manifest import file_sha256
from assay.notices import warn
from assay.score.parts import VERSION, Manifest, PartAccount
from assay.score.settings import differences

_MEND = "give the output of each shard of one job, once"


@dataclass(frozen=True, slots=True)
class Shard:
    """Shard `index` (from 1) of `count`: windows index - 1, index - 1 + count, ..."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """From `i/n`.

        Raises:
            ConfigError: it is none.
        """
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise ConfigError(
                f"'{text}' is no shard", where="--shard", mend="write i/n with i from 1 to n"
            )
        return cls(int(match[1]), int(match[2]))

    def __contains__(self, window: int) -> bool:
        return window % self.count == self.index - 1

    def __str__(self) -> str:
        return f"{self.index} of {self.count}"


WHOLE = Shard(1, 1)


@dataclass(frozen=True, slots=True)
class ShardAccount:
    """What stands in `OUTPUT.shard.json`, beside a shard's output.

    Attributes:
        settings: of the job, those of `Manifest` without the shard.
        circumstances: as in `Manifest`.
        index: of the shard, from 1.
        count: shards of the job.
        sha256: of the output.
        windows: of each window in order: its number, bytes of the output, and what became of it.
    """

    settings: dict[str, Any]
    circumstances: dict[str, Any]
    index: int
    count: int
    sha256: str
    windows: list[dict[str, Any]]
    version: int = VERSION

    @property
    def shard(self) -> Shard:
        """Which one."""
        return Shard(self.index, self.count)

    @classmethod
    def of(
        cls, manifest: Manifest, shard: Shard, windows: Sequence[tuple[PartAccount, int]]
    ) -> ShardAccount:
        """Of an output that is about to stand.

        Args:
            manifest: of the job, its settings with the shard.
            shard: which one.
            windows: their accounts and the bytes of their lines, in order.
        """
        return cls(
            settings=_without(manifest.settings, "shard"),
            circumstances=manifest.circumstances,
            index=shard.index,
            count=shard.count,
            sha256=manifest.output or "",
            windows=[asdict(account) | {"bytes": size} for account, size in windows],
        )

    def write(self, output: Path) -> None:
        """Put it beside an output.

        Raises:
            OutputError: the system refuses.
        """
        path = account_file(output)
        with output_errors(path):
            write_text(path, json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, output: Path) -> ShardAccount:
        """That of an output.

        Raises:
            DataError: there is none, no output either, or the output has changed since.
        """
        path = account_file(output)
        if not output.exists():
            raise DataError("no such file", where=output, mend="check the path")
        try:
            found = cls(**json.loads(path.read_text(encoding="utf-8")))
            whole = file_sha256(output) == found.sha256
        except FileNotFoundError as error:
            raise DataError(
                f"is no shard's output: there is no {error.filename}",
                where=output,
                mend="give what `assay score --shard i/n --output FILE` wrote, FILE.shard.json "
                "beside it",
            ) from None
        except (OSError, ValueError, TypeError) as error:
            raise DataError(
                f"cannot be read ({error})", where=path, mend="score the shard again"
            ) from None
        if not whole or found.version != VERSION:
            raise DataError(
                "is not as the shard's job wrote it", where=output, mend="score the shard again"
            )
        return found


def account_file(output: Path) -> Path:
    """Where the account of a shard's output stands."""
    return output.with_name(f"{output.name}.shard.json")


class ShardOutputs:
    """The outputs of all shards of one job.

    Args:
        outputs: their files, in any order.

    Raises:
        DataError: one is missing, given twice, of another job, or changed since it was written.
    """

    def __init__(self, outputs: Sequence[Path]) -> None:
        by_index: dict[int, tuple[Path, ShardAccount]] = {}
        first: tuple[Path, ShardAccount] | None = None
        for output in outputs:
            account = ShardAccount.read(output)
            first = first or (output, account)
            _check_same_job(first, (output, account))
            if account.index in by_index:
                raise DataError(
                    f"shard {account.shard} is given twice: {by_index[account.index][0]} and "
                    f"{output}",
                    mend=_MEND,
                )
            by_index[account.index] = output, account
        if first is None:
            raise ConfigError("--merge takes the outputs of shards", mend="name each")
        count = first[1].count
        missing = [str(Shard(i, count)) for i in range(1, count + 1) if i not in by_index]
        if missing:
            raise DataError(f"missing: shard {', shard '.join(missing)}", mend=_MEND)
        self._shards = [by_index[index] for index in range(1, count + 1)]
        self.settings = first[1].settings
        self._check_windows()

    def windows(self) -> Iterator[tuple[PartAccount, bytes]]:
        """The windows of the whole job in order, with their lines."""
        files = [output.open("rb") for output, _ in self._shards]
        try:
            for number in range(self._count()):
                index, at = number % len(files), number // len(files)
                window = self._shards[index][1].windows[at]
                yield PartAccount(**_without(window, "bytes")), files[index].read(window["bytes"])
        finally:
            for file in files:
                file.close()

    def _count(self) -> int:
        return sum(len(account.windows) for _, account in self._shards)

    def _check_windows(self) -> None:
        """Rows that came by a pipe may have been fewer for one shard than for another."""
        total = self._count()
        for output, account in self._shards:
            wanted = [number for number in range(total) if number in account.shard]
            if [window["window"] for window in account.windows] != wanted:
                raise DataError(
                    f"shard {account.shard} is not of the same rows as the others",
                    where=output,
                    mend="give the same rows to every shard",
                )


def _check_same_job(first: tuple[Path, ShardAccount], other: tuple[Path, ShardAccount]) -> None:
    found = differences(first[1].settings, other[1].settings)
    if first[1].count != other[1].count:
        found.append(f"of {first[1].count} shards, of {other[1].count}")
    if found:
        raise DataError(
            f"is a shard of another job than {first[0]} ({'; '.join(found)})",
            where=other[0],
            mend=_MEND,
        )
    others = differences(first[1].circumstances, other[1].circumstances)
    if others:
        warn(
            f"{other[0]} was scored under other circumstances than {first[0]} "
            f"({'; '.join(others)}): the last bits of rewards may differ from those of one job"
        )


def _without(record: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != name}

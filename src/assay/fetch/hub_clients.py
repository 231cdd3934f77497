"""The clients of the two hubs behind one signature, and what their errors mean to the user."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from assay.errors import PullError
from assay.fetch.placing import is_full
from assay.fetch.quiet import quiet


@dataclass(frozen=True)
class Wanted:
    """What to download: a model or a data set, `org/name`, and a branch, tag or commit of it."""

    kind: Literal["model", "dataset"]
    repository: str
    revision: str

    @property
    def word(self) -> str:
        """The kind in words."""
        return "model" if self.kind == "model" else "data set"


@dataclass(frozen=True)
class Snapshot:
    """A repository in a client's cache, and where it came from."""

    path: Path
    source: str


def download_huggingface(wanted: Wanted, patterns: list[str], unwanted: list[str]) -> Snapshot:
    """Download the files of a Hugging Face repository that match.

    Raises:
        PullError: the hub cannot be reached, or has no such repository or revision for this user.
    """
    from huggingface_hub import constants, errors, snapshot_download

    folder = "" if wanted.kind == "model" else "datasets/"
    url = f"{constants.ENDPOINT}/{folder}{wanted.repository}"
    try:
        with quiet(bars=True), warnings.catch_warnings():
            # The client only warns, then downloads until the disk is full.
            warnings.filterwarnings("error", message="Not enough free disk space")
            path = snapshot_download(
                wanted.repository,
                revision=wanted.revision,
                allow_patterns=patterns,
                repo_type=wanted.kind,
                ignore_patterns=unwanted,
            )
    except errors.GatedRepoError as error:
        raise _locked(
            wanted, url, "accept its conditions on its page, then set HF_TOKEN"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise PullError(
            f"no such {wanted.word}, or a private one",
            where=url,
            mend="check the name; if it is private, set HF_TOKEN",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise PullError(
            f"no revision {wanted.revision!r}",
            where=url,
            mend="give --revision a branch, a tag or a commit",
        ) from error
    except Exception as error:  # the errors of the client and of its transport have no common base
        if is_full(error):
            raise _full(constants.HF_HUB_CACHE, "HF_HOME") from error
        mend = "check the network, or set HF_ENDPOINT to a mirror"
        if constants.is_offline_mode():
            mend = "unset HF_HUB_OFFLINE"
        raise _unreachable(wanted, url, error, mend) from error
    return Snapshot(Path(path), f"{url}, revision {wanted.revision}, commit {Path(path).name}")


def download_modelscope(wanted: Wanted, patterns: list[str], unwanted: list[str]) -> Snapshot:
    """Download the files of a ModelScope repository that match.

    Raises:
        PullError: the client is not installed, or as for `download_huggingface`.
    """
    try:
        from modelscope.hub.snapshot_download import snapshot_download
    except ImportError as error:
        raise PullError(
            f"{wanted.word}s from ModelScope need its client",
            where=f"modelscope:{wanted.repository}",
            mend="run `pip install 'assay[modelscope]'`",
        ) from error
    site = os.environ.get("MODELSCOPE_ENDPOINT") or "https://www.modelscope.cn"
    url = f"{site.rstrip('/')}/{wanted.kind}s/{wanted.repository}"
    try:
        with quiet(bars=True):
            path = snapshot_download(
                wanted.repository,
                revision=wanted.revision,
                allow_patterns=patterns,
                repo_type=wanted.kind,
                ignore_patterns=unwanted,
            )
    except Exception as error:  # as above
        if is_full(error):
            raise _full("ModelScope's cache", "MODELSCOPE_CACHE") from error
        status = _status(error)
        if status in (401, 403):
            raise _locked(
                wanted, url, "ask for access on its page, then set MODELSCOPE_API_TOKEN"
            ) from error
        if status == 404:
            raise PullError(
                f"no such {wanted.word}, or no revision {wanted.revision!r} of it",
                where=url,
                mend="check both names",
            ) from error
        raise _unreachable(
            wanted, url, error, "check the network, or set MODELSCOPE_ENDPOINT to a mirror"
        ) from error
    return Snapshot(Path(path), f"{url}, revision {wanted.revision}")


def _status(error: BaseException) -> int | None:
    """The HTTP status behind an error: the client hides it at different depths."""
    for layer in (error, error.__cause__):
        for holder in (layer, getattr(layer, "response", None)):
            status = getattr(holder, "status_code", None)
            if isinstance(status, int):
                return status
    return None


def _unreachable(wanted: Wanted, url: str, error: Exception, mend: str) -> PullError:
    cause = _root(error)
    said = " ".join(f"{type(cause).__name__}: {cause}".split())
    return PullError(
        f"could not fetch the {wanted.word} ({said[:200]})",
        where=url,
        mend=f"{mend}, or copy the {wanted.word}'s directory from a machine that has it and give "
        "its path",
    )


def _root(error: BaseException) -> BaseException:
    """The deepest error of the system or the network: the layers above only repeat it."""
    found, layer = error, next(iter(getattr(error, "failed_files", {}).values()), error)
    seen: set[int] = set()
    while layer is not None and id(layer) not in seen:
        seen.add(id(layer))
        if isinstance(layer, OSError):
            found = layer
        layer = layer.__cause__ or layer.__context__
    return found


def _locked(wanted: Wanted, url: str, mend: str) -> PullError:
    return PullError(f"access to this {wanted.word} is restricted", where=url, mend=mend)


def _full(cache: str, variable: str) -> PullError:
    mend = f"free some, or set {variable} to a directory with room"
    return PullError("no space left on the device", where=cache, mend=mend)

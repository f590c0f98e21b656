"""Checkpoints and weight files on the Hugging Face hub.

    hf:owner/name[@revision][/place]    place: a folder or a file of the repository

Files go through the hub's own cache (HF_HOME): what is there is not fetched again, and is all that
is used without a network or with HF_HUB_OFFLINE=1. Only the files that are asked for are fetched.
A token is the hub's own affair (`hf auth login`, HF_TOKEN); no message of ours has one.
"""

import contextlib
import dataclasses
import errno
import glob
import json
import pathlib
import re
import shutil
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from shotstream_jax.core.errors import InputError

HUB_PREFIX = "hf:"
_WEIGHTS = (".safetensors", ".pt", ".pth", ".bin", ".gguf")
_NAME = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[^/@]+))?(/(?P<place>.+?))?/?")
_LOG_IN = "log in (hf auth login, or HF_TOKEN)"


class HubName(NamedTuple):
    """Where something lies on the hub.

    repo: "owner/name". revision: a branch, a tag or a commit; None is the main branch. place: a
    folder or file in it, "" for all.
    """

    repo: str
    revision: str | None
    place: str

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return self.repo + revision

    @property
    def address(self) -> str:
        """The whole name, as it is given for a checkpoint or a file."""
        place = f"/{self.place}" if self.place else ""
        return f"{HUB_PREFIX}{self}{place}"

    @property
    def is_file(self) -> bool:
        """Whether it names a weight file or an index of some."""
        return self.place.endswith((*_WEIGHTS, ".index.json"))


@dataclasses.dataclass(frozen=True)
class Repository:
    """A repository's list of files, with their bytes. Nothing of them is fetched yet."""

    name: HubName
    files: Mapping[str, int]

    @property
    def weight_files(self) -> list[str]:
        """Those that may hold weights."""
        return [file for file in self.files if file.endswith(_WEIGHTS)]


class Snapshot(NamedTuple):
    """Files that were fetched: they lie in `folder` as in the repository at this commit."""

    folder: pathlib.Path
    commit: str


def is_hub_name(place: str | pathlib.Path) -> bool:
    """Whether this names something on the hub."""
    return str(place).startswith(HUB_PREFIX)


def read_hub_name(text: str | pathlib.Path) -> HubName:
    """What a name stands for, with `hf:` in front or without. Raises InputError."""
    found = _NAME.fullmatch(str(text).removeprefix(HUB_PREFIX))
    place = (found["place"] or "") if found else ".."
    if not found or ".." in place.split("/"):
        raise InputError(
            f"{text} is no name on the hub: expected hf:owner/name[@revision][/folder]"
        )
    # A slash within a branch's name is written %2F, as in the hub's own addresses.
    revision = found["revision"]
    if revision is not None:
        revision = urllib.parse.unquote(revision)
    return HubName(found["repo"], revision, place)


def open_repository(name: HubName) -> Repository:
    """Asks the hub which files a repository has; without a network those in the cache.

    Raises InputError if there is no such repository, if it may not be read, or if the hub cannot be
    reached and the cache has nothing of it.
    """
    hub = _library()
    with _one_line(name):
        try:
            info = hub.HfApi().model_info(name.repo, revision=name.revision, files_metadata=True)
            return Repository(name, {file.rfilename: file.size or 0 for file in info.siblings})
        except (hub.errors.RevisionNotFoundError, hub.errors.RepositoryNotFoundError):
            raise
        except (hub.errors.HTTPError, OSError) as error:
            # The hub is offline, or not well: what was fetched before is what there is.
            cached = _cached_files(name)
            if cached is None:
                raise error from None
            return Repository(name, cached)


def _cached_files(name: HubName) -> dict[str, int] | None:
    """What the list of files was at an earlier fetch, also of those that were not fetched."""
    hub = _library()
    try:
        tree = hub.get_cached_repo_tree(name.repo, revision=name.revision)
    except hub.errors.CachedRepoTreeNotFoundError:
        return None
    return {file.path: file.size for file in tree}


def fetch(repository: Repository, files: Sequence[str]) -> Snapshot:
    """Fetches files of a repository that are not in the cache yet, with a progress bar.

    Raises InputError as `open_repository` does, or if the disk is full.
    """
    hub = _library()
    name = repository.name
    _check_space(repository, files)
    patterns = [glob.escape(file) for file in files]
    with _one_line(name):
        folder = pathlib.Path(
            hub.snapshot_download(name.repo, revision=name.revision, allow_patterns=patterns)
        )
    # The cache names a snapshot's folder by its commit.
    return Snapshot(folder, folder.name)


def _check_space(repository: Repository, files: Sequence[str]) -> None:
    """Raises InputError if the cache's disk cannot take the files that are not there yet."""
    hub = _library()
    name = repository.name
    needed = 0
    for file in files:
        cached = hub.try_to_load_from_cache(name.repo, file, revision=name.revision)
        if not isinstance(cached, str):
            needed += repository.files[file]
    # The disk is that of the nearest folder that exists.
    place = pathlib.Path(hub.constants.HF_HUB_CACHE).absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed:
        raise InputError(
            f"cannot fetch {name}: {place} has {free / 2**30:.2f} GB free, it needs "
            f"{needed / 2**30:.2f} GB; HF_HOME names another place"
        )


def hub_origin(path: pathlib.Path) -> str | None:
    """The "owner/name@commit" of a file in the hub's cache; None for any other file."""
    found = re.search(
        r"/models--([\w.-]+?)--([\w.-]+)/snapshots/(\w+)/", path.absolute().as_posix()
    )
    if not found:
        return None
    owner, repo, commit = found.groups()
    return f"{owner}/{repo}@{commit}"


def fetch_file(text: str | pathlib.Path) -> pathlib.Path:
    """One file of a repository, `hf:owner/name[@revision]/file`, in the cache.

    Raises InputError, with the weight files that there are, if the repository lacks it.
    """
    name = read_hub_name(text)
    repository = open_repository(name)
    if name.place not in repository.files:
        raise InputError(
            f"{name} has no file {name.place or 'named'}; its weights: {list_weights(repository)}"
        )
    return fetch(repository, [name.place]).folder / name.place


def list_weights(repository: Repository, most: int = 20) -> str:
    """The weight files of a repository, as they are asked for."""
    names = [f"{HUB_PREFIX}{repository.name}/{file}" for file in repository.weight_files]
    text = ", ".join(names[:most]) or "none"
    if len(names) > most:
        text += f", … ({len(names) - most} more)"
    return text


def fetch_checkpoint(text: str | pathlib.Path) -> pathlib.Path:
    """A checkpoint folder on the hub (checkpoint/folder), in the cache.

    Raises InputError, which says what to do, if the weights there have another layout.
    """
    name = read_hub_name(text)
    repository = open_repository(name)
    files = checkpoint_files(repository)
    if files:
        return fetch(repository, files).folder / name.place
    if repository.weight_files:
        raise InputError(
            f"{text} has weights in another layout: shotstream convert import --hub {name} --out "
            "DIR makes a checkpoint of them"
        )
    raise InputError(f"{text} has no weights that are known: {_some(list(repository.files))}")


def checkpoint_files(repository: Repository) -> list[str]:
    """All files of a checkpoint folder in a repository, empty if it has none in this place."""
    place = repository.name.place
    folder = f"{place}/" if place else ""
    config_file = f"{folder}config.json"
    if config_file not in repository.files:
        return []
    path = fetch(repository, [config_file]).folder / config_file
    # Other layouts have a config.json too, with other fields.
    try:
        parts = tuple(json.loads(path.read_text("utf-8"))["parts"])
    except (OSError, ValueError, KeyError, TypeError):
        return []
    wanted = [config_file]
    for file in repository.files:
        first, *rest = file.removeprefix(folder).split("/")
        # A part is one file or a folder of arrays.
        is_part = first in parts if rest else first.removesuffix(".safetensors") in parts
        if file.startswith(folder) and (is_part or file == f"{folder}tokenizer.json"):
            wanted.append(file)
    return wanted


def _some(names: Sequence[str]) -> str:
    text = ", ".join(names[:5]) or "it is empty"
    return f"{text}, …" if len(names) > 5 else text


def _library():  # type: ignore[no-untyped-def]  # a module that may not be installed
    """The huggingface_hub library, of the extra `hub`."""
    try:
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.errors
    except ImportError:
        raise InputError(
            "names on the hub need huggingface_hub: pip install 'shotstream-jax[hub]'"
        ) from None
    return huggingface_hub


@contextlib.contextmanager
def _one_line(name: HubName) -> Iterator[None]:
    """The library's errors as InputErrors, which say none of its addresses and headers.

    Its warnings are left out too: they can have the signed addresses of files.
    """
    hub = _library()
    errors = hub.errors
    level = hub.logging.get_verbosity()
    hub.logging.set_verbosity_error()
    try:
        yield
    except errors.GatedRepoError:
        raise InputError(
            f"{name} is gated: agree to its terms on its page of the hub, then {_LOG_IN}"
        ) from None
    except errors.RepositoryNotFoundError:
        raise InputError(
            f"the hub has no repository {name.repo}, or it is private: check the name, or {_LOG_IN}"
        ) from None
    except errors.RevisionNotFoundError:
        raise InputError(f"{name.repo} has no revision {name.revision} on the hub") from None
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled):
        raise InputError(_unreachable(name)) from None
    except errors.HfHubHTTPError as error:
        raise InputError(_refused(name, error.response.status_code)) from None
    except errors.HTTPError:
        raise InputError(_unreachable(name)) from None
    except OSError as error:
        raise InputError(_failed(name, error)) from None
    finally:
        hub.logging.set_verbosity(level)


def _unreachable(name: HubName) -> str:
    """No network, or none allowed, and not all of it was fetched before."""
    if _library().constants.HF_HUB_OFFLINE:
        return f"{name} is not wholly in the hub's cache, and HF_HUB_OFFLINE forbids to fetch it"
    return (
        f"{name} is not wholly in the hub's cache, and the hub cannot be reached: check the network"
    )


def _refused(name: HubName, status: int) -> str:
    if status == 401:
        return f"the hub does not know the token that {name} was asked for with: {_LOG_IN}"
    if status == 403:
        return f"the hub forbids to read {name}: ask for access on its page, or {_LOG_IN}"
    return f"the hub answered for {name} with status {status}: try again later"


def _failed(name: HubName, error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return f"cannot fetch {name}: the disk is full; HF_HOME names another place"
    # Without a number it is the library's own: a file of the wrong length and the like.
    reason = error.strerror or "a file did not arrive whole, try again"
    return f"cannot fetch {name}: {reason}"

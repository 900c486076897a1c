"""Named objects, in which the registry and the state are kept: in a folder, or in a bucket (s3_bucket.py)."""

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol
from urllib.request import url2pathname

from ..errors import RegistryError, SettingsError, missing_extra
from ..files import replacing
from ..project import Project


class Store(Protocol):
    """Named objects. A tag stands for an object's content, so that a writer can ask for what it has read."""

    place: str  # where it is, for messages

    def read(self, key: str) -> tuple[bytes, str] | None:
        """Return an object and its tag; None if it is not there."""

    def swap(self, key: str, data: bytes, tag: str = "") -> bool:
        """Replace the object with a tag, or create it without one; False if somebody wrote other bytes."""

    def list(self, prefix: str) -> list[str]:
        """Return the keys that begin with a prefix that ends with a slash, sorted."""

    def delete(self, key: str) -> None:
        """Remove an object, if it is there."""


def registry_store(project: Project) -> Store:
    """Open the store that REGISTRY_URI names, else the folder registry/ of the project."""
    uri = os.environ.get("REGISTRY_URI")
    return open_store(uri) if uri else Folder(project.root / "registry")


def open_store(uri: str, variable: str = "REGISTRY_URI") -> Store:
    """Open s3://bucket/prefix or file:///path, which `variable` holds. Raises SettingsError if it cannot."""
    scheme, _, rest = uri.partition("://")
    if scheme == "s3" and rest:
        try:
            from .s3_bucket import Bucket  # boto3 takes a second to load, and a folder does not need it
        except ModuleNotFoundError as error:
            raise missing_extra("s3", error) from error
        bucket, _, prefix = rest.strip("/").partition("/")
        return Bucket(bucket, prefix)
    if scheme == "file" and rest.startswith("/"):
        return Folder(Path(url2pathname(rest)))
    raise SettingsError(f"{variable} is {uri!r}", "set it to s3://bucket/prefix or to file:///path")


class Folder:
    """A store in a folder, for a laptop, a test or a shared disk: the same promises as a bucket's."""

    def __init__(self, root: Path) -> None:
        self.place, self._root = str(root), root

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            advice = "make room there" if full else "check the address, and who may write there"
            raise RegistryError(f"{self.place}: {error.strerror or error}", advice) from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        from filelock import FileLock  # who only reads does not need it

        with self._clear_errors():
            self._root.mkdir(parents=True, exist_ok=True)
            with FileLock(self._root / ".lock"):
                yield

    def read(self, key: str) -> tuple[bytes, str] | None:
        with self._clear_errors(), suppress(FileNotFoundError, NotADirectoryError):
            data = (self._root / key).read_bytes()
            return data, hashlib.sha256(data).hexdigest()
        return None

    def swap(self, key: str, data: bytes, tag: str = "") -> bool:
        with self._alone():
            before, now = self.read(key) or (b"", "")
            if now != tag:
                return not tag and before == data
            with replacing(self._root / key) as partial, partial.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        return True

    def list(self, prefix: str) -> list[str]:
        with self._clear_errors():
            walk = os.walk(self._root / prefix)
            found = [Path(folder, name) for folder, _, names in walk for name in names]
        # A name with a dot is of a file that is being written, or that a kill has left.
        return sorted(f.relative_to(self._root).as_posix() for f in found if not f.name.startswith("."))

    def delete(self, key: str) -> None:
        path = self._root / key
        with self._alone():
            path.unlink(missing_ok=True)
            with suppress(OSError):  # not empty
                path.parent.rmdir()

"""What the registry needs of a store, and the store in a folder: for a laptop, a test or a shared disk."""

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Protocol

from filelock import FileLock

from ..errors import RegistryError

READERS = 16  # objects that are read at once
PARTIAL = ".partial-"  # a file that is being written, or that a kill has left; never listed


class Store(Protocol):
    """Named objects. read gives (bytes, tag), and swap writes only while the object still has the tag."""

    place: str

    def read(self, key: str) -> tuple[bytes, str] | None: ...

    def create(self, key: str, data: bytes) -> bool:
        """Write an object that is not there; False if it is there and holds other bytes."""
        ...

    def swap(self, key: str, data: bytes, tag: str) -> bool:
        """Replace an object, or create it if tag is empty; False if somebody changed it meanwhile."""
        ...

    def list(self, prefix: str) -> list[str]:
        """Return the keys that begin with a prefix that ends with a slash, sorted."""
        ...

    def delete(self, key: str) -> None: ...


class Folder:
    """The store behind file://: the same layout and the same promises as in a bucket."""

    def __init__(self, root: Path) -> None:
        self.place = str(root)
        self._root = root

    @contextmanager
    def _clear(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            advice = "make room there" if full else "check REGISTRY_URI, and who may write there"
            raise RegistryError(f"registry in {self.place}: {error.strerror or error}", advice) from error

    def read(self, key: str) -> tuple[bytes, str] | None:
        with self._clear(), suppress(FileNotFoundError, NotADirectoryError):
            data = (self._root / key).read_bytes()
            return data, hashlib.sha256(data).hexdigest()
        return None

    def create(self, key: str, data: bytes) -> bool:
        try:
            # A link appears whole or not at all, and fails where there is a file already.
            with self._clear(), self._written(key, data) as partial:
                os.link(partial, self._root / key)
            return True
        except RegistryError as error:
            if not isinstance(error.__cause__, FileExistsError):
                raise
        found = self.read(key)
        return found is not None and found[0] == data

    def swap(self, key: str, data: bytes, tag: str) -> bool:
        if not tag:
            return self.create(key, data)
        with self._clear(), FileLock(self._root / ".lock"), self._written(key, data) as partial:
            found = self.read(key)
            if found is None or found[1] != tag:
                return False
            partial.replace(self._root / key)
        return True

    @contextmanager
    def _written(self, key: str, data: bytes) -> Iterator[Path]:
        """Give a file beside the key's that holds the data on the disk; it is gone afterwards."""
        folder = (self._root / key).parent
        folder.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(prefix=PARTIAL, dir=folder, delete=False) as file:
            partial = Path(file.name)
            try:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                partial.chmod(0o644)
                yield partial
            finally:
                partial.unlink(missing_ok=True)

    def list(self, prefix: str) -> list[str]:
        with self._clear():
            found = [
                (Path(folder) / name).relative_to(self._root).as_posix()
                for folder, _, names in os.walk(self._root / prefix)
                for name in names
                if not name.startswith(PARTIAL)
            ]
        return sorted(found)

    def delete(self, key: str) -> None:
        path = self._root / key
        with self._clear():
            path.unlink(missing_ok=True)
        with suppress(OSError):  # not empty
            path.parent.rmdir()

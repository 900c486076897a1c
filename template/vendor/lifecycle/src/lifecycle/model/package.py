"""The candidate: a folder that any language can read, sealed by a manifest with a digest of each file."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from ..errors import DigestMismatch
from ..files import to_json, write_text

FILES = ("model.onnx", "schema.json", "profile.json")
MANIFEST = "manifest.json"


class FileFacts(BaseModel, frozen=True):
    """What a file must be."""

    sha256: str
    size: int  # bytes


class Manifest(BaseModel, frozen=True):
    """What a version is and what reproduces it.

    fixture: a row and what the model predicts for it, which health asks for. smoke: more such pairs, which a
    release asks for before it sends traffic.
    """

    version: str
    created: str
    git_commit: str
    data_hash: str
    lock_hash: str
    params: dict[str, Any]
    metrics: dict[str, Any]
    fixture: dict[str, Any]
    smoke: list[dict[str, Any]] = []
    files: dict[str, FileFacts]


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(folder: Path, created: datetime, **facts: Any) -> Manifest:
    """Write the manifest: from now on the folder is a version, `<UTC time>-<first 8 of its digest>`.

    created: when it was trained. facts: the other fields of Manifest.
    """
    paths, stamp = [folder / name for name in FILES], created.astimezone(UTC)
    files = {path.name: FileFacts(sha256=digest(path), size=path.stat().st_size) for path in paths}
    whole = hashlib.sha256("".join(files[name].sha256 for name in FILES).encode()).hexdigest()
    version, moment = f"{stamp:%Y%m%dT%H%M%SZ}-{whole[:8]}", stamp.isoformat(timespec="seconds")
    manifest = Manifest(version=version, created=moment, files=files, **facts)
    write_text(folder / MANIFEST, to_json(manifest.model_dump()))
    return manifest


def unseal(folder: Path) -> None:
    """Remove the manifest, if there is one: the candidate has to pass the gate again."""
    (folder / MANIFEST).unlink(missing_ok=True)


def verify(folder: Path) -> Manifest:
    """Read the manifest and check every file against it. Raises DigestMismatch that names the file."""
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        message = f"{folder} has no {MANIFEST}: it has not passed evaluate"
        raise DigestMismatch(message, "run: make retrain") from error
    except (ValidationError, UnicodeDecodeError) as error:
        raise DigestMismatch(f"{folder / MANIFEST} is damaged: {error}") from error
    for name in FILES:
        path = folder / name
        if not path.is_file():
            raise DigestMismatch(f"{path} is missing", "fetch the version again")
        if name not in manifest.files or digest(path) != manifest.files[name].sha256:
            message = f"{path} is not the file that was published as {manifest.version}"
            raise DigestMismatch(message, "fetch the version again, and find out who changed it")
    return manifest

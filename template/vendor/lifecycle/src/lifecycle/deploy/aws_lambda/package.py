"""The zip that Lambda runs: the locked libraries for its machines, the engine, your code, and the model.

A zip rather than an image: it fits (133 of 250 MiB), and needs neither Docker nor an image registry. The same
content gives the same bytes, on any machine.
"""

import hashlib
import os
import re
import shutil
import subprocess
import tomllib
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

from ...errors import LIBRARY, LifecycleError
from ...files import fresh_folder, replacing, write_text
from ...model.package import verify
from ...project import Project
from ...tools import uv

PLATFORM = "x86_64-manylinux_2_28"
LIMIT = 250 * 2**20  # bytes unzipped, https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
# Nothing needs these to predict; RECORD has digests of the scripts in bin, which hold a path of this machine.
UNUSED = ("bin", "*.dist-info/RECORD", "*/**/tests")
UNUSED += tuple(f"onnxruntime/{name}" for name in ("quantization", "tools", "transformers"))
UNUSED_ROOMS = ("adopt", "command.py", "commands", "simulate", "training")  # of the engine
PRUNED = {"lambda-events": ("--prune", "onnxruntime")}  # the drift check runs no model
TRAINING = ("data", "schema", "model", "pipeline")  # modules of your package that features.py does not need


def runtime(project: Project) -> str:
    """Return Lambda's runtime: RUNTIME, or this project's Python, python3.12 at least."""
    pyproject = tomllib.loads((project.root / "pyproject.toml").read_text(encoding="utf-8"))
    # Lambda's python3.11 has glibc 2.26, and the wheels of onnxruntime and NumPy need 2.27.
    ours = max("3.12", pyproject["project"]["requires-python"].removeprefix(">="))
    return os.environ.get("RUNTIME") or f"python{ours}"


def build_model(project: Project, version: str, folder: Path) -> Path:
    """Build the package of a version from its model's folder, anew: build/lambda-<version>.zip."""
    if (inside := verify(folder).version) != version:
        advice = f"uv run lifecycle fetch {version} --to build/model"
        raise LifecycleError(f"{folder} does not hold version {version} but {inside}", advice)
    return build(project, "lambda", folder, f"lambda-{version}.zip")


def build(project: Project, group: str, model: Path | None = None, name: str = "") -> Path:
    """Build a package from a dependency group, and perhaps a model's folder: build/<group>.zip, or `name`."""
    libraries, target = _libraries(project, group), project.root / "build"
    with fresh_folder(target / "package") as folder:
        # The engine is installed apart from the libraries: a folder or a git address has no hash to check.
        lines = _export(project, group, "--no-hashes", "--no-annotate", "--no-editable").splitlines()
        source = next(line for line in lines if re.match(rf"{LIBRARY}\b|\S*vendor/lifecycle\b", line))
        with TemporaryDirectory() as engine:  # with metadata that holds paths and times of this machine
            _install(project, Path(engine), source)
            ignored = shutil.ignore_patterns(*UNUSED_ROOMS)
            shutil.copytree(Path(engine) / "lifecycle", folder / "lifecycle", ignore=ignored)
        (folder / project.package).mkdir()
        for path in (project.root / "src" / project.package).glob("*.py"):
            if path.stem not in TRAINING:
                shutil.copy(path, folder / project.package)
        for path in (project.params, project.root / "pyproject.toml"):
            shutil.copy(path, folder)
        if model:
            shutil.copytree(model, folder / "model")
        _compile(project, folder)
        return _zip([libraries, folder], target / (name or f"{group}.zip"))


def _libraries(project: Project, group: str) -> Path:
    """Install what uv.lock says of a group, with hashes, once for each lock and runtime."""
    pinned = _export(project, group, "--no-emit-package", LIBRARY, *PRUNED.get(group, ()))
    python = runtime(project).removeprefix("python")
    name = hashlib.sha256(f"{python} {UNUSED} {pinned}".encode()).hexdigest()[:12]
    folder = project.root / f"build/libraries-{name}"
    if not folder.is_dir():
        requirements = folder.with_name(f"{group}.txt")
        write_text(requirements, pinned)
        where = ["--python-platform", PLATFORM, "--python-version", python, "--only-binary", ":all:"]
        with fresh_folder(folder) as fresh:
            _install(project, fresh, *where, "-r", str(requirements.absolute()))
            for path in [path for pattern in UNUSED for path in fresh.glob(pattern)]:
                path.unlink() if path.is_file() else shutil.rmtree(path, ignore_errors=True)
            _compile(project, fresh)
    return folder


def _export(project: Project, group: str, *words: str) -> str:
    group_only = ("--frozen", "--only-group", group, "--no-emit-project", "--no-header")
    return _uv(project, "export", "--quiet", *group_only, *words)


def _install(project: Project, folder: Path, *words: str) -> None:
    _uv(project, "pip", "install", "--quiet", "--no-deps", "--target", str(folder.absolute()), *words)


def _compile(project: Project, folder: Path) -> None:
    """Make the bytecode that the read-only function cannot, by the Python that will read it."""
    where, python = str(folder.absolute()), runtime(project).removeprefix("python")
    words = ["--no-project", "--python", python, "python", "-m", "compileall", "-q", "-s", where]
    _uv(project, "run", "--quiet", *words, "-p", "/var/task", "--invalidation-mode", "unchecked-hash", where)


def _uv(project: Project, *words: str) -> str:
    env = os.environ | {"PYTHONHASHSEED": "0"}  # which orders the constants of bytecode
    done = subprocess.run([uv(project), *words], cwd=project.root, env=env, capture_output=True, text=True)
    if done.returncode:
        reason, python = (done.stderr or done.stdout).strip()[-1500:], runtime(project).removeprefix("python")
        advice = f"make setup; a missing Python comes with: uv python install {python}"
        raise LifecycleError(f"uv {' '.join(words[:3])} failed: {reason}", advice)
    return done.stdout


def _zip(folders: list[Path], to: Path) -> Path:
    found = [(folder, path) for folder in folders for path in folder.rglob("*")]
    files = [(path.relative_to(folder).as_posix(), path) for folder, path in found if path.is_file()]
    size = sum(path.stat().st_size for _, path in files)
    if size > LIMIT:
        text = f"{to.name} would hold {size / 2**20:.0f} MiB, and Lambda takes {LIMIT / 2**20:.0f}"
        advice = "remove libraries (pyproject.toml, group lambda), or serve from a container: deploy=docker"
        raise LifecycleError(text, advice)
    with replacing(to) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as package:
        for name, path in sorted(files):
            entry = zipfile.ZipInfo(name)  # of 1980, so that only content counts
            entry.external_attr = 0o644 << 16
            package.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
    return to


def sizes(package: Path) -> str:
    """Return how large a package is, zipped and unzipped."""
    with zipfile.ZipFile(package) as opened:
        unzipped = sum(entry.file_size for entry in opened.infolist())
    return f"{package.stat().st_size / 2**20:.1f} MiB, unzipped {unzipped / 2**20:.1f} MiB"

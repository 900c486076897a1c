"""The zip that Lambda runs: the locked libraries for its machines, the code, and the model.

A zip rather than an image: it fits (about 150 of 250 MiB), and needs neither Docker nor an image
registry. The same content gives the same bytes.
"""

import hashlib
import os
import shutil
import subprocess
import tomllib
import zipfile
from pathlib import Path

from . import tools
from .candidate import verify
from .errors import LifecycleError
from .project import PACKAGE, PARAMS, fresh_folder

BUILD = Path("build")
PLATFORM = "x86_64-manylinux_2_28"
LIMIT = 250 * 2**20  # bytes unzipped, https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
# Nothing imports these to predict.
UNUSED = ("bin", "onnxruntime/tools", "onnxruntime/transformers", "onnxruntime/quantization", "*/**/tests")


def runtime() -> str:
    """Return Lambda's runtime: RUNTIME, or this project's Python, python3.12 at least.

    Lambda's python3.11 has glibc 2.26, and the wheels of onnxruntime and NumPy need 2.27.
    """
    wanted = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    ours = max("3.12", wanted.removeprefix(">="))
    return os.environ.get("RUNTIME") or f"python{ours}"


def build_model(version: str, folder: Path) -> Path:
    """Build the package of a version from its model's folder, anew; returns build/lambda-<version>.zip."""
    inside = verify(folder).version
    if inside != version:
        raise LifecycleError(
            f"{folder} does not hold version {version} but {inside}",
            f"uv run lifecycle fetch {version} --to build/model",
        )
    return build("lambda", BUILD / f"lambda-{version}.zip", folder)


def build_events() -> Path:
    """Build the package of the function that checks for drift and starts retraining."""
    return build("lambda-events", BUILD / "lambda-events.zip", None)


def build(group: str, to: Path, model: Path | None) -> Path:
    """Put the libraries of a dependency group, the code and perhaps a model into a zip."""
    libraries = _libraries(group)
    with fresh_folder(BUILD / "package") as folder:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree("src/lifecycle", folder / "lifecycle", ignore=ignored)
        (folder / PACKAGE).mkdir()
        # What features.py imports from your package comes along; data, schema and model are for training.
        for path in Path("src", PACKAGE).glob("*.py"):
            if path.stem not in ("data", "schema", "model"):
                shutil.copy(path, folder / PACKAGE)
        shutil.copy(PARAMS, folder)
        if model:
            shutil.copytree(model, folder / "model")
        _compile(folder)
        return _zip([libraries, folder], to)


def _libraries(group: str) -> Path:
    """Install what uv.lock says, once for each lock and runtime."""
    pinned = _uv("export", "--quiet", "--frozen", "--only-group", group, "--no-emit-project", "--no-header")
    python = runtime().removeprefix("python")
    name = hashlib.sha256(f"{python} {UNUSED} {pinned}".encode()).hexdigest()[:12]
    folder = BUILD / f"libraries-{name}"
    if folder.is_dir():
        return folder
    requirements = BUILD / f"{group}.txt"
    BUILD.mkdir(exist_ok=True)
    requirements.write_text(pinned, encoding="utf-8")
    where = ["--python-platform", PLATFORM, "--python-version", python, "--only-binary", ":all:"]
    with fresh_folder(folder) as fresh:
        _uv("pip", "install", "--quiet", "--no-deps", "--target", str(fresh), *where, "-r", str(requirements))
        for pattern in UNUSED:
            for path in sorted(fresh.glob(pattern)):
                shutil.rmtree(path, ignore_errors=True)
        _compile(fresh)
    return folder


def _compile(folder: Path) -> None:
    """Make the bytecode that the read-only function cannot, by the Python that will read it."""
    python = ["--no-project", "--python", runtime().removeprefix("python"), "python"]
    compile_all = ["-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    _uv("run", "--quiet", *python, *compile_all, str(folder))


def _uv(*words: str) -> str:
    done = subprocess.run([tools.uv(), *words], capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-1500:]
        advice = (
            f"make setup; a missing Python comes with: uv python install {runtime().removeprefix('python')}"
        )
        raise LifecycleError(f"uv {' '.join(words[:3])} failed: {said}", advice)
    return done.stdout


def _zip(folders: list[Path], to: Path) -> Path:
    found = [(folder, path) for folder in folders for path in folder.rglob("*")]
    files = [(path.relative_to(folder), path) for folder, path in found if path.is_file()]
    size = sum(path.stat().st_size for _, path in files)
    if size > LIMIT:
        raise LifecycleError(
            f"{to.name} would hold {size / 2**20:.0f} MiB, and Lambda takes {LIMIT / 2**20:.0f}",
            "leave out libraries (pyproject.toml, group lambda), or serve from a container: deploy=docker",
        )
    partial = to.with_suffix(".partial")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as package:
        for name, path in sorted(files):
            entry = zipfile.ZipInfo(name.as_posix())  # of 1980, so that only content counts
            entry.external_attr = 0o644 << 16
            package.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
    partial.replace(to)
    return to


def sizes(package: Path) -> str:
    """Say how large a package is."""
    with zipfile.ZipFile(package) as opened:
        unzipped = sum(entry.file_size for entry in opened.infolist())
    return f"{package.stat().st_size / 2**20:.1f} MiB, unzipped {unzipped / 2**20:.1f} MiB"

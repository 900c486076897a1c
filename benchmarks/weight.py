"""Files and lines, before and after: what a team reads, the library, the tests.

Writes docs/benchmarks/weight.md:

    python benchmarks/weight.py [BEFORE]     BEFORE: a commit; default: the last one with the engine in src/

Both states are rendered by Copier with the default answers. A line is a line of the file, blank ones too.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import copier

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/benchmarks/weight.md"
APART = ("registry/mlflow", "registry/s3", "deploy/", "alerts", "batch", "adopt/", "simulate/")
# What these were before: modules that only some answers rendered, or that lay outside the engine.
APART_BEFORE = (
    *(
        "registry/mlflow",
        "registry/s3_bucket",
        "deploy_lambda",
        "serving/aws_lambda",
        "serving/canary",
        "load.py",
    ),
    *("monitoring/alerts", "monitoring/channels", "score.py"),
)
BUDGETS = {
    "files": "45",
    "lines": "2,500",
    "lines of Python": "600",
    "lines of README": "80",
    "verbs in `make`": "14",
    "keys of params.yaml": "16",
    "core": "4,800",
    "all": "8,500",
}


def main() -> None:
    given = sys.argv[1] if len(sys.argv) > 1 else last_before()
    with tempfile.TemporaryDirectory() as folder:
        columns = [measure(ref, Path(folder, name)) for name, ref in (("before", given), ("after", "HEAD"))]
    rows = [
        f"| {what} | {columns[0][what]:,} | {columns[1][what]:,} | {budget(what)} |" for what in columns[0]
    ]
    head, _, rest = PAGE.read_text(encoding="utf-8").partition("<!-- counted -->\n")
    table = "\n".join([f"| | before ({given[:7]}) | now | budget |", "| --- | ---: | ---: | ---: |", *rows])
    end = rest.partition("<!-- end -->")[2]
    PAGE.write_text(f"{head}<!-- counted -->\n{table}\n<!-- end -->{end}", encoding="utf-8")
    print(table)


def last_before() -> str:
    """Return the newest commit whose engine was rendered into src/."""
    return git("log", "-1", "--format=%H", "--", "template/src/lifecycle/errors.py").strip() + "~1"


def measure(ref: str, folder: Path) -> dict[str, int]:
    """Return each figure of a commit."""
    source, project = folder / "source", folder / "churn"
    source.mkdir(parents=True)
    archive = subprocess.run(["git", "archive", ref], cwd=ROOT, capture_output=True, check=True)
    subprocess.run(["tar", "-x"], cwd=source, input=archive.stdout, check=True)
    copier.run_copy(str(source), project, defaults=True, quiet=True)
    own = [path for path in files(project) if path.relative_to(project).parts[0] not in ("vendor", "data")]
    engine = source / "template/vendor/lifecycle/src/lifecycle"
    split = engine.is_dir()
    engine = engine if split else source / "template/src/lifecycle"
    apart = APART if split else APART_BEFORE
    sizes = {path.relative_to(engine).as_posix(): lines([path]) for path in files(engine) if is_python(path)}
    core = {name: size for name, size in sizes.items() if not name.startswith(apart)}
    tools = (
        [] if split else [*files(source / "src/lean_mlops/adopt"), *files(source / "src/lean_mlops/simulate")]
    )
    tools += [] if split else [source / "template/deploy/docker/drill.py"]
    shown = subprocess.run(["make"], cwd=project, capture_output=True, text=True, check=True).stdout
    params = [line for line in (project / "params.yaml").read_text().splitlines() if line.startswith("  ")]
    return {
        "rendered: files": len(own),
        "rendered: lines": lines(own),
        "rendered: lines of Python": lines(path for path in own if path.suffix == ".py"),
        "rendered: lines of README": lines([project / "README.md"]),
        "rendered: verbs in `make`": len(shown.splitlines()),
        "rendered: keys of params.yaml": len(params),
        "library: core, lines": sum(core.values()),
        "library: all, lines": sum(sizes.values()) + lines(path for path in tools if path.suffix == ".py"),
        "library: modules": len(sizes),
        "generator, lines": lines(p for p in files(source / "src") if is_python(p) and p not in tools),
        "tests, lines": lines(
            p for p in [*files(source / "tests"), *files(source / "template/tests")] if is_python(p)
        ),
    }


def budget(what: str) -> str:
    return next(
        (
            limit
            for word, limit in sorted(BUDGETS.items(), reverse=True)
            if what.split(": ")[-1].startswith(word)
        ),
        "",
    )


def is_python(path: Path) -> bool:
    return path.name.endswith((".py", ".py.jinja"))


def files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and ".git" not in path.parts]


def lines(paths: Iterable[Path]) -> int:
    return sum(len(path.read_bytes().splitlines()) for path in paths)


def git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()

"""What updates are tested with: the edits that a user makes, what must stand then, and covers of answers.

An edit goes by the text that it needs, so it fits older templates too; without that text it is not made.
"""

import itertools
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import copier
import yaml
from conftest import ROOT, git, render

MARKER = "our own below this line"
RENAMED = "docs/what-is-done.md"
Answers = dict[str, str]
Edit = Callable[[Path], bool]
EDITS: dict[str, Edit] = {}


def edit(name: str) -> Callable[[Edit], Edit]:
    """Enter a function of a project's folder that says whether it found what to edit."""

    def enter(function: Edit) -> Edit:
        EDITS[name] = function
        return function

    return enter


def replace(path: Path, old: str, new: str) -> bool:
    """Replace the first place that holds old."""
    if not path.is_file() or old not in (text := path.read_text()):
        return False
    path.write_text(text.replace(old, new, 1))
    return True


def below_marker(path: Path, new: str, number: int = 0) -> bool:
    """Insert lines after the marker line with that number."""
    if not path.is_file():
        return False
    lines = path.read_text().splitlines(keepends=True)
    found = [at for at, line in enumerate(lines) if MARKER in line]
    if len(found) <= number:
        return False
    lines.insert(found[number] + 1, new)
    path.write_text("".join(lines))
    return True


def write(path: Path, text: str) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return True


@edit("own feature")
def _feature(project: Path) -> bool:
    path, old = project / "src/churn/features.py", '    inputs["value_per_item"]'
    return replace(path, old, f'    inputs["evening"] = (inputs["hour"] > 17).astype(float)\n{old}')


@edit("own model")
def _model(project: Path) -> bool:
    return replace(project / "src/churn/model.py", "random_state=0, **params", "random_state=7, **params")


@edit("own hooks")
def _hooks(project: Path) -> bool:
    text = '"""Mine."""\n\n\ndef before_step(step: str) -> None:\n    """Say it."""\n    print(step)\n'
    return write(project / "src/churn/hooks.py", text)


@edit("own file reformatted")
def _reformatted(project: Path) -> bool:
    path = project / "src/churn/schema.py"
    run = [
        sys.executable,
        "-m",
        "ruff",
        "format",
        "--no-cache",
        "--isolated",
        "--line-length",
        "72",
        str(path),
    ]
    return subprocess.run(run, capture_output=True).returncode == 0


@edit("own file renamed")
def _renamed(project: Path) -> bool:
    (project / "data/recent.parquet").rename(project / "data/autumn.parquet")
    return True


@edit("params changed")
def _params(project: Path) -> bool:
    return replace(project / "params.yaml", "holdout: 0.2", "holdout: 0.25")


@edit("server dependency")
def _dependency(project: Path) -> bool:
    return below_marker(project / "pyproject.toml", '  "holidays>=0.50",\n')


@edit("training dependency")
def _training_dependency(project: Path) -> bool:
    return below_marker(project / "pyproject.toml", '  "tqdm>=4.60",\n', 1)


@edit("dependency by uv add")
def _sorted_dependency(project: Path) -> bool:
    """Where uv puts it: by the alphabet."""
    old = '  "lean-mlops-lifecycle[serve]",\n'
    return replace(project / "pyproject.toml", old, '  "httpx>=0.28",\n' + old)


@edit("own tool settings")
def _tool(project: Path) -> bool:
    return below_marker(project / "pyproject.toml", '\n[tool.mine]\nlevel = "high"\n', 3)


@edit("own step in our workflow file")
def _ci_step(project: Path) -> bool:
    path, old = project / ".github/workflows/lifecycle.yml", "      - name: Check\n        run: make check\n"
    return replace(path, old, old + "      - name: Mine\n        run: make licences\n")


@edit("own step in our GitLab file")
def _gitlab_step(project: Path) -> bool:
    old = "  script:\n    - make check\n"
    return replace(project / ".gitlab-ci.yml", old, old + "    - make licences\n")


@edit("own GitLab file")
def _gitlab_file(project: Path) -> bool:
    return write(project / ".gitlab/own.yml", "mine:\n  stage: check\n  script:\n    - echo mine\n")


@edit("own workflow file")
def _ci_file(project: Path) -> bool:
    text = "name: mine\non: push\njobs:\n  mine:\n    runs-on: self-hosted\n    steps: [{run: echo}]\n"
    return write(project / ".github/workflows/mine.yml", text)


@edit("target at the Makefile's end")
def _target(project: Path) -> bool:
    return below_marker(project / "Makefile", "\nlicences: ## Mine\n\t@echo mine\n")


@edit("Makefile.local")
def _local(project: Path) -> bool:
    return write(project / "Makefile.local", "check: looked\n\nlooked: ## Mine too\n\t@echo looked\n")


@edit("own stage")
def _stage(project: Path) -> bool:
    return below_marker(
        project / "dvc.yaml", "  mine:\n    cmd: echo mine\n    deps: [artifacts/metrics.json]\n"
    )


@edit("own ignored folder")
def _ignored(project: Path) -> bool:
    return below_marker(project / ".gitignore", "scratch/\n")


@edit("own README section")
def _readme(project: Path) -> bool:
    return below_marker(project / "README.md", "\n## Whom to ask\n\nAda.\n")


@edit("README paragraph changed")
def _readme_middle(project: Path) -> bool:
    old = "- **Labels** that come later"
    return replace(project / "README.md", old, "- Ada approves, and Grace when Ada is away.\n" + old)


@edit("checklist line ticked")
def _ticked(project: Path) -> bool:
    return replace(project / "docs/checklist.md", "- [ ] Each step runs alone", "- [x] Each step runs alone")


@edit("docs page deleted")
def _deleted(project: Path) -> bool:
    (project / "docs/extending.md").unlink()
    return True


@edit("our page renamed")
def _page_renamed(project: Path) -> bool:
    page = project / "docs/checklist.md"
    if not page.exists():
        return False
    page.rename(project / RENAMED)
    return True


@edit("own test")
def _test(project: Path) -> bool:
    text = '"""Mine."""\n\n\ndef test_mine() -> None:\n    """It holds."""\n    assert 1 + 1 == 2\n'
    return write(project / "tests/test_mine.py", text)


@edit("our test changed")
def _our_test(project: Path) -> bool:
    old = "assert alone.keys() == together.keys()"
    return replace(project / "tests/test_data.py", old, f"{old}, request")


def apply_edits(project: Path, names: Sequence[str] = ()) -> list[str]:
    """Make all edits, or those named, and return the names of those that found their place."""
    return [name for name in names or EDITS if EDITS[name](project)]


def tree(folder: Path) -> dict[str, tuple[bytes, bool]]:
    """Return each file's content and whether it may be executed, by path; empty folders end in a slash."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not name.startswith(".git/"):
            found[name] = (path.read_bytes(), bool(path.stat().st_mode & 0o100))
        elif path.is_dir() and name != ".git" and not name.startswith(".git/") and not any(path.iterdir()):
            found[name + "/"] = (b"", False)
    return found


def users(name: str) -> bool:
    """Whether a path is the user's: written once, never touched again, or named anew by the edits."""
    return name in ("params.yaml", RENAMED) or name.startswith(("src/churn/", "data/"))


def difference(project: Path, should: Mapping[str, tuple[bytes, bool]]) -> list[str]:
    """Return a line for each file that is not as it should be; the answers file is compared as YAML."""
    found = tree(project)
    lines = []
    for name in sorted(found.keys() | should.keys()):
        if name == ".copier-answers.yml":
            pair = [yaml.safe_load(side[name][0]) for side in (found, should)]
            lines += [] if pair[0] == pair[1] else [f"{name}: {pair[0]} is not {pair[1]}"]
        elif name not in should:
            lines.append(f"{name}: should not be there")
        elif name not in found:
            lines.append(f"{name}: lost")
        elif found[name] != should[name]:
            lines.append(f"{name}: differs")
    return lines


def commit(project: Path, subject: str = "Mine") -> None:
    git(project, "add", "-A")
    git(project, "commit", "-q", "--allow-empty", "-m", subject)


def update(project: Path, **options: Any) -> None:
    """Update in this process, as `copier update --defaults` does, without trust."""
    copier.run_update(project, defaults=True, overwrite=True, quiet=True, unsafe=False, **options)


def unmerged(project: Path) -> str:
    return git(project, "ls-files", "--unmerged")


def choices(questions: str) -> dict[str, list[str]]:
    """Return the choices that a copier.yml offers, by question; not the Python version's."""
    found = {}
    for name, question in yaml.safe_load(questions).items():
        given = question.get("choices") if isinstance(question, dict) and not name.startswith("_") else None
        if given and name != "python_version":
            found[name] = list(given.values()) if isinstance(given, dict) else given
    found.get("library", []).remove("dependency")  # it needs a git server: tests/test_dependency.py
    return found


def pairwise(offered: Mapping[str, Sequence[str]]) -> list[Answers]:
    """Return rows of answers in which each pair of answers to two questions stands at least once."""
    names = list(offered)
    every = (dict(zip(names, row, strict=True)) for row in itertools.product(*offered.values()))
    rows = [row for row in every if allowed(row)]

    def pairs(row: Answers) -> set[tuple[tuple[str, str], ...]]:
        return set(itertools.combinations(row.items(), 2))

    missing = set().union(*map(pairs, rows))
    cover = []
    while missing:
        cover.append(max(rows, key=lambda row: len(pairs(row) & missing)))
        missing -= pairs(cover[-1])
    return cover


def each_once(offered: Mapping[str, Sequence[str]]) -> list[Answers]:
    """Return rows of answers in which each answer stands at least once."""
    number = max(map(len, offered.values()))
    rows = [{name: given[at % len(given)] for name, given in offered.items()} for at in range(number)]
    return [row if allowed(row) else row | {"observability": "none"} for row in rows]


def allowed(answers: Mapping[str, str]) -> bool:
    """Return whether these answers may stand together: Lambda's metrics are in CloudWatch."""
    return answers.get("deploy") != "lambda" or answers.get("observability") != "prometheus"


class Renders:
    """Fresh renders of a template, each made once and copied from then on."""

    def __init__(self, template: Path, scratch: Path) -> None:
        self.template, self.scratch = template, scratch
        self._made: dict[tuple[tuple[str, str], ...], Path] = {}

    def make(self, to: Path, answers: Answers) -> Path:
        """Return a repository of a fresh project in the folder `to`."""
        key = tuple(sorted(answers.items()))
        if key not in self._made:
            self._made[key] = render(self.template, self.scratch / f"{len(self._made)}" / "churn", **answers)
        shutil.copytree(self._made[key], to, symlinks=True)
        return to


def history() -> list[str]:
    """Return the released templates that git knows, the newest first."""
    run = ["git", "tag", "--list", "v[0-9]*", "--sort=-version:refname", "--merged", "HEAD"]
    return subprocess.run(run, cwd=ROOT, capture_output=True, text=True).stdout.split()


def older(text: str, name: str) -> str:
    """Return a file as an older template might have had it: with comments between its parts."""
    mark = {".md": "<!-- as it was -->"}.get(Path(name.removesuffix(".jinja")).suffix, "# as it was")
    parts = text.split("\n\n")
    apart = [
        at % 2 == 0 and not parts[at + 1].startswith(("from ", "import ")) for at in range(len(parts) - 1)
    ]
    spaced = [f"{part}\n\n{mark}" if ends else part for part, ends in zip(parts, apart, strict=False)]
    return "\n\n".join([*spaced, parts[-1]])


def questions_at(reference: str) -> str:
    run = ["git", "show", f"{reference}:copier.yml"]
    return subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=True).stdout

"""Release the template: write CHANGELOG.md, commit it and tag it. make release VERSION=v1.2.0

Users update from tag to tag, so it refuses when a tree, a version or the tests of updating are not in order.
Nothing is pushed.
"""

import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]
CHANGELOG, PROJECT = ROOT / "CHANGELOG.md", ROOT / "pyproject.toml"
HEAD = "# Changes\n\nWhat each release brings. `make update` in a project pulls it.\n"
UPDATING = [f"tests/test_{name}.py" for name in ("update", "transitions", "make_update", "door")]
GROUPS = {  # the first that holds a path of the commit
    "Questions and answers": ("copier.yml",),
    "In your project": ("template/",),
    "The generator": ("",),
}


def main(words: list[str]) -> None:
    """Make the release, or exit with what is not in order."""
    version = words[0] if words else ""
    last = tags()[-1:]
    refuse(version, last)
    notes = changes(last)
    if not notes:
        sys.exit(f"error: there is no commit since {last[0]}")
    test = [sys.executable, "-m", "pytest", "--long", *UPDATING]
    if subprocess.run(test, cwd=ROOT, check=False).returncode:
        sys.exit("error: the tests of updating fail, so users could lose something: nothing is tagged")
    text = f"## {version}, {datetime.now(UTC):%Y-%m-%d}\n\n{notes}"
    old = CHANGELOG.read_text(encoding="utf-8").removeprefix(HEAD) if CHANGELOG.exists() else ""
    CHANGELOG.write_text(f"{HEAD}\n{text}{old}", encoding="utf-8")
    project = PROJECT.read_text(encoding="utf-8")
    project = re.sub(r'^version = ".*"$', f'version = "{version[1:]}"', project, count=1, flags=re.MULTILINE)
    PROJECT.write_text(project, encoding="utf-8")
    git("add", "CHANGELOG.md", "pyproject.toml")
    git("commit", "--quiet", "-m", f"Release {version}")
    git("tag", "--annotate", "--cleanup=verbatim", "-m", text, version)
    print(f"{version} is tagged; to publish it: git push --follow-tags")


def refuse(version: str, last: list[str]) -> None:
    """Exit when the version is none, or not after the last one, or something is not committed."""
    if not re.fullmatch(r"v\d+\.\d+\.\d+", version):
        sys.exit("error: which version? make release VERSION=v1.2.0")
    if last and number(version) <= number(last[0]):
        sys.exit(f"error: {version} does not come after {last[0]}")
    if changed := git("status", "--porcelain"):
        sys.exit(f"error: not committed:\n{changed}")


def tags() -> list[str]:
    """Return the released versions, the newest last."""
    found = git("tag", "--list", "--merged", "HEAD").split()
    return sorted((tag for tag in found if re.fullmatch(r"v\d+\.\d+\.\d+", tag)), key=number)


def number(version: str) -> list[int]:
    return [int(part) for part in version[1:].split(".")]


def changes(last: list[str]) -> str:
    """Return the subjects of the commits since the last release, grouped by whom they concern."""
    found: dict[str, list[str]] = {group: [] for group in GROUPS}
    since = [f"{last[0]}..HEAD"] if last else ["HEAD"]
    log = git("log", "--no-merges", "--reverse", "--name-only", "--format=%x00%s", *since)
    for entry in log.split("\0")[1:]:
        subject, *paths = [line for line in entry.splitlines() if line]
        group = next(
            group for group, starts in GROUPS.items() if any(p.startswith(starts) for p in [*paths, ""])
        )
        found[group].append(f"- {subject}")
    return "".join(f"### {group}\n\n" + "\n".join(lines) + "\n\n" for group, lines in found.items() if lines)


def git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main(sys.argv[1:])

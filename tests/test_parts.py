"""Where a part is missing its tests are skipped with the command that brings it; in CI they are errors."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

pytestmark = pytest.mark.slow

# What debian.sh --check itself calls; nothing of any part.
SHELL = ("cut", "env", "sed", "sh", "tr")
TESTS = """
import pytest

{marked}
def test_that_needs_nothing(): pass
"""
MARKED = "@pytest.mark.{part}\ndef test_{part}(): pass\n"
TWO = "@pytest.mark.node\n@pytest.mark.docker\ndef test_two(): pass\n"
INSTALLS = "sh scripts/debian.sh"
PARTS = re.findall(r"^    ([a-z0-9]+)\)$", (ROOT / "scripts/debian.sh").read_text(), flags=re.MULTILINE)


def run(tmp_path: Path, text: str, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run pytest on a file of tests where only a shell is there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in SHELL:
        (folder / tool).symlink_to(shutil.which(tool) or pytest.fail(f"no {tool}"))
    script = (ROOT / "scripts/debian.sh").read_text().replace("PATH=$PATH:/usr/sbin:/sbin", "")
    for name in ("scripts", "tests"):
        (tmp_path / name).mkdir()
    (tmp_path / "scripts/debian.sh").write_text(script)
    shutil.copy(ROOT / "tests/parts.py", tmp_path / "tests")
    (tmp_path / "test_it.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-p", "parts", "-q", "--strict-markers", *words, "test_it.py"]
    return subprocess.run(
        command,
        cwd=tmp_path,
        env={"PATH": str(folder), "PYTHONPATH": str(tmp_path / "tests")} | env,
        capture_output=True,
        text=True,
    )


def all_parts() -> str:
    return TESTS.format(marked="\n".join(MARKED.format(part=part) for part in PARTS))


def test_each_part_that_is_lacking_is_skipped_with_its_command(tmp_path: Path) -> None:
    done = run(tmp_path, all_parts() + TWO, "-n", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert len(PARTS) == 7
    for part in PARTS:
        tests = 2 if part in ("node", "docker") else 1
        wanted = rf"{tests} skipped: {part} lacks [\w., -]+: (sudo )?{INSTALLS} {part}"
        assert [line for line in lines if re.fullmatch(wanted, line)], done.stdout
    assert re.match(r"1 passed, 8 skipped in ", lines[-1]), lines[-1]


def test_in_ci_each_part_that_is_lacking_is_an_error(tmp_path: Path) -> None:
    done = run(tmp_path, all_parts(), CI="true")
    assert done.returncode == 1 and re.search(r"1 passed, 7 errors in ", done.stdout), done.stdout
    for part in PARTS:
        assert re.search(rf"ERROR test_it.py::test_{part} - .*{part} lacks", done.stdout), done.stdout


SKIPS = {
    "by a mark": "import pytest\n@pytest.mark.skip(reason='tired')\ndef test_it(): pass\n",
    "by a call": "import pytest\ndef test_it(): pytest.skip('tired')\n",
    "by a fixture": (
        "import pytest\n@pytest.fixture\ndef bed(): pytest.skip('tired')\ndef test_it(bed): pass\n"
    ),
    "a whole file": "import pytest\npytest.skip('tired', allow_module_level=True)\n",
}


@pytest.mark.parametrize("text", SKIPS.values(), ids=SKIPS)
def test_in_ci_nothing_can_be_skipped(tmp_path: Path, text: str) -> None:
    done = run(tmp_path, text, CI="true")
    assert done.returncode != 0 and "in CI nothing is skipped" in done.stdout, done.stdout
    assert "tired" in done.stdout and "skipped in" not in done.stdout


def test_elsewhere_any_skip_is_told_with_its_reason(tmp_path: Path) -> None:
    done = run(tmp_path, SKIPS["by a fixture"])
    assert done.returncode == 0 and "\n1 skipped: tired\n" in done.stdout, done.stdout


LONG = "import pytest\n@pytest.mark.long\ndef test_long(): pass\ndef test_short(): pass\n"


@pytest.mark.parametrize(
    ("words", "ran", "left"),
    [((), 1, True), (("--long",), 2, False), (("-m", "not slow", "--long"), 1, False)],
)
@pytest.mark.parametrize("processes", ["0", "2"])
def test_long_tests_run_when_asked_for_and_are_counted_otherwise(
    tmp_path: Path, words: tuple[str, ...], ran: int, left: bool, processes: str
) -> None:
    done = run(tmp_path, LONG, *words, "-n", processes)
    assert f"{ran} passed" in done.stdout, done.stdout + done.stderr
    assert ("1 long tests did not run: make test-long runs all" in done.stdout) == left


def test_a_person_may_leave_parts_out(tmp_path: Path) -> None:
    done = run(tmp_path, all_parts(), LEAN_MLOPS_SKIP="docker,s3")
    assert "1 skipped: LEAN_MLOPS_SKIP names docker\n" in done.stdout
    assert "1 skipped: LEAN_MLOPS_SKIP names s3\n" in done.stdout


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({"LEAN_MLOPS_SKIP": "docker", "CI": "true"}, "in CI nothing is skipped: unset LEAN_MLOPS_SKIP"),
        ({"LEAN_MLOPS_SKIP": "dokcer"}, "LEAN_MLOPS_SKIP names dokcer; there are: base, node, docker"),
    ],
)
def test_what_may_not_be_left_out(tmp_path: Path, env: dict[str, str], says: str) -> None:
    done = run(tmp_path, all_parts(), **env)
    assert done.returncode == 4 and says in done.stderr and "Traceback" not in done.stderr, done.stderr

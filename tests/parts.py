"""What a machine may lack: the tests that need it are skipped, and the run ends by saying how to get it.

A part is what `scripts/debian.sh` calls one, and the marker of the tests that need it. Where the variable CI
is set nothing is skipped: a missing part, and any other skip, is an error. Tests marked `long` run with
--long, as `make test-long` does; without it the run ends by counting them.
"""

import os
import re
import subprocess
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts/debian.sh"
NEED_ROOT = ("docker", "podman")
BETWEEN = "; "  # two reasons of one test
MARKERS = (
    "slow: renders in many combinations, runs a rendered project's commands, or needs a container engine",
    "long: slow, and too long for `make test`, which runs a test much like it: `make test-long`",
)
REASONS = pytest.StashKey[dict[str, str]]()
LONG = pytest.StashKey[int]()  # how many tests were left to make test-long


def in_ci() -> bool:
    return bool(os.environ.get("CI"))


def reasons() -> dict[str, str]:
    """Return why each part's tests cannot run, and the command that changes it; "" where they can."""
    done = subprocess.run(["sh", str(SCRIPT), "--check"], capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise pytest.UsageError(f"scripts/debian.sh --check ended with {done.returncode}: {done.stderr}")
    root = os.geteuid() == 0
    sudo = "" if root else "sudo "
    found = {}
    for block in re.split(r"\n(?=\w)", done.stdout):  # a part, and below it what it lacks
        part = re.split(r"\W", block)[0]
        lacks = ", ".join(re.findall(r"^  ([^:]+):", block, flags=re.MULTILINE))
        found[part] = lacks and f"{part} lacks {lacks}: {sudo}sh scripts/debian.sh {part}"
    for part in NEED_ROOT:
        if not (root or found[part] or (part == "docker" and _engine_answers())):
            found[part] = f"{part} needs root: sudo make test ARGS='-m {part}'"
    return found | _left_out(found)


def _engine_answers() -> bool:
    return subprocess.run(["docker", "info"], capture_output=True).returncode == 0


def _left_out(parts: dict[str, str]) -> dict[str, str]:
    """Return what LEAN_MLOPS_SKIP names, which a person may set and CI may not."""
    named = set(filter(None, os.environ.get("LEAN_MLOPS_SKIP", "").split(",")))
    if unknown := named - parts.keys():
        known = ", ".join(parts)
        raise pytest.UsageError(f"LEAN_MLOPS_SKIP names {', '.join(sorted(unknown))}; there are: {known}")
    if named and in_ci():
        raise pytest.UsageError("in CI nothing is skipped: unset LEAN_MLOPS_SKIP")
    return {part: f"LEAN_MLOPS_SKIP names {part}" for part in named}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="also run the tests that are marked long")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A long test is slow too, so that `-m "not slow"` leaves both out."""
    long = [item for item in items if item.get_closest_marker("long")]
    for item in long:
        item.add_marker("slow")
    if long and not config.option.long:
        items[:] = [item for item in items if item not in long]
        config.hook.pytest_deselected(items=long)
        config.stash[LONG] = len(long)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tell the process that prints the summary, which collects nothing itself under xdist."""
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["long"] = session.config.stash.get(LONG, 0)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    node.config.stash[LONG] = getattr(node, "workeroutput", {}).get("long", 0)


def pytest_configure(config: pytest.Config) -> None:
    """Ask once a run: the processes of xdist are told the answer."""
    told = getattr(config, "workerinput", {})
    config.stash[REASONS] = told["reasons"] if told else reasons()
    parts = (f"{part}: needs what `sh scripts/debian.sh {part}` installs" for part in config.stash[REASONS])
    for marker in (*MARKERS, *parts):
        config.addinivalue_line("markers", marker)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["reasons"] = node.config.stash[REASONS]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    marks = {mark.name for mark in item.iter_markers()}
    missing = [reason for part, reason in item.config.stash[REASONS].items() if reason and part in marks]
    if missing and in_ci():
        pytest.fail(BETWEEN.join(missing), pytrace=False)
    if missing:
        pytest.skip(BETWEEN.join(missing))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    return _never_in_ci(report)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    return _never_in_ci(report)


def _never_in_ci(report: Any) -> Any:
    if report.skipped and in_ci() and not hasattr(report, "wasxfail"):  # which ran, and fails as is known
        report.outcome, report.longrepr = "failed", f"in CI nothing is skipped: {report.longrepr}"
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say of each part how many tests were skipped, and what brings it; of any other skip its reason."""
    counts: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        counts.update(report.longrepr[2].removeprefix("Skipped: ").split(BETWEEN))
    for reason, count in counts.items():
        terminalreporter.write_line(f"{count} skipped: {reason}")
    for report in terminalreporter.stats.get("xfailed", []):
        terminalreporter.write_line(f"fails, as is known: {report.nodeid}: {report.wasxfail}")
    if left := terminalreporter.config.stash.get(LONG, 0):
        terminalreporter.write_line(f"{left} long tests did not run: make test-long runs all")

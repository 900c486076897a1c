"""The commands that run the functions of pipeline.py."""

import json

import pytest
from click.testing import CliRunner, Result
from lifecycle.commands import pipeline
from lifecycle.errors import GateRejected, LifecycleError
from lifecycle.project import Project

HOOKS = (
    "def before_step(name):\n    print('before', name)\n\n\ndef after_step(name):\n    print('after', name)\n"
)
OWN = "\n\ndef _secret(project: Project) -> str:\n    return ''\n\n\ndef tidy(project: Project) -> str:\n"
OWN += "    return f'tidied {project.name}'\n"


def call(command: str, *words: str) -> Result:
    return CliRunner().invoke(getattr(pipeline, command), words)


def test_a_command_runs_its_step_and_says_what_it_did(project: Project) -> None:
    done = call("ingest")
    assert done.output.startswith("✓ ingest    2,000 rows, 11 columns  ") and done.output.endswith(" s\n")


def test_run_does_the_same(project: Project) -> None:
    assert call("run", "ingest").output.startswith("✓ ingest    2,000 rows")


def test_hooks_are_called_around_a_step(project: Project) -> None:
    (project.root / "src" / project.package / "hooks.py").write_text(HOOKS)
    lines = call("ingest").output.splitlines()
    assert (lines[0], lines[1]) == ("before ingest", "after ingest")


def test_a_step_of_your_own(project: Project) -> None:
    file = project.root / "src" / project.package / "pipeline.py"
    file.write_text(file.read_text() + OWN)
    assert call("run", "tidy").output.startswith("✓ tidy      tidied shop")


@pytest.mark.parametrize("name", ["nothing", "describe", "model"])
def test_what_is_no_step_is_refused_with_the_list_of_steps(project: Project, name: str) -> None:
    error = call("run", name).exception
    assert isinstance(error, LifecycleError) and f"has no function {name}" in str(error)
    assert error.next_step == "it has: ingest, validate, train, evaluate, register"


def test_the_report_compares_with_the_naive_and_the_live_model(project: Project) -> None:
    assert call("evaluate").exit_code == 0
    facts = json.loads(project.metrics.read_text())
    text = call("report").output
    assert text.startswith(f"**MAE {facts['error']:.4g}** on 400 rows that nobody trained on: ")
    assert f"0.0% better than the live model ({facts['live_version']})" in text
    assert f"| latency_ms | {facts['latency_ms']:.4g} |" in text
    assert "```mermaid\nxychart-beta horizontal\n" in text and "x-axis [naive, live, candidate]" in text


def test_the_report_of_a_rejected_candidate_says_so(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIFECYCLE_GATE__MARGIN_OVER_BASELINE", "0.99")
    assert isinstance(call("evaluate").exception, GateRejected)
    text = call("report").output
    assert text.startswith(
        "**The gate rejected this candidate**: `uv run lifecycle evaluate` says why.\n\n**MAE "
    )


def test_there_is_no_report_before_a_candidate(project: Project) -> None:
    project.metrics.unlink()
    assert "metrics.json is not here" in str(call("report").exception)

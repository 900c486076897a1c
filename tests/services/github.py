"""Runs a GitHub Actions workflow on this machine: its jobs in order, each in a fresh clone, by their `run`s.

What GitHub itself brings (checking out, uv, artifacts, a role in AWS, signing) is done or recorded here; any
other action is refused, and so is an expression that this does not understand.
"""

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

TOKENS = re.compile(r"\s*('(?:[^']|'')*'|\|\||&&|==|!=|[!(),]|[\w.*-]+)")
WORDS = {"||": " or ", "&&": " and ", "!": " not ", "true": "True", "false": "False", "null": "None"}
FUNCTIONS = ("always", "cancelled", "failure", "success", "hashFiles", "startsWith")


@dataclass
class Job:
    """result: success, failure or skipped; ran: what each step was called and how it ended."""

    result: str = "skipped"
    outputs: dict[str, str] = field(default_factory=dict)
    ran: list[tuple[str, str]] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    said: str = ""
    summary: str = ""


@dataclass
class Run:
    """One run of a workflow. event: what started it; vars, secrets: the repository's; role: its AWS keys."""

    workflow: Path
    repository: Path
    folder: Path
    env: dict[str, str]
    event: dict[str, Any]
    vars: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    role: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    github: dict[str, str] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    actions: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def start(self) -> "Run":
        """Run every job, those that others need first, as they stand in the file."""
        for name, job in yaml.safe_load(self.workflow.read_text())["jobs"].items():
            self.jobs[name] = Job()
            needs = job.get("needs", [])
            before = [self.jobs[need].result for need in ([needs] if isinstance(needs, str) else needs)]
            context = self._context()
            ready = all(result == "success" for result in before)
            if ready and truth(job.get("if", "true"), context):
                self._run(name, job, context)
        return self

    def _context(self) -> dict[str, Any]:
        needs = {name: {"result": job.result, "outputs": job.outputs} for name, job in self.jobs.items()}
        github = {
            "event": self.event,
            "ref": "refs/heads/main",
            "actor": "ada",
            "token": "t0ken",
            "run_id": "7",
        }
        github |= {"server_url": "https://github.example.com", "repository": "acme/parcels"} | self.github
        given = {"vars": self.vars, "secrets": self.secrets, "inputs": self.inputs}
        return given | {
            "github": github,
            "needs": needs,
            "steps": {},
            "env": {},
            "job": {"status": "success"},
        }

    def _run(self, name: str, job: dict[str, Any], context: dict[str, Any]) -> None:
        result = self.jobs[name]
        place = self.folder / f"{len(list(self.folder.glob('*')))}-{name}"
        work = place / "work"
        work.mkdir(parents=True)
        context["env"] = {key: fill(value, context) for key, value in job.get("env", {}).items()}
        for step in job["steps"]:
            functions = {"hashFiles": lambda pattern: "x" if list(work.glob(pattern)) else ""}
            condition = str(step.get("if", "success()"))
            if not re.search(r"\b(always|cancelled|failure|success)\(", condition):
                condition = f"success() && ({condition.removeprefix('${{').removesuffix('}}')})"
            if not truth(condition, context, functions):
                result.ran.append((step["name"], "skipped"))
                continue
            ended = self._step(step, context, work, result)
            result.ran.append((step["name"], ended))
            if ended == "failure":
                context["job"]["status"] = "failure"
        result.result = context["job"]["status"]
        result.outputs = {key: fill(value, context) for key, value in job.get("outputs", {}).items()}

    def _step(self, step: dict[str, Any], context: dict[str, Any], work: Path, result: Job) -> str:
        if "uses" in step:
            given = {key: fill(value, context) for key, value in step.get("with", {}).items()}
            self._action(step["uses"].partition("@")[0], given, context, work)
            return "success"
        place = work.parent
        files = {key: place / key.lower() for key in ("GITHUB_OUTPUT", "GITHUB_ENV", "GITHUB_STEP_SUMMARY")}
        for path in files.values():
            path.touch()
        own = {key: fill(value, context) for key, value in step.get("env", {}).items()}
        github = context["github"]
        env = self.env | {f"GITHUB_{key.upper()}": str(github[key]) for key in github if key != "token"}
        env |= {"RUNNER_TEMP": str(place), "CI": "true", **{key: str(path) for key, path in files.items()}}
        (place / "script.sh").write_text(step["run"])
        result.commands += [line.strip() for line in step["run"].splitlines()]
        done = subprocess.run(
            ["bash", "-e", str(place / "script.sh")],
            cwd=work,
            env=env | context["env"] | own,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        result.said += f"▸ {step['name']}\n{done.stdout}{done.stderr}"
        result.summary = files["GITHUB_STEP_SUMMARY"].read_text()
        outputs = _pairs(files["GITHUB_OUTPUT"])
        files["GITHUB_OUTPUT"].unlink()
        context["steps"][step.get("id", step["name"])] = {"outputs": outputs}
        context["env"] |= _pairs(files["GITHUB_ENV"])
        return "failure" if done.returncode else "success"

    def _action(self, action: str, given: dict[str, str], context: dict[str, Any], work: Path) -> None:
        self.actions.append((action, given))
        if action == "actions/checkout":
            subprocess.run(["git", "clone", "--quiet", str(self.repository), str(work)], check=True)
        elif action == "actions/upload-artifact":
            kept = work / given["path"]
            assert kept.exists(), f"{given['path']} is to be kept, and is not there"
            copy = shutil.copytree if kept.is_dir() else shutil.copy
            copy(kept, work.parent / f"kept-{given['name']}")
        elif action == "actions/attest":
            subject = given.get("subject-path")
            assert (work / subject).is_file() if subject else given["subject-name"], given
            assert subject or re.fullmatch("sha256:[0-9a-f]{64}", given["subject-digest"]), given
            assert "sbom-path" not in given or (work / given["sbom-path"]).is_file()
        elif action == "aws-actions/configure-aws-credentials":
            assert given["role-to-assume"] and given["aws-region"], given
            context["env"] |= self.role  # as the action does by GITHUB_ENV, over what the job has set
        else:
            assert action == "astral-sh/setup-uv", f"what does {action} do?"


def _pairs(path: Path) -> dict[str, str]:
    lines = path.read_text().splitlines() if path.exists() else []
    return dict(line.split("=", 1) for line in lines)


def fill(text: Any, context: dict[str, Any]) -> str:
    """Fill in every ${{ … }}."""
    return re.sub(r"\$\{\{(.*?)\}\}", lambda found: _text(value(found[1], context)), str(text))


def _text(found: Any) -> str:
    return "" if found is None else str(found).lower() if isinstance(found, bool) else str(found)


def truth(
    condition: Any, context: dict[str, Any], functions: dict[str, Callable[..., Any]] | None = None
) -> bool:
    expression = str(condition).strip().removeprefix("${{").removesuffix("}}")
    return bool(value(expression, context, functions or {}))


def value(
    expression: str, context: dict[str, Any], functions: dict[str, Callable[..., Any]] | None = None
) -> Any:
    """Evaluate an expression; a name that is not there is the empty string, as good as null here."""
    python, rest = "", expression.strip()
    while rest:
        token = TOKENS.match(rest)
        assert token, f"not understood: {rest}"
        word, rest = token[1], rest[token.end() :].strip()
        if word in WORDS or word in ("==", "!=", "(", ")", ","):
            python += WORDS.get(word, word)
        elif word.startswith("'"):
            python += repr(word[1:-1].replace("''", "'"))
        elif word in FUNCTIONS:
            python += word
        else:
            python += f"look({word!r})"
    status = context["job"]["status"]
    known: dict[str, Any] = {
        "look": lambda path: _look(path, context),
        "always": lambda: True,
        "cancelled": lambda: False,
        "failure": lambda: status == "failure",
        "success": lambda: status == "success",
        "startsWith": lambda text, start: str(text or "").lower().startswith(start.lower()),
    }
    return eval(python, {"__builtins__": {}}, known | (functions or {}))


def _look(path: str, context: dict[str, Any]) -> Any:
    names = path.split(".")
    assert names[0] in context, f"there is no context {names[0]}"
    found: Any = context
    for name in names:
        found = found.get(name, "") if isinstance(found, dict) else ""
    return found

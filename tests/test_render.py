"""What a render looks like: its size, its formatting, its questions. Fast: nothing is installed or run."""

import itertools
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import copier
import pytest
import yaml
from conftest import ROOT, git, render

QUESTIONS = {
    name: question
    for name, question in yaml.safe_load((ROOT / "copier.yml").read_text()).items()
    if not name.startswith("_")
}
ASKED = [name for name, question in QUESTIONS.items() if question.get("when") is not False]
INTERFACE = {  # names and values that are never renamed
    "task": {"regression", "classification"},
    "registry": {"mlflow", "s3"},
    "deploy": {"docker", "kubernetes", "lambda"},
    "orchestrator": {"cron", "prefect", "airflow"},
    "ci": {"github", "gitlab", "none"},
    "observability": {"none", "prometheus"},
    "library": {"vendored", "dependency"},
    "python_version": {"3.11", "3.12", "3.13"},
}
RESERVED = re.compile(r'[<>:"\\|?*]|[. ](/|$)|(^|/)(con|prn|aux|nul|com\d|lpt\d)(\.|/|$)', re.IGNORECASE)
GNU_ONLY = re.compile(
    r"\b(?:sed -i(?!\.)|date -d|readlink -f|grep -P|stat -c|xargs -r|sort -V|base64 -w|sha256sum|flock)\b"
)
Unseen = Callable[[Sequence[Path], Path, str], list[str]]


class ShortForms(yaml.SafeLoader):
    """YAML with the tags of CloudFormation, such as !Ref."""


ShortForms.add_multi_constructor("!", lambda loader, tag, node: node.value)


def values(name: str) -> list[str]:
    choices = QUESTIONS[name]["choices"]
    return list(choices.values()) if isinstance(choices, dict) else choices


def combinations() -> list[dict[str, str]]:
    """Every combination that copier.yml offers: a new choice is tested without anyone's doing.

    With each comes one answer for ci and observability, in turn, so that they meet every two others together.
    library=dependency needs a git server: tests/test_dependency.py.
    """
    in_turn = ("ci", "observability")
    names = [
        name
        for name in ASKED
        if "choices" in QUESTIONS[name] and name not in (*in_turn, "library", "python_version")
    ]
    found = []
    for chosen in itertools.product(*map(values, names)):
        turn = sum(values(name).index(value) for name, value in zip(names, chosen, strict=True))
        answers = dict(zip(names, chosen, strict=True))
        answers |= {name: values(name)[turn % len(values(name))] for name in in_turn}
        if answers["deploy"] == "lambda":
            answers["observability"] = "none"
        found.append(answers)
    return found


@pytest.fixture(scope="session", params=combinations(), ids=lambda answers: "-".join(answers.values()))
def rendered(
    request: pytest.FixtureRequest, template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    return render(template, tmp_path_factory.mktemp("render") / "churn", **request.param)


@pytest.fixture(scope="session")
def unseen() -> Unseen:
    """Leave out files seen before: at the same place, with the same content, under the same rules."""
    seen: set[tuple[str, bytes, str]] = set()

    def new(paths: Sequence[Path], project: Path, rules: str) -> list[str]:
        keys = {str(path): (str(path.relative_to(project)), path.read_bytes(), rules) for path in paths}
        found = [path for path, key in keys.items() if key not in seen]
        seen.update(keys.values())
        return found

    return new


def files(project: Path) -> list[Path]:
    return [project / name for name in git(project, "ls-files", "-z").split("\0") if name]


def test_questions_are_the_interface() -> None:
    for name, allowed in INTERFACE.items():
        assert set(values(name)) <= allowed
    assert set(ASKED) == {"project_name", "package", "description", *INTERFACE}
    for name in ASKED:
        assert QUESTIONS[name]["help"].endswith((".", "?")), f"{name} has no help line"
        assert "default" in QUESTIONS[name], f"--defaults would fail for {name}"


def test_the_budgets_are_kept(rendered: Path) -> None:
    """What a team has to read: the whole render but vendor/, data/ and lock files. Nobody loosens these."""
    counted = [
        path for path in files(rendered) if path.relative_to(rendered).parts[0] not in ("vendor", "data")
    ]
    python = sum(lines(path) for path in counted if path.suffix == ".py")
    answers = yaml.safe_load((rendered / ".copier-answers.yml").read_text())
    default = all(
        answers[name] == question.get("default")
        for name, question in QUESTIONS.items()
        if "choices" in question
    )
    most = (45, 600, 2500) if default else (55, 700, 3000)
    found = (len(counted), python, sum(map(lines, counted)))
    assert all(n <= limit for n, limit in zip(found, most, strict=True)), (found, most)
    assert lines(rendered / "README.md") <= 80
    settings = yaml.safe_load((rendered / "params.yaml").read_text())
    assert sum(map(len, settings.values())) <= 16, "keys of params.yaml"
    shown = subprocess.run(
        ["make", "--no-print-directory"], cwd=rendered, capture_output=True, text=True, check=True
    ).stdout
    assert 10 <= len(shown.splitlines()) <= 14, shown


def test_nearly_all_python_comes_from_files_without_jinja(rendered: Path) -> None:
    python = [path for path in files(rendered) if path.suffix == ".py"]
    jinja = {path.name for path in (ROOT / "template").rglob("*.py.jinja")}
    plain = sum(lines(path) for path in python if f"{path.name}.jinja" not in jinja)
    assert plain >= 0.95 * sum(map(lines, python))


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def test_no_jinja_is_left_and_every_yaml_and_toml_parses(rendered: Path) -> None:
    for path in files(rendered):
        if path.suffix == ".parquet":
            continue
        text = path.read_text()
        assert (text.endswith("\n") and "\r" not in text) or path.name == "py.typed", path
        without_actions = re.sub(r"\$\{\{.*?\}\}", "", text)
        others_braces = path.suffix == ".sh" or "vendor" in path.parts or path.parent.name == "observability"
        assert others_braces or not re.search(r"\{\{|\{%", without_actions), path
        if path == rendered / "deploy/lambda/template.yaml":
            yaml.load(text, ShortForms)
        elif path.suffix in (".yml", ".yaml"):
            list(yaml.safe_load_all(text))
        if path.suffix == ".toml":
            tomllib.loads(text)


def test_rendered_code_is_linted_and_formatted(rendered: Path, unseen: Unseen) -> None:
    settings = tomllib.loads((rendered / "pyproject.toml").read_text())["tool"]["ruff"]
    python = unseen([path for path in files(rendered) if path.suffix == ".py"], rendered, str(settings))
    for words in (["check"], ["format", "--check"]) if python else ():
        run = [sys.executable, "-m", "ruff", *words, "--no-cache", *python]
        done = subprocess.run(run, cwd=rendered, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_template_is_lintable_as_it_stands() -> None:
    run = [sys.executable, "-m", "ruff", "check", "--no-cache", str(ROOT / "template")]
    done = subprocess.run(run, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_yaml_is_tidy(rendered: Path, unseen: Unseen) -> None:
    rules = (
        "{extends: default, rules: {line-length: {max: 120}, document-start: disable, "
        "truthy: {check-keys: false}, comments: {min-spaces-from-content: 1}}}"
    )
    yamls = [path for path in files(rendered) if path.suffix in (".yml", ".yaml")]
    if new := unseen([path for path in yamls if "answers" not in path.name], rendered, rules):
        run = [sys.executable, "-m", "yamllint", "--strict", "-d", rules, *new]
        done = subprocess.run(run, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_only_what_the_answers_ask_for(rendered: Path) -> None:
    """Each file is in expected_files.yaml where these answers find it; and there is no empty folder."""
    answers = yaml.safe_load((rendered / ".copier-answers.yml").read_text())
    listed = yaml.safe_load((Path(__file__).parent / "expected_files.yaml").read_text())
    expected = [name for when, names in listed.items() if meets(answers, when) for name in names.split()]
    rendered_files = [path.relative_to(rendered).as_posix() for path in files(rendered)]
    assert [name for name in rendered_files if not name.startswith("vendor/")] == sorted(expected)
    library = git(ROOT, "ls-files", "template/vendor").split()
    assert [name for name in rendered_files if name.startswith("vendor/")] == [
        n.removeprefix("template/") for n in library
    ]
    empty = [path for path in rendered.rglob("*") if path.is_dir() and not any(path.iterdir())]
    assert [path for path in empty if ".git" not in path.relative_to(rendered).parts] == []


def meets(answers: dict[str, str], when: str) -> bool:
    """Whether answers meet a line such as "deploy=docker|lambda orchestrator=cron", or "always"."""
    if when == "always":
        return True
    conditions = [condition.partition("=") for condition in when.split()]
    return all(answers[name] in given.split("|") for name, _, given in conditions)


def test_scripts_use_what_macos_has_too() -> None:
    """POSIX's shell, and no option that only GNU's tools know; cron.sh alone needs Linux, for flock."""
    scripts = [ROOT / name for name in git(ROOT, "ls-files", "template").split("\n") if ".sh" in name]
    assert scripts and all(path.read_text().startswith(("#!/bin/sh\n", "# Shared by")) for path in scripts)
    makefiles = [
        path for path in (ROOT / "template").rglob("*") if path.name[:8] == "Makefile" or ".mk" in path.name
    ]
    for path in [*scripts, *makefiles]:
        found = GNU_ONLY.findall(path.read_text())
        assert not found or (path.name == "cron.sh" and set(found) == {"flock"}), (path, found)


def test_names_do_on_windows_and_macos(rendered: Path) -> None:
    """No two differ in case only, no reserved name or sign, nothing too deep; scripts may be executed."""
    names = [path.relative_to(rendered).as_posix() for path in files(rendered)]
    assert len({name.casefold() for name in names}) == len(names)
    for name in names:
        assert not RESERVED.search(name) and len(name) < 100 and name.isascii(), name
        path = rendered / name
        assert path.read_bytes().startswith(b"#!") == bool(path.stat().st_mode & 0o111), name


def test_copy_and_update_need_no_trust(template: Path, tmp_path: Path) -> None:
    """unsafe=False is what --trust would lift; and an update that changes nothing changes nothing."""
    repository = tmp_path / "template"
    shutil.copytree(template, repository)
    project = render(repository, tmp_path / "churn")
    copier.run_update(project, defaults=True, overwrite=True, quiet=True, unsafe=False)
    assert git(project, "status", "--porcelain") == ""

    (repository / "template/docs/new.md").write_text("# New\n")
    schema = repository / "template/src/{{ package }}/features.py"
    schema.write_text(schema.read_text() + "\n# from the template\n")
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "A new page, and a change to what is the user's")
    git(repository, "tag", "v99.1.0")
    mine = project / "src/churn/features.py"
    mine.write_text(mine.read_text() + "\n# mine\n")
    (project / "data/recent.parquet").unlink()
    git(project, "add", "-A")
    git(project, "commit", "-qm", "Mine")
    copier.run_update(project, defaults=True, overwrite=True, quiet=True, unsafe=False)
    assert (project / "docs/new.md").exists()
    assert "# mine" in mine.read_text() and "# from the template" not in mine.read_text()
    assert not (project / "data/recent.parquet").exists(), "what the user deleted stays deleted"
    assert git(project, "ls-files", "--unmerged") == ""


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ({"project_name": "Churn"}, "Use lower-case letters, digits and single hyphens"),
        ({"project_name": "a" * 51}, "Keep it to 50 characters"),
        ({"package": "my-model"}, "Use a Python package name"),
        ({"package": "lifecycle"}, "would hide a module"),
        ({"package": "class"}, "would hide a module"),
        ({"package": "click"}, "would hide a module"),
        ({"package": "dataclasses"}, "would hide a module"),
        ({"description": 'say "hi"'}, "without double quotes"),
        ({"registry": "ftp"}, "Invalid choice"),
        ({"library": "dependency"}, "a folder on your machine"),
        ({"deploy": "lambda", "observability": "prometheus"}, "in CloudWatch"),
        ({"deploy": "kubernetes", "project_name": "a" * 45}, "keep project_name to 44 characters"),
    ],
)
def test_a_bad_answer_gets_its_message(
    template: Path, tmp_path: Path, answers: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        render(template, tmp_path / "churn", **answers)
    assert not (tmp_path / "churn").exists(), "nothing is half-written"


@pytest.mark.slow
def test_no_name_that_a_project_can_import_is_left_to_a_package(environment: Path) -> None:
    program = f"import sys; sys.path.insert(0, {str(ROOT / 'scripts')!r}); import names\n"
    program += "print(names.importable() - names.listed(names.QUESTIONS.read_text()))"
    found = subprocess.run([environment / "bin/python", "-c", program], capture_output=True, text=True)
    assert found.stdout == "set()\n", f"run scripts/names.py: {found.stdout}{found.stderr}"


@pytest.mark.parametrize(
    ("folder", "name"), [("churn", "churn"), ("My Model_2", "my-model-2"), ("2025", "deliveries")]
)
def test_the_folder_names_the_project(template: Path, tmp_path: Path, folder: str, name: str) -> None:
    copier.run_copy(str(template), tmp_path / folder, defaults=True, quiet=True)
    answers = yaml.safe_load((tmp_path / folder / ".copier-answers.yml").read_text())
    assert answers["project_name"] == name
    assert answers["package"] == name.replace("-", "_")


def test_a_relative_source_is_kept_whole(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The README says `copier copy . ../churn`; "." would mean the project itself at the next update."""
    monkeypatch.chdir(template)
    project = render(Path("."), tmp_path / "churn")
    monkeypatch.chdir(tmp_path)
    answers = yaml.safe_load((project / ".copier-answers.yml").read_text())
    assert answers["_src_path"] == str(template)
    copier.run_update(project, defaults=True, overwrite=True, quiet=True, unsafe=False)
    assert git(project, "status", "--porcelain") == ""


@pytest.mark.parametrize("kit", sorted((ROOT / "scaffolds").glob("*.yml")), ids=lambda kit: kit.stem)
def test_a_starter_kit_renders_and_says_whom_it_is_for(template: Path, tmp_path: Path, kit: Path) -> None:
    text = kit.read_text()
    assert "# For" in text and "# Outgrown when" in text
    answers = yaml.safe_load(text)
    assert set(answers) <= set(ASKED)
    project = render(template, tmp_path / "churn", **answers)
    kept = yaml.safe_load((project / ".copier-answers.yml").read_text())
    assert {name: kept[name] for name in answers} == answers

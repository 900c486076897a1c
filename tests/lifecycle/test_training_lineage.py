"""What reproduces a training."""

import json
import subprocess

import pandas as pd
import pytest
from lifecycle.model.package import verify
from lifecycle.project import Project
from lifecycle.training import lineage
from projects import LOCK, run


def test_the_manifest_says_what_reproduces_it(project: Project) -> None:
    manifest = verify(project.candidate)
    assert manifest.lock_hash == lineage.lock_hash(project)
    assert len(manifest.data_hash) == 64
    assert manifest.git_commit == ""


def test_only_values_and_their_order_make_the_hash_of_the_data() -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0], "y": ["a", "b"]})
    assert lineage.data_hash(frame) == lineage.data_hash(frame.set_axis([5, 6]))
    assert lineage.data_hash(frame) != lineage.data_hash(frame[::-1])
    assert lineage.data_hash(frame) != lineage.data_hash(frame.assign(x=[1.0, 2.1]))


def test_the_hash_of_the_lock_leaves_the_library_out(project: Project) -> None:
    def hash_of(text: str) -> str:
        (project.root / "uv.lock").write_text(text)
        return lineage.lock_hash(project)

    root = '\n[[package]]\nname = "shop"\n[package.metadata]\nrequires-dist = [\n'
    root += '  { name = "lean-mlops-lifecycle", git = "https://host/it?rev=v1" },\n  { name = "numpy" },\n]\n'
    before = hash_of(LOCK + root)
    assert hash_of(LOCK.replace('"0.1.0"', '"0.2.0"') + root.replace("v1", "v2")) == before
    assert hash_of(LOCK.replace('"2.4.0"', '"2.4.1"') + root) != before
    (project.root / "uv.lock").unlink()
    assert lineage.lock_hash(project) == ""


def test_the_environment_changes_with_the_library_and_with_packages(project: Project) -> None:
    file = project.artifacts / "environment.json"
    before = json.loads(file.read_text())
    assert before == {"library": lineage.library_version(), "lock_hash": lineage.lock_hash(project)}
    (project.root / "uv.lock").write_text(LOCK.replace('"2.4.0"', '"2.4.1"'))
    run(project, "validate")
    assert json.loads(file.read_text())["lock_hash"] != before["lock_hash"]


def test_the_commit(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lineage.git_commit(project.root) == ""
    words = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
    for command in (["init", "--quiet"], ["add", "params.yaml"], ["commit", "--quiet", "-m", "first"]):
        subprocess.run([*words, *command], cwd=project.root, check=True)
    commit = lineage.git_commit(project.root)
    assert len(commit) == 40
    project.params.write_text("# changed\n")
    assert lineage.git_commit(project.root) == f"{commit}-dirty"
    monkeypatch.setenv("GIT_COMMIT", "abc")
    assert lineage.git_commit(project.root) == "abc"

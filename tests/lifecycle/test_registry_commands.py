"""The commands on the registry, as a user types them."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from lifecycle.cli import app
from lifecycle.errors import RegistryError
from lifecycle.model.package import verify
from lifecycle.project import Project
from lifecycle.registry.base import open_registry

sys.path.append(str(Path(__file__).parents[1]))
from registry.support import make_candidate


@pytest.fixture
def run(project: Project) -> Callable[..., str]:
    """Return a function that runs `lifecycle …` and returns what it prints."""

    def call(*words: str) -> str:
        done = CliRunner().invoke(app, words, standalone_mode=False)
        if done.exception:
            raise done.exception
        return done.output

    return call


def test_from_a_promotion_to_a_rollback(project: Project, run: Callable[..., str], tmp_path: Path) -> None:
    first = json.loads(run("versions", "--json"))[0]["version"]
    with pytest.raises(RegistryError, match="no version before"):
        run("rollback")
    second = open_registry(project).publish(make_candidate(tmp_path / "second", 4000))
    assert f"production is {second}, before it was {first}" in run("promote", second, "--by", "Grace")
    assert run("versions").splitlines()[1].split() == [second, "production"]
    assert "worse" in run("rollback", "--why", "worse", "--by", "Ada")
    move = json.loads(run("promote", second, "--json"))
    assert (move["action"], move["version"], move["previous"]) == ("promote", second, first)
    assert f"production is {first}" in run("rollback", "--to", first)
    moves = json.loads(run("history", "--newest", "4", "--json"))
    assert [(move["action"], move["by"]) for move in moves[:2]] == [("promote", "Grace"), ("rollback", "Ada")]
    assert "no reason given" not in run("history") and len(run("history", "--newest", "2").splitlines()) == 3
    assert json.loads(run("prune", "--keep", "1", "--json")) == []
    assert "0 versions deleted" in run("prune")


def test_a_version_is_fetched_and_named(project: Project, run: Callable[..., str], tmp_path: Path) -> None:
    version = verify(project.candidate).version
    assert run("fetch", "--to", str(tmp_path / "model")).strip() == version
    assert verify(tmp_path / "model").version == version


def test_show_says_how_to_make_it_again(project: Project, run: Callable[..., str]) -> None:
    manifest = verify(project.candidate)
    shown = json.loads(run("show", "--json"))
    assert shown["version"] == manifest.version and shown["data_hash"] == manifest.data_hash
    assert shown["rebuild"][0] == f"git worktree add --detach ../rebuild-{manifest.version} HEAD"
    assert shown["rebuild"][-1].endswith("lifecycle evaluate")
    text = run("show", manifest.version)
    assert manifest.data_hash in text and "metrics.error" in text and "not committed" in text


def test_a_hook_of_the_project_hears_of_each_move(project: Project, run: Callable[..., str]) -> None:
    heard = project.root / "heard"
    hooks = project.root / "src" / project.package / "hooks.py"
    hooks.write_text(f"def on_move(move):\n    open({str(heard)!r}, 'a').write(move.action)\n")
    run("promote", "production")
    assert heard.read_text() == "promote"

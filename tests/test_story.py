"""A user's story, as the README tells it: render, set up, check, train, release, serve, watch, roll back.

Nothing is shared with other tests: each project gets its own environment by `make setup`.
"""

import json
import os
import re
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
from conftest import clean_environment, git, render

from lean_mlops.shell import free_port, until_healthy

pytestmark = pytest.mark.slow
HOMES = ["regression-mlflow", "classification-s3"]  # task and registry


class Home:
    """A project with an environment of its own, used by its make verbs only."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def run(self, command: str, ok: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command line as a person would; with ok, a failure shows what was said."""
        done = subprocess.run(
            ["bash", "-ec", command],
            cwd=self.path,
            env=clean_environment(LIFECYCLE_BY="Ada") | env,
            capture_output=True,
            text=True,
        )
        assert not ok or done.returncode == 0, f"$ {command}\n{done.stdout}\n{done.stderr}"
        return done

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Run `make serve`, give its address, and end it as Ctrl-C does."""
        port = free_port()
        server = subprocess.Popen(
            ["make", "serve", f"PORT={port}"],
            cwd=self.path,
            env=clean_environment(),
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            until_healthy(port, server)
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(server.pid, signal.SIGINT)
            server.wait(timeout=30)

    def columns(self, url: str) -> list[str]:
        """Return what the server asks for."""
        with urllib.request.urlopen(f"{url}/openapi.json") as found:
            return list(json.load(found)["components"]["schemas"]["Row"]["properties"])

    def live(self) -> str:
        """Return the version in production."""
        found = json.loads(self.run("uv run lifecycle versions --json").stdout)
        return next(item["version"] for item in found if "production" in item["aliases"])


@pytest.fixture(scope="module", params=HOMES)
def home(request: pytest.FixtureRequest, template: Path, tmp_path_factory: pytest.TempPathFactory) -> Home:
    task, registry = request.param.split("-")
    path = render(template, tmp_path_factory.mktemp("story") / "churn", task=task, registry=registry)
    home = Home(path)
    home.run("make setup")
    return home


def test_a_formatter_changes_nothing(home: Home) -> None:
    home.run("uv run ruff format . && uv run ruff check --fix .")
    assert git(home.path, "status", "--porcelain") == "?? uv.lock\n"
    git(home.path, "add", "uv.lock")
    git(home.path, "commit", "-qm", "Pin what make setup has resolved")


def test_check_is_green(home: Home) -> None:
    assert " passed" in home.run("make check").stdout


def test_retrain_works_once(home: Home) -> None:
    first = home.run("make retrain").stdout
    order = ["ingest", "validate", "train", "evaluate", "register"]
    assert re.findall(r"✓ (\w+)", first) == order
    again = home.run("make retrain").stdout
    assert "✓" not in again, "an unchanged retrain did work twice"
    assert git(home.path, "status", "--porcelain") in ("", "?? dvc.lock\n")


def test_it_beats_the_naive_model(home: Home) -> None:
    facts = json.loads((home.path / "artifacts/metrics.json").read_text())
    assert facts["error"] < 0.7 * facts["baseline"]
    assert "| baseline |" in home.run("uv run lifecycle report").stdout


def test_the_life_of_a_model(home: Home) -> None:
    home.run("make promote WHY='the first'")
    first = home.live()
    with home.serving() as url:
        answer = json.loads(home.run(f"make predict URL={url}").stdout)["answer"]
        assert answer["version"] == first
        sent = home.run(f"make predict URL={url} FILE=data/recent.parquet").stdout
        assert "2,000 rows sent, 0 of them refused" in sent
    assert home.run("uv run lifecycle drift", ok=False).returncode == 2
    verdict = json.loads(home.run("uv run lifecycle drift --json", ok=False).stdout)
    assert verdict["rows"] == 2_001
    drifted = {item["name"] for item in verdict["features"] if item["drifted"]}
    assert {"distance_km", "vehicle", "weather", "courier_months"} <= drifted
    assert "zone" not in drifted
    assert home.run("make drift FILE=artifacts/holdout.parquet").returncode == 0

    data = home.path / "src/churn/data.py"
    data.write_text(
        data.read_text().replace('deliveries.parquet"]', 'deliveries.parquet", "data/recent.parquet"]')
    )
    home.run("make retrain && make promote WHY='learnt the autumn'")
    facts = json.loads((home.path / "artifacts/metrics.json").read_text())
    assert facts["live_version"] == first and facts["error"] < 0.9 * facts["live"]
    second = home.live()
    assert second != first

    home.run("uv run lifecycle rollback --why complaints")
    with home.serving() as url, urllib.request.urlopen(f"{url}/health") as health:
        assert json.load(health) == {"status": "ok", "version": first}
    moves = json.loads(home.run("uv run lifecycle history --json").stdout)
    assert [
        (m["action"], m["version"], m["by"], m["reason"]) for m in moves if m["alias"] == "production"
    ] == [
        ("promote", first, "Ada", "the first"),
        ("promote", second, "Ada", "learnt the autumn"),
        ("rollback", first, "Ada", "complaints"),
    ]


def test_labels_that_come_later_tell_whether_it_is_still_good(home: Home) -> None:
    """Rows are served, their labels come by id: first the true ones, then those of a world that changed."""
    rows = pd.read_parquet(home.path / "data/deliveries.parquet").tail(600)
    target = "late" if 'TARGET = "late"' in (home.path / "src/churn/schema.py").read_text() else "minutes"
    sent = json.loads(rows.to_json(orient="records", date_format="iso"))
    with home.serving() as url:
        names = home.columns(url)
        body = json.dumps([{name: row[name] for name in names} for row in sent]).encode()
        request = urllib.request.Request(f"{url}/predict", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as found:
            ids = json.load(found)["ids"]
    assert home.run("uv run lifecycle performance", ok=False).returncode == 3
    pd.DataFrame({"id": ids, "label": rows[target].to_numpy()}).to_csv(home.path / "labels.csv")
    assert "600 labels kept; 600 are of predictions" in home.run("uv run lifecycle labels labels.csv").stdout
    assert "same: " in home.run("uv run lifecycle performance").stdout
    swapped = {"late": "on_time", "on_time": "late"}
    other = rows[target] + 30 if target == "minutes" else rows[target].map(swapped)
    pd.DataFrame({"id": ids, "label": other.to_numpy()}).to_parquet(home.path / "labels.parquet")
    home.run("uv run lifecycle labels labels.parquet")
    worse = home.run("uv run lifecycle performance --json", ok=False)
    assert worse.returncode == 2 and json.loads(worse.stdout)["verdict"] == "worse"
    for name in ("labels.csv", "labels.parquet"):
        (home.path / name).unlink()


def test_a_worse_model_stops_the_pipeline(home: Home) -> None:
    params = home.path / "params.yaml"
    good = params.read_text()
    params.write_text(good.replace("max_iter: 300", "max_iter: 1"))
    done = home.run("make retrain", ok=False)
    assert done.returncode != 0
    assert "the gate rejects this candidate" in done.stderr and "✓ register" not in done.stdout
    params.write_text(good)
    home.run("make retrain")


# The pages are the same for every task: once is enough.
once = pytest.mark.parametrize("home", HOMES[1:], indirect=True)


@pytest.mark.parametrize("section", ["Failed gate", "Drift", "Performance", "Retraining", "Alerts"])
@once
def test_every_command_of_a_runbook_works(home: Home, section: str) -> None:
    blocks = commands(
        (home.path / "docs/runbooks.md").read_text().split(f"\n## {section}\n")[1].split("\n## ")[0]
    )
    assert blocks
    for block in blocks:
        prove(home, block)


def prove(home: Home, command: str) -> None:
    """Run a command; a check must come to a verdict, whose exit code make turns into a failure."""
    drift = "drift" in command or "performance" in command
    done = home.run(command, ok=not drift)
    verdicts = ("no drift: ", "drift: moved: ", "insufficient data: ", "same: ", "worse: ", '"verdict": ')
    assert not drift or any(verdict in done.stdout for verdict in verdicts), done.stdout + done.stderr


def commands(text: str) -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```", text, flags=re.M | re.S)


ELSEWHERE = {  # proved by other tests, because they need Docker, a crontab or a newer template
    "make deploy": "test_docker_release.py",
    "make deploy CANARY=10": "test_docker_traffic.py",
    "make drill": "test_docker_traffic.py",
    "make observe": "test_observability.py",
    "make status": "test_docker_release.py",
    "make rollback": "test_docker_release.py",
    "make schedule": "test_cron.py",
    "make audit": "test_ci.py",
    "uv run lifecycle simulate": "test_simulate.py",
    "make update": "test_make_update.py",
}


@pytest.mark.base
@once
def test_every_command_of_the_checklist_works(home: Home) -> None:
    lines = [line for line in (home.path / "docs/checklist.md").read_text().splitlines() if line[:3] == "- ["]
    proofs = {line: re.findall(r"`([^`]+)`", line)[0] for line in lines}
    assert len(proofs) == len(lines) > 15
    for proof in set(proofs.values()) - set(ELSEWHERE):
        if (home.path / proof).exists() or proof == "API_KEY":
            continue
        if proof.startswith("curl"):
            with home.serving() as url:
                assert "predicted_rows_total" in home.run(proof.replace("http://127.0.0.1:8000", url)).stdout
        else:
            prove(home, proof)


def test_make_and_make_more_list_every_verb(home: Home) -> None:
    shown = set(re.findall(r"^  make ([\w-]+)", home.run("make && make more").stdout, flags=re.M))
    text = "".join((home.path / file).read_text() for file in ("Makefile", "deploy/docker/verbs.mk"))
    phony = " ".join(re.findall(r"^\.PHONY: (.*)$", text, flags=re.M))
    assert shown | {"help"} == set(phony.split())

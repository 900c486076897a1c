"""Rules, dashboard, and the chain request → Prometheus → Alertmanager → webhook → retraining, for real."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT, Project, clean_environment, render
from services.heard import Heard, listening
from services.orchestrators import call, reached
from services.troubles import CRASH, until, with_environment

from lean_mlops.shell import free_port

pytestmark = pytest.mark.slow

FOLDER = ROOT / "template/observability"
SERIES = ROOT / "tests/rules_test.yml"
TOKEN = "a-token-of-enough-length"
BOARD = json.loads((FOLDER / "dashboard.json").read_text())


def tool(*words: str, cwd: Path = FOLDER) -> str:
    assert shutil.which(words[0]), f"{words[0]} is not installed: sudo sh scripts/debian.sh prometheus"
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.prometheus
def test_the_rules_are_right_and_each_is_shown_firing(tmp_path: Path) -> None:
    tool("promtool", "check", "rules", "rules.yml")
    for file in (FOLDER / "rules.yml", SERIES):
        shutil.copy(file, tmp_path)
    tool("promtool", "test", "rules", SERIES.name, cwd=tmp_path)
    rules = set(re.findall(r"alert: (\w+)", (FOLDER / "rules.yml").read_text()))
    firing = SERIES.read_text().partition("all goes wrong")[2]
    assert rules == set(re.findall(r"alertname: (\w+)", firing)), "a rule that never fired proves nothing"


def test_a_rule_that_rolls_back_says_how_long_its_errors_had_lasted() -> None:
    rules = [
        rule
        for group in yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"]
        for rule in group["rules"]
    ]
    rolling = [rule for rule in rules if rule["labels"]["action"] == "roll back"]
    assert len(rolling) == 2
    assert all(rule["annotations"]["for"] == rule["for"] for rule in rolling)


@pytest.mark.prometheus
def test_a_rule_that_does_not_fire_is_found_out(tmp_path: Path) -> None:
    for file in (FOLDER / "rules.yml", SERIES):
        shutil.copy(file, tmp_path)
    rules = (tmp_path / "rules.yml").read_text()
    (tmp_path / "rules.yml").write_text(
        rules.replace("> 0.05\n          and sum", "> 0.5\n          and sum")
    )
    words = ["promtool", "test", "rules", "rules_test.yml"]
    assert subprocess.run(words, cwd=tmp_path, capture_output=True).returncode == 1


@pytest.mark.prometheus
def test_the_configurations_are_valid(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
    (tmp_path / "token").write_text(TOKEN)
    tool("promtool", "check", "config", "prometheus.yml", cwd=tmp_path)
    assert "1 receivers" in tool("amtool", "check-config", "alertmanager.yml", cwd=tmp_path)


def test_the_compose_file_is_valid() -> None:
    checker = str(Path(sys.executable).with_name("check-jsonschema"))
    tool(checker, "--builtin-schema", "vendor.compose-spec", "compose.yaml")


def test_the_dashboard_is_tidy() -> None:
    panels = BOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken and place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells
        assert panel["fieldConfig"]["defaults"]["unit"] and panel["type"] in ("stat", "timeseries")
        assert panel["datasource"] == {"type": "prometheus", "uid": "prometheus"}
        assert panel["targets"] and all(
            target["expr"] and target["legendFormat"] for target in panel["targets"]
        )
    given = yaml.safe_load((FOLDER / "compose.yaml").read_text())["configs"]["grafana"]["content"]
    assert yaml.safe_load(given)["datasources"][0]["uid"] == "prometheus"


@pytest.mark.parametrize(
    ("tools", "says"),
    [("make sh", "Docker with its Compose plugin is not here"), ("make sh docker", "TOKEN is not set")],
)
def test_make_observe_says_what_is_missing(template: Path, tmp_path: Path, tools: str, says: str) -> None:
    project = render(template, tmp_path / "churn", observability="prometheus")
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in tools.split():
        (folder / name).symlink_to("/bin/true" if name == "docker" else str(shutil.which(name)))
    env = clean_environment(PATH=str(folder))
    make = str(shutil.which("make"))
    done = subprocess.run([make, "observe"], cwd=project, env=env, capture_output=True, text=True)
    assert done.returncode == 2 and says in done.stdout


@dataclass
class Site:
    """A served model, `lifecycle listen`, Prometheus and Alertmanager, all with each other."""

    project: Project
    url: str
    prometheus: str
    heard: Heard
    serve: Callable[[], None]  # starts the server anew, of what is in production by now

    def query(self, expression: str) -> list[dict[str, Any]]:
        asked = urllib.parse.urlencode({"query": expression})
        return call(f"{self.prometheus}/api/v1/query?{asked}")["data"]["result"]


@dataclass
class Server:
    """The process that serves the model."""

    words: list[str]
    options: dict[str, Any]
    running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, or start it anew."""
        self.stop()
        self.running = subprocess.Popen(self.words, **self.options)

    def stop(self) -> None:
        if self.running:
            self.running.terminate()
            self.running.wait()


@pytest.fixture(scope="module")
def site(template: Path, environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    path = render(
        template, tmp_path_factory.mktemp("observed") / "churn", registry="s3", observability="prometheus"
    )
    shutil.copy(environment / "uv.lock", path)
    project = Project(path, environment)
    with_environment(project)
    project.train()
    project.lifecycle("promote", "--why", "first release")
    model, loop, prometheus, alertmanager = (str(free_port()) for _ in range(4))
    folder = path / "artifacts/observed"
    shutil.copytree(path / "observability", folder)
    (folder / "token").write_text(TOKEN)
    for file, changes in {
        "prometheus.yml": {"8000": model, "8100": loop, "9093": alertmanager, "15s": "1s"},
        "alertmanager.yml": {"8100": loop, "group_wait: 10s": "group_wait: 0s"},
        "rules.yml": {
            "for: 5m\n        labels: {severity: warning": "for: 0s\n        labels: {severity: warning",
            "for: 5m\n        labels: {severity: critical": "for: 0s\n        labels: {severity: critical",
            "for: 5m # as above": "for: 0s #",
        },
    }.items():
        text = (folder / file).read_text()
        for old, new in changes.items():
            assert old in text, old
            text = text.replace(old, new)
        (folder / file).write_text(text)
    with ExitStack() as stack:
        heard = stack.enter_context(listening())
        env = project.environment(
            **heard.env,
            PATH=f"{path}/.venv/bin:{os.environ['PATH']}",
            LIFECYCLE_LISTEN_TOKEN=TOKEN,
            LIFECYCLE_RETRAIN__COOLDOWN_HOURS="0",
            WINDOW_SECONDS="1",
        )
        project.env = {name: env[name] for name in env if name.startswith("LIFECYCLE_")}
        lifecycle = str(path / ".venv/bin/lifecycle")
        flags = {"prometheus": "--storage.tsdb.path", "prometheus-alertmanager": "--storage.path"}
        for name, words in {
            "serve": [lifecycle, "serve", "--port", model],
            "listen": [lifecycle, "listen", "--port", loop],
            "prometheus": [
                *("prometheus", f"--config.file={folder}/prometheus.yml"),
                f"--web.listen-address=127.0.0.1:{prometheus}",
            ],
            "prometheus-alertmanager": [
                *("prometheus-alertmanager", f"--config.file={folder}/alertmanager.yml"),
                *(f"--web.listen-address=127.0.0.1:{alertmanager}", "--cluster.listen-address="),
            ],
        }.items():
            words += [f"{flags[name]}={folder}/{name}"] if name in flags else []
            log = stack.enter_context((path / f"artifacts/{name}.log").open("wb"))
            if name == "serve":
                server = Server(words, {"cwd": path, "env": env, "stdout": log, "stderr": log})
                stack.callback(server.stop)
                server.start()
                continue
            running = subprocess.Popen(words, cwd=path, env=env, stdout=log, stderr=log)
            stack.callback(running.wait)
            stack.callback(running.terminate)
        urls = f"http://127.0.0.1:{model}", f"http://127.0.0.1:{prometheus}"
        site = Site(project, *urls, heard, server.start)
        until(lambda: reached(f"{site.url}/health"), "the model")
        until(lambda: reached(f"{site.prometheus}/api/v1/status/config"), "Prometheus")
        yield site


@pytest.mark.prometheus
def test_from_requests_to_a_retraining(site: Site) -> None:
    project = site.project
    sent = project.lifecycle("predict", "--file", "data/recent.parquet", "--url", site.url)
    assert "2,000 rows sent" in sent.stdout
    time.sleep(2)  # the server writes its counts every second
    assert project.lifecycle("due", ok=False).returncode == 2
    (verdict,) = until(lambda: site.query('lifecycle_verdict{verdict="drift"} == 1'), "the verdict's gauge")
    assert verdict["metric"]["job"] == "loop"
    begun = project.path / "registry/state/retraining"
    until(lambda: begun.exists() and json.loads(begun.read_text())["begun"], "a retraining")
    assert json.loads(begun.read_text())["reason"].startswith("alert: ModelDrifted (")
    log = project.path / "artifacts/cron.log"
    until(lambda: log.exists() and "retrain: exit code 0" in log.read_text(), "its end")
    versions = json.loads(project.lifecycle("versions", "--json").stdout)
    assert [item["aliases"] for item in versions] == [["staging"], ["production"]]


@pytest.mark.prometheus
def test_the_loop_gives_its_metrics_to_those_who_may(site: Site) -> None:
    assert {item["metric"]["job"]: item["value"][1] for item in site.query("up")} == {
        "model": "1",
        "loop": "1",
    }
    assert site.query('topk(1, lifecycle_feature_ks{feature="distance_km"})')[0]["value"][1] > "0.1"


@pytest.mark.prometheus
@pytest.mark.parametrize("panel", BOARD["panels"], ids=lambda panel: panel["title"])
def test_every_panel_shows_something(site: Site, panel: dict[str, Any]) -> None:
    """Each query is run; where a panel has one for each task, the other task's is empty.

    Waits for the scrape: the one that follows the retraining's end may still be on its way.
    """
    some = panel["title"] == "What is predicted" or "refused" in panel["title"]

    def found() -> bool:
        return (any if some else all)([site.query(target["expr"]) for target in panel["targets"]])

    until(found, str(panel["targets"]))


@pytest.mark.prometheus
def test_a_release_that_crashes_is_rolled_back(site: Site) -> None:
    """It passes its health check, and fails for requests of two rows; all but the deployment is real."""
    project = site.project
    first = project.lifecycle("fetch", "production", "--to", "build/first").stdout.strip()
    project.lifecycle("promote", "--why", "the autumn")
    project.edit("src/churn/features.py", *CRASH)
    site.serve()
    until(lambda: reached(f"{site.url}/health"), "the model")
    row = json.loads((project.path / "build/first/manifest.json").read_text())["fixture"]["row"]

    def rolled_back() -> bool:
        for body in (row, [row, row]):
            asked = urllib.request.Request(f"{site.url}/predict", json.dumps(body).encode())
            asked.add_header("Content-Type", "application/json")
            with suppress(urllib.error.HTTPError), urllib.request.urlopen(asked, timeout=10) as answer:
                answer.read()
        return json.loads(project.lifecycle("history", "--json").stdout)[-1]["action"] == "rollback"

    until(rolled_back, "the rollback")
    move = json.loads(project.lifecycle("history", "--json").stdout)[-1]
    assert move["version"] == first and "ModelErrorsHigh" in move["reason"]
    until(lambda: any(f"rolled back to {first}" in text for text in site.heard.done), "the alert")

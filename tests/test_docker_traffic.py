"""What happens to requests: canaries, drills under load, HTTPS."""

import contextlib
import http.client
import itertools
import json
import random
import re
import signal
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from services.site import ONE, TWO, Site
from services.troubles import CRASH

pytestmark = [pytest.mark.docker, pytest.mark.slow]
CANARY = {"CANARY": "50", "CANARY_SECONDS": "8", "CANARY_REQUESTS": "100"}


@contextlib.contextmanager
def requests(site: Site, rows_each: int = 1) -> Iterator[list[str]]:
    """Send real rows without pause; collect the versions that answer, and "" for a lost request."""
    rows = [
        pair["row"] for pair in json.loads((site.fetched(site.new) / "manifest.json").read_text())["smoke"]
    ]
    answers: list[str] = []
    over = threading.Event()

    def send() -> None:
        while not over.wait(0.01):
            try:
                # In turn, each of the two would always get the same rows.
                status, answer = site.call("/predict", random.choices(rows, k=rows_each))
                answers.append(answer["version"] if status == 200 else "")
            except (OSError, ValueError):
                answers.append("")

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield answers
    finally:
        over.set()
        thread.join()


def test_a_canary_that_is_as_good_gets_all_of_the_traffic(site: Site) -> None:
    site.release(site.old)
    with requests(site) as answers:
        said = site.release(site.new, **CANARY)
    assert f"50 % of the requests go to {site.new} for 8 s" in said
    assert re.search(
        r"old: [1-9]\d+ requests, 0 failed, p95 .*\n +new: [1-9]\d+ requests, 0 failed, p95 ", said
    )
    assert site.live() == site.new and site.record("canary") == "0"
    assert set(answers) == {site.old, site.new}, "a request was lost"
    turns = len(list(itertools.groupby(answers)))
    assert turns > 50, "the two shared the traffic"


def test_a_canary_that_predicts_otherwise_is_stopped(site: Site) -> None:
    site.release(site.new)
    poor = {"LIFECYCLE_MODEL__MAX_ITER": "1", "LIFECYCLE_GATE__COMPARE_WITH_LIVE": "false"}
    for step in ("train", "evaluate", "register"):
        site.lifecycle(step, LIFECYCLE_GATE__MARGIN_OVER_BASELINE="-9", **poor)
    crude = site.lifecycle("fetch", "staging", "--to", str(site.path / "build/model")).stdout.strip()
    with requests(site) as answers:
        said = site.release(crude, "build/model", ok=False, **CANARY)
    assert "it predicts otherwise on the same traffic" in said and "is not to have more than 50 %" in said
    assert f"live:  {site.new}" in said
    assert set(answers) == {site.new, crude}, "a request was lost"
    assert site.live() == site.new and site.record("canary") == "0"
    assert site.containers()["churn-green"] == "exited"


def test_a_canary_that_crashes_is_removed(site: Site, tmp_path: Path) -> None:
    """It passes its health check and its smoke test, and fails for requests of two rows."""
    site.release(site.old)
    crashes = "20990101T000000Z-crashes"
    features = site.path / "src/churn/features.py"
    good = features.read_text()
    site.edit("src/churn/features.py", *CRASH)
    try:
        site.build(crashes, site.another(crashes, tmp_path / "model"))
    finally:
        features.write_text(good)
    with requests(site, rows_each=2) as answers:
        said = site.script("release", crashes, ok=False, **CANARY).stderr
    assert re.search(r"\d\d\.\d% of its requests failed, 0\.0% of the old version's", said), said
    assert f"{crashes} is not to have more than 50 %" in said and site.live() == site.old
    assert set(answers) == {site.old, ""} and site.record("canary") == "0"


def test_a_canary_without_requests_is_no_evidence(site: Site) -> None:
    site.release(site.old)
    said = site.release(site.new, ok=False, CANARY="10", CANARY_SECONDS="1")
    assert "0 requests are too few to judge by (100)" in said
    assert site.live() == site.old
    wrong = site.release(site.new, ok=False, CANARY="100")
    assert "CANARY is 100" in wrong and "from 1 to 99" in wrong


def test_a_canary_that_is_killed_is_seen_and_undone(site: Site) -> None:
    site.release(site.old)
    site.build(site.new)
    command = ["deploy/docker/release.sh", site.new]
    process = subprocess.Popen(command, cwd=site.path, env=site.environment(CANARY="50"), stderr=-1)
    while site.record("canary") != "50":
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    state = site.script("status").stdout
    assert f"canary:   50 % of the requests go to {site.new}" in state and "under way, or killed" in state
    undone = site.script("rollback")
    assert undone.stdout == f"{site.old}\n" and "a release was stopped halfway" in undone.stderr
    assert site.record("canary") == "0" and site.containers()["churn-green"] == "exited"


def test_many_requests_that_wait_do_not_end_the_proxy(deployed: Site) -> None:
    """Each waits in the proxy's memory until a server answers it, and takes only what its body has."""
    body = {"text": "x" * 10_000}
    for _ in range(2):  # memory that is given out again is written to, whole
        deployed.docker("pause", deployed.container)
        with ThreadPoolExecutor(300) as pool:
            waiting = [pool.submit(deployed.call, "/predict", body) for _ in range(300)]
            time.sleep(2)
            deployed.docker("unpause", deployed.container)
            statuses = [done.result()[0] for done in waiting]
        assert statuses == [200] * 300
    state = deployed.inspect("churn-proxy", ".")
    assert (state["RestartCount"], state["State"]["OOMKilled"]) == (0, False)


def test_a_body_larger_than_any_that_is_taken_does_not_reach_a_server(deployed: Site) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", deployed.port, timeout=20)
    for size, status in ((1_900_000, 200), (2_000_001, 413)):
        connection.request("POST", "/predict", b"x" * size)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status


def test_the_drill_loses_no_request_and_writes_its_table(site: Site) -> None:
    site.release(site.new)
    done = site.run("make", "drill", "FLAGS=--releases 2 --rate 100")
    print(f"\n{done.stdout}")
    facts = json.loads((site.path / "docs/evidence/drill.json").read_text())
    acts = {name: [act for act in facts["acts"] if act["name"] == name] for name in ("release", "rollback")}
    assert [len(same) for same in acts.values()] == [2, 2]
    kept = [act for act in facts["acts"] if act["name"] != "proxy restarted"]
    assert sum(act["requests"] for act in kept) > 1000
    assert sum(act["lost"] for act in kept) == 0
    page = (site.path / "docs/evidence/drill.md").read_text()
    assert (
        "| rollback | 2 | " in page
        and "| container killed | 1 | " in page
        and "100 requests a second" in page
    )
    assert site.live() == site.new, "what serves is not touched"
    assert set(site.containers()) == {"churn-blue", "churn-proxy"}, "nothing of the drill is left"


def test_the_drill_counts_what_is_lost(site: Site) -> None:
    """A rollback that stops the old version before it starts the new one is not called harmless."""
    script = site.path / "deploy/docker/rollback.sh"
    whole = script.read_text()
    broken = whole.replace(
        'lock "$REPOSITORY:$now"\n', 'lock "$REPOSITORY:$now"\ndocker stop "$NAME-proxy" >/dev/null\n'
    )
    assert broken != whole
    script.write_text(broken)
    try:
        done = site.run("make", "drill", "FLAGS=--releases 1 --rate 50", ok=False)
    finally:
        script.write_text(whole)
    assert done.returncode and re.search(r"[1-9]\d* requests were lost", done.stderr)
    assert re.search(r"\n    [1-9]\d* times: .*/predict cannot be reached", done.stdout), (
        "it does not say why"
    )


def test_a_domain_is_served_over_https_for_that_name_only(light: Site) -> None:
    """With the proxy's own certificate: Let's Encrypt's needs a domain that the world can reach."""
    (light.path / ".env").write_text("SECRET=hunter2\nDOMAIN=churn.test\n")
    try:
        said = light.release(ONE, ACME_SERVER="https://127.0.0.1:1/directory")
        assert "and https://churn.test" in said
        assert light.script("status", ONE).returncode == 0
        light.release(TWO, ACME_SERVER="https://127.0.0.1:1/directory")
        unchecked = ssl._create_unverified_context()
        asked = urllib.request.Request("https://127.0.0.1/health", headers={"Host": "churn.test"})
        with urllib.request.urlopen(asked, timeout=10, context=unchecked) as answer:
            assert json.load(answer)["version"] == TWO
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen("https://127.0.0.1/health", timeout=10, context=unchecked)
        plain = light.run("sh", "-c", "python - <<'X'\n" + REDIRECT + "X\n").stdout
        assert plain.split() == ["301", "https://churn.test/health"]
    finally:
        (light.path / ".env").write_text("SECRET=hunter2\n")


REDIRECT = """\
import http.client
connection = http.client.HTTPConnection("127.0.0.1", 80)
connection.request("GET", "/health", headers={"Host": "churn.test"})
answer = connection.getresponse()
print(answer.status, answer.getheader("Location"))
"""

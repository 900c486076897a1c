"""Releases, rollbacks and status by the scripts and the verbs, on a real Docker engine."""

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from services.site import ONE, TWO, Site, free_port

pytestmark = [pytest.mark.docker, pytest.mark.slow]


def test_roll_back_to_the_version_before_without_build_or_download(site: Site) -> None:
    site.release(site.old)
    site.release(site.new, WHY="fewer trees")
    assert site.live() == site.new
    assert site.colours() == {"blue": (site.old, "exited"), "green": (site.new, "running")}

    site.calls.write_text("")
    done = site.script("rollback")
    assert done.stdout == f"{site.old}\n"
    assert site.live() == site.old
    assert site.colours() == {"blue": (site.old, "running"), "green": (site.new, "exited")}
    used = {line.split()[0] for line in site.calls.read_text().splitlines()}
    assert used <= {"ps", "container", "inspect", "create", "start", "stop", "rm", "exec"}
    creations = [line for line in site.calls.read_text().splitlines() if line.startswith("create")]
    assert all("--name churn-lock" in line for line in creations)

    again = site.script("rollback", ok=False)
    assert again.returncode == 1 and not again.stdout
    assert f"there is no version before {site.old} here" in again.stderr
    assert "make deploy VERSION=" in again.stderr
    assert site.live() == site.old


def test_a_damaged_model_never_takes_over(site: Site, tmp_path: Path) -> None:
    site.release(site.old)
    since = site.inspect("churn-blue", ".State.StartedAt")
    folder = site.another("20990101T000000Z-damaged", tmp_path / "model")
    model = folder / "model.onnx"
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data)
    said = site.release("20990101T000000Z-damaged", str(folder), ok=False)
    assert "is not the file that was published" in said, "the container's last words are shown"
    assert "20990101T000000Z-damaged is not fit to serve" in said and f"live:  {site.old}" in said
    assert site.inspect("churn-blue", ".State.StartedAt") == since
    assert site.live() == site.old


def test_a_server_that_predicts_otherwise_than_at_the_gate_never_takes_over(
    site: Site, tmp_path: Path
) -> None:
    """Its health check, which asks for one row, is content; the smoke test asks for all that came along."""
    site.release(site.old)
    version = "20990101T000000Z-otherwise"
    folder = site.another(version, tmp_path / "model")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert len(manifest["smoke"]) == 20
    manifest["smoke"][7]["prediction"]["prediction"] += 1
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2))
    said = site.release(version, str(folder), ok=False)
    assert "row 9: {'prediction'" in said and "at the gate" in said
    assert site.live() == site.old


def test_a_release_that_failed_leaves_the_way_back(deployed: Site, tmp_path: Path) -> None:
    three = "20260101T000000Z-three"
    deployed.image(three, tmp_path / three, 'CMD ["false"]')
    said = deployed.release(three, str(tmp_path), ok=False)
    assert f"{three} is not fit to serve" in said and f"live:  {TWO}" in said
    assert deployed.colours() == {"blue": (ONE, "created"), "green": (TWO, "running")}
    assert deployed.script("rollback").stdout == f"{ONE}\n"
    assert deployed.live() == ONE


def test_a_taken_port_leaves_the_old_version_serving(light: Site, taken: int) -> None:
    said = light.release(ONE, ok=False, PORT=str(taken))
    assert f"127.0.0.1:{taken} cannot be listened on" in said and "PORT=8001" in said
    assert light.record("colour") == ""
    assert light.script("status", ok=False).returncode == 3

    light.release(ONE)
    said = light.release(TWO, ok=False, PORT=str(taken))
    assert f"127.0.0.1:{taken} cannot be listened on" in said and f"live:  {ONE}" in said
    assert light.live() == ONE
    other, third = free_port(), free_port()
    light.release(TWO, PORT=str(other))
    assert light.live(other) == TWO
    light.release(TWO, PORT=str(third))
    assert light.live(third) == TWO, "the same version moves to another port"


def test_a_rollback_from_a_version_that_no_longer_serves_is_refused(deployed: Site) -> None:
    done = deployed.script("rollback", ok=False, FROM=ONE)
    assert done.returncode == 6 and f"{TWO} serves here by now, not {ONE}" in done.stderr
    assert deployed.live() == TWO
    assert deployed.script("rollback", FROM=TWO).stdout == f"{ONE}\n"


def test_a_rollback_that_fails_puts_back_what_served(deployed: Site) -> None:
    label = f"org.opencontainers.image.version={ONE}"
    deployed.docker("rm", "churn-blue")
    deployed.docker("create", "--name", "churn-blue", "--label", label, f"churn:{TWO}", "false")
    done = deployed.script("rollback", ok=False)
    assert done.returncode == 1 and not done.stdout
    assert f"{ONE} did not get healthy" in done.stderr and f"live:  {TWO}" in done.stderr
    assert deployed.live() == TWO


def test_the_same_version_is_left_alone_unless_asked(deployed: Site) -> None:
    since = deployed.inspect("churn-green", ".State.StartedAt")
    assert "serves already" in deployed.release(TWO)
    assert deployed.inspect("churn-green", ".State.StartedAt") == since
    deployed.release(TWO, AGAIN="1", API_KEY="hunter2")
    assert "API_KEY=hunter2" in deployed.inspect(deployed.container, ".Config.Env")
    assert deployed.colours() == {"blue": (TWO, "running"), "green": (ONE, "created")}
    assert deployed.script("rollback").stdout == f"{ONE}\n", "the way back stays the version before"
    assert deployed.live() == ONE


def test_the_api_key_is_passed_on_and_never_on_a_command_line(site: Site) -> None:
    (site.path / ".env").write_text("SECRET=hunter2\nAPI_KEY=hunter2\n")
    try:
        site.release(site.new)
    finally:
        (site.path / ".env").write_text("SECRET=hunter2\n")
    row = json.loads((site.fetched(site.new) / "manifest.json").read_text())["fixture"]["row"]
    assert site.call("/predict", row)[0] == 401
    assert site.call("/predict", row, **{"X-API-Key": "hunter2"})[0] == 200
    assert "hunter2" not in site.calls.read_text()
    assert not any("SECRET" in line for line in site.inspect(site.container, ".Config.Env"))


def test_status_says_what_is_there_and_fails_when_it_is_not_what_should_be(light: Site) -> None:
    nothing = light.script("status", ok=False)
    assert nothing.returncode == 3 and "nothing of churn is deployed here" in nothing.stderr
    light.release(ONE)
    light.release(TWO, WHY="it is better")
    fine = light.script("status", TWO).stdout
    assert re.search(rf"^churn-green +{TWO} +Up ", fine, re.M)
    assert re.search(rf"^churn-blue +{ONE} +Exited", fine, re.M)
    assert re.search(rf"^live: +{TWO} \(green\) since 20.*, by \S+@\S+: it is better$", fine, re.M)
    assert re.search(rf"^rollback: {ONE}$", fine, re.M) and fine.endswith(f"answers:  {TWO}\n")
    wrong = light.script("status", ONE, ok=False)
    assert wrong.returncode == 1 and f"{ONE} should be live, not {TWO}" in wrong.stderr
    light.docker("stop", "churn-green")
    down = light.script("status", TWO, ok=False)
    assert down.returncode == 1 and f"{TWO} should answer, but: " in down.stderr
    assert "make rollback" in down.stderr


def test_served_counts_reach_the_host_and_drift_finds_them(site: Site) -> None:
    shutil.rmtree(site.path / "artifacts/windows", ignore_errors=True)
    site.release(site.new)
    site.run("make", "predict", "FILE=data/recent.parquet")
    site.docker("stop", site.container)  # gracefully, so that the last window is written
    windows = list((site.path / "artifacts/windows" / site.new).glob("*.json"))
    assert windows, "SIGTERM did not reach the server"
    done = site.lifecycle("drift", "--json", ok=False)
    smoke = 21
    assert json.loads(done.stdout)["rows"] >= 2000 + 2 * smoke


def test_a_release_by_somebody_else_than_root_writes_files_of_his(site: Site) -> None:
    user = os.geteuid() or 12345
    site.build(site.new)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(site.path / "deploy", Path(folder, "deploy"))
        if os.geteuid() == 0:
            for path in (Path(folder), *Path(folder).rglob("*")):
                os.chown(path, user, user)
            Path(site.env["DOCKER_HOST"].removeprefix("unix://")).chmod(0o666)
        client = str(Path(folder, "bin"))
        os.mkdir(client)
        real = shutil.which("docker", path=site.env["PATH"].split(os.pathsep, 1)[1])
        os.symlink(Path(real or "").resolve(), f"{client}/docker")
        done = subprocess.run(
            ["deploy/docker/release.sh", site.new],
            cwd=folder,
            env=site.environment(PATH=f"{client}:/usr/local/bin:/usr/bin:/bin", HOME=folder),
            user=user if os.geteuid() == 0 else None,
            group=user if os.geteuid() == 0 else None,
            extra_groups=[] if os.geteuid() == 0 else None,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert site.live() == site.new
        assert Path(folder, "artifacts/windows", site.new).stat().st_uid == user
        site.clean()


def test_the_last_three_images_stay_and_any_that_is_in_use(deployed: Site, tmp_path: Path) -> None:
    """In use: by a container, running or stopped, or by an alias of the registry."""
    versions = [f"20990101T00000{i}Z-later" for i in range(5)]
    for version in versions:
        deployed.image(version, tmp_path / version)
        time.sleep(1.1)  # Docker sorts by the second
    before = set(deployed.images())
    deployed.release(versions[-1], str(tmp_path), KEEP="3")
    assert set(deployed.images()) == before, "by hand nothing is removed: the aliases are not known"
    deployed.release(TWO, KEEP="3", PROTECT=f"{ONE} {versions[0]}")
    left = {name.partition(":")[2] for name in deployed.images()}
    assert left >= {ONE, TWO, versions[0], versions[-1], versions[-2], versions[-3]}
    assert versions[1] not in left
    deployed.clean()
    deployed.docker("rmi", *(f"churn:{version}" for version in versions if version in left))


def test_the_verbs_and_every_command_of_the_runbook(site: Site) -> None:
    site.release(site.old)
    stale = site.run("make", "status", ok=False)
    assert stale.returncode and f"{site.new} should be live, not {site.old}" in stale.stderr
    site.run("make", "deploy")
    assert site.live() == site.new

    page = (site.path / "docs/runbooks.md").read_text().split("\n## Roll back\n")[1].split("\n## ")[0]
    blocks = re.findall(r"^```sh\n(.*?)^```", page, re.M | re.S)
    assert len(blocks) == 2
    said = [site.run("sh", "-euc", block).stdout for block in blocks]
    assert site.live() == site.old
    before, _, after = said[0].partition(f"production is {site.old}")
    assert f"answers:  {site.new}" in before and f"answers:  {site.old}" in after
    assert "churn-proxy" in said[1]
    done = site.run("make", "predict").stdout
    assert f'"version": "{site.old}"' in done
    history = site.run("lifecycle", "history").stdout
    assert re.search(rf"rollback +production +{site.old} .* wrong answers since the last release", history)

    site.clean()
    site.docker("rmi", "--force", f"churn:{site.new}")
    site.run("make", "image", "promote", "WHY=it was something else")
    assert site.docker("images", "--quiet", f"churn:{site.new}")


def test_the_registry_follows_what_serves_after_a_rollback(site: Site, tmp_path: Path) -> None:
    """What served before need not be what had the alias before: it may have been released by name."""
    third = "20990101T000000Z-third"
    folder = site.another(third, tmp_path / "model")
    load = "import pathlib, sys; from lifecycle.registry.base import open_registry"
    load += "; from lifecycle.project import Project"
    publish = f"{load}; print(open_registry(Project.find()).publish(pathlib.Path(sys.argv[1])))"
    assert site.python("-c", publish, str(folder)).stdout == f"{third}\n"
    site.release(third, str(folder))
    site.release(site.new)
    assert f"production is {third}" in site.run("make", "rollback", "WHY=the third was better").stdout
    assert site.live() == third

    moves = len(json.loads(site.lifecycle("history", "--json").stdout))
    site.release(site.new)
    site.run("make", "rollback")
    assert site.live() == third
    assert len(json.loads(site.lifecycle("history", "--json").stdout)) == moves, "it was right already"
    site.run("make", "promote")


def test_without_a_deployment_only_the_registry_is_rolled_back(site: Site) -> None:
    alone = site.script("rollback", ok=False)
    assert alone.returncode == 3 and "nothing of churn is deployed here" in alone.stderr
    done = site.run("make", "rollback", "WHY=no container")
    assert "only the registry is rolled back" in done.stdout
    assert f", before it was {site.new}" in done.stdout
    site.run("make", "promote")


@pytest.mark.parametrize("script", ["release", "rollback", "status"])
def test_without_docker_the_scripts_say_what_to_do(deployed: Site, script: str, tmp_path: Path) -> None:
    words = [TWO] if script == "release" else []
    silent = deployed.script(script, *words, ok=False, DOCKER_HOST=f"unix://{tmp_path}/nothing.sock")
    assert silent.returncode == 1
    assert "Docker does not answer" in silent.stderr and "make serve" in silent.stderr
    for tool in ("sh", "dirname", "sed", "id"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or "")
    client = Path(deployed.env["PATH"].split(os.pathsep)[0], "docker")
    if script == "release":
        for tool in ("docker", "cat", "uname", "sleep", "date"):
            (tmp_path / tool).symlink_to(client if tool == "docker" else shutil.which(tool) or "")
        alone = deployed.script(script, *words, ok=False, PATH=str(tmp_path))
        assert "Docker Compose is not installed here" in alone.stderr
        (tmp_path / "docker").unlink()
    absent = deployed.script(script, *words, ok=False, PATH=str(tmp_path))
    assert absent.returncode == 1
    assert "Docker is not installed" in absent.stderr and "make serve" in absent.stderr

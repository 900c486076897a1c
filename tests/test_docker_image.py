"""What is in the image, and what its container may do."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest
from services import docker
from services.site import Site

pytestmark = [pytest.mark.docker, pytest.mark.slow]
MEGABYTE = 1_000_000


def test_the_containers_may_do_as_little_as_possible_and_the_model_answers(site: Site) -> None:
    said = site.release(site.new)
    assert f"{site.new} serves on 127.0.0.1:{site.port}; before it was nothing" in said
    assert site.containers() == {"churn-blue": "running", "churn-proxy": "running"}
    size = site.inspect(f"churn:{site.new}", ".Size")
    print(f"\nimage: {size / MEGABYTE:.0f} MB")
    assert size < 400 * MEGABYTE

    for name, memory in (("churn-blue", 2**30), ("churn-proxy", 2**28)):
        host = site.inspect(name, ".HostConfig")
        assert host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"] and not host["Privileged"]
        assert host["SecurityOpt"] == ["no-new-privileges:true"]
        assert host["Memory"] == memory and host["PidsLimit"] == 200
        assert host["RestartPolicy"]["Name"] == "unless-stopped"
        assert site.inspect(name, ".Config.User") == f"{os.geteuid() or 10001}:{os.getegid() or 10001}"
        assert not any("docker.sock" in bind for bind in host["Binds"])
    published = [{"HostIp": "127.0.0.1", "HostPort": str(site.port)}]
    assert site.inspect("churn-proxy", ".HostConfig.PortBindings") == {"8000/tcp": published}
    assert site.inspect("churn-blue", ".HostConfig.PortBindings") in (None, {})
    status = site.docker("exec", "churn-blue", "cat", "/proc/1/status")
    assert "CapEff:\t0000000000000000" in status and "NoNewPrivs:\t1" in status
    touch = ("docker", "exec", "--user", "0", "churn-blue", "touch", "/app/model/model.onnx")
    assert "Read-only file system" in site.run(*touch, ok=False).stderr

    fixture = json.loads((site.fetched(site.new) / "manifest.json").read_text())["fixture"]
    code, answer = site.call("/predict", fixture["row"])
    assert (code, answer["version"]) == (200, site.new)
    predicted = answer["predictions"][0]["prediction"]
    assert predicted == pytest.approx(fixture["prediction"]["prediction"], rel=1e-4)


def test_the_image_holds_the_server_and_no_more(site: Site) -> None:
    site.build(site.new)
    image = f"churn:{site.new}"
    modules = "pandas", "scipy", "sklearn", "mlflow", "dvc", "pyarrow"
    find = "import importlib.util as u, sys; print([m for m in sys.argv[1:] if u.find_spec(m)])"
    run = ("run", "--rm", "--network", "none", image)
    assert site.docker(*run, "python", "-c", find, *modules) == "[]"
    assert site.docker(*run, "python", "-c", find, "onnxruntime") == "['onnxruntime']"

    ours = (
        "find . -type f -not -path './.venv/*' -not -path '*/__pycache__/*' -not -path './engine/lifecycle/*'"
    )
    expected = {f"./model/{name}" for name in ("manifest.json", "model.onnx", "profile.json", "schema.json")}
    expected |= {"./src/churn/features.py", "./pyproject.toml"}
    found = set(site.docker(*run, "sh", "-c", ours).split())
    about = {
        name for name in found if re.fullmatch(r"\./engine/lean_mlops_lifecycle-[\d.]+\.dist-info/.*", name)
    }
    assert found - about == expected and any(name.endswith("/METADATA") for name in about)
    whole = site.docker(*run, "sh", "-c", "cat engine/*.dist-info/*.* engine/*.dist-info/[A-Z]*")
    assert "file://" not in whole, "nothing names a folder of the machine that built it"
    compiled = "find engine src -name '*.py' | wc -l; find engine src -name '*.pyc' | wc -l"
    assert len(set(site.docker(*run, "sh", "-c", compiled).split())) == 1, "bytecode of each module"

    everything = site.docker("history", "--no-trunc", image) + json.dumps(site.inspect(image, ".Config"))
    assert not re.search(r"hunter2|API_KEY|pip\.conf|secret|token", everything)
    labels = site.inspect(image, ".Config.Labels")
    assert labels == {
        f"org.opencontainers.image.{key}": v for key, v in (("title", "churn"), ("version", site.new))
    }
    assert site.inspect(image, ".Config.User") == "10001:10001"


def test_only_what_is_allowed_enters_the_build(site: Site, tmp_path: Path) -> None:
    shutil.copytree(site.fetched(site.new), site.path / "build/model", dirs_exist_ok=True)
    site.run("deploy/image.sh", "engine")
    (tmp_path / "Dockerfile").write_text(f"FROM {docker.BASE_IMAGE}\nCOPY . /context\n")
    site.docker("build", "--file", str(tmp_path / "Dockerfile"), "--tag", "context", ".")
    listed = site.docker("run", "--rm", "context", "sh", "-c", "cd /context && find . -type f").split()
    site.docker("rmi", "context")
    allowed = (
        r"\./build/model/\w+\.(json|onnx)",
        r"\./build/engine/lifecycle/[\w/]+\.(py|typed)",
        r"\./build/engine/[\w.-]+\.dist-info/.*",
    )
    others = {name for name in listed if not any(re.fullmatch(rule, name) for rule in allowed)}
    assert others == {"./pyproject.toml", "./uv.lock", "./src/churn/features.py"}


def test_a_new_model_adds_a_layer_of_its_own_size_and_nothing_else(site: Site) -> None:
    for version in (site.old, site.new):
        site.build(version)
    old, new = (site.inspect(f"churn:{version}", ".RootFS.Layers") for version in (site.old, site.new))
    assert old[:-2] == new[:-2] and old[-2] != new[-2]
    sizes = site.docker("history", "--human=false", "--format", "{{.Size}}", f"churn:{site.new}").split()
    model = sum(path.stat().st_size for path in site.fetched(site.new).iterdir())
    assert int(sizes[0]) == 0, "the check of the version writes nothing"
    assert int(sizes[1]) == model


def test_a_change_of_the_engine_leaves_the_third_party_layers(site: Site) -> None:
    site.build(site.new)
    old = site.inspect(f"churn:{site.new}", ".RootFS.Layers")
    changed = site.path / "vendor/lifecycle/src/lifecycle/http.py"
    before = changed.read_text()
    changed.write_text(before + "# a comment\n")
    try:
        site.build(site.new)
        new = site.inspect(f"churn:{site.new}", ".RootFS.Layers")
    finally:
        changed.write_text(before)
    different = [place for place, pair in enumerate(zip(old, new, strict=True)) if len(set(pair)) > 1]
    assert different and min(different) >= len(old) - 5, "engine, pyproject.toml, src, model and its check"
    assert "# a comment" in site.docker(
        "run", "--rm", f"churn:{site.new}", "tail", "-1", "engine/lifecycle/http.py"
    )


def test_the_model_must_be_that_of_the_version(site: Site) -> None:
    folder = str(site.fetched(site.old))
    done = site.script("release", "20990101T000000Z-other", folder, ok=False)
    assert f"{folder} does not hold version 20990101T000000Z-other" in done.stderr
    assert "lifecycle fetch 20990101T000000Z-other --to build/model" in done.stderr
    # Another process may change the folder between that check and the build.
    site.build(site.old)
    mixed = ("build", "--build-arg", "VERSION=20990101T000000Z-other", "--tag", "churn:mixed", ".")
    assert site.run("docker", *mixed, ok=False).returncode
    # And somebody may have moved a tag.
    site.release(site.old)
    site.docker("tag", f"churn:{site.old}", "churn:20990101T000000Z-other")
    said = site.release("20990101T000000Z-other", folder, ok=False)
    site.docker("rmi", "churn:20990101T000000Z-other")
    assert f"should answer as 20990101T000000Z-other, but: {site.old}" in said
    assert site.live() == site.old


def test_an_image_is_pushed_and_pulled_by_digest(site: Site, tmp_path: Path) -> None:
    """A registry of images on loopback: what one machine pushed, another one releases without a build."""
    with docker.image_registry(tmp_path) as address:
        site.build(site.new)
        done = site.run("deploy/image.sh", "push", site.new, IMAGE_REGISTRY=f"{address}/team")
        name = done.stdout.strip()
        assert re.fullmatch(rf"{address}/team/churn@sha256:[0-9a-f]{{64}}", name)
        forget = (f"churn:{site.new}", f"{address}/team/churn:{site.new}")

        site.docker("rmi", "--force", *forget)
        site.calls.write_text("")
        site.release(site.new, IMAGE=name)
        assert "build" not in site.calls.read_text() and site.live() == site.new
        site.clean()
        site.docker("rmi", "--force", *forget)
        site.release(site.new, IMAGE_REGISTRY=f"{address}/team")
        assert site.live() == site.new

        site.clean()
        site.docker("rmi", "--force", *forget)
        said = site.release(site.old, ok=False, IMAGE=name)
        assert f"{name} is {site.new}, not {site.old}" in said and site.containers() == {}
        never = "20990101T000000Z-never"
        gone = site.release(never, "build/model", ok=False, IMAGE_REGISTRY=f"{address}/team")
        assert "cannot be pulled" in gone and f"docker login {address}" in gone
    unset = site.run("deploy/image.sh", "push", site.new, ok=False)
    assert "IMAGE_REGISTRY is not set" in unset.stderr

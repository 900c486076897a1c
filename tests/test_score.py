"""`lifecycle score`: partitioned Parquet in shards, each result written once and whole, bad rows told."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from conftest import ROOT, Project
from pyarrow import fs
from services import ceph

pytestmark = pytest.mark.slow

MONTHS = ("2025-10", "2025-11", "2025-12")


@pytest.fixture(scope="module")
def ready(trained: Path, environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with its model in build/model."""
    copy = tmp_path_factory.mktemp("score") / "churn"
    shutil.copytree(trained, copy, symlinks=True)
    # Rendered for Kubernetes only, but the same file for all.
    shutil.copy(ROOT / "template/src/lifecycle/score.py", copy / "src/lifecycle")
    project = Project(copy, environment, env={"MODEL_DIR": "build/model"})
    project.lifecycle("fetch", "--to", "build/model")
    return project


@pytest.fixture
def project(ready: Project) -> Project:
    """The project with three months of rows under in/, a file each, and no results."""
    for place in ("in", "out"):
        shutil.rmtree(ready.path / place, ignore_errors=True)
    rows = pd.read_parquet(ready.path / "data/deliveries.parquet").head(600)
    for number, month in enumerate(MONTHS):
        write(ready, rows.iloc[number * 200 : (number + 1) * 200], month)
    return ready


def write(project: Project, rows: pd.DataFrame, month: str) -> None:
    folder = project.path / f"in/month={month}"
    folder.mkdir(parents=True, exist_ok=True)
    rows.to_parquet(folder / "part-0.parquet", index=False)


def results(project: Project) -> list[str]:
    """The results that are there, and whatever else lies beside them."""
    return sorted(str(p.relative_to(project.path / "out")) for p in (project.path / "out").rglob("*.*"))


def result(project: Project, month: str) -> pd.DataFrame:
    (file,) = (project.path / "out").glob(f"version=*/month={month}/part-0.parquet")
    return pq.ParquetFile(file).read().to_pandas()


def first_row(project: Project) -> tuple[dict, float]:
    fixture = json.loads((project.path / "build/model/manifest.json").read_text())["fixture"]
    return fixture["row"], fixture["prediction"]["prediction"]


def test_shards_do_each_file_once_and_a_restart_goes_on(project: Project) -> None:
    version = json.loads((project.path / "build/model/manifest.json").read_text())["version"]
    done = project.lifecycle("score", "in", "--to", "out", "--shard", "0/2")
    wanted = [f"version={version}/month={month}/part-0.parquet" for month in MONTHS]
    assert results(project) == [wanted[0], wanted[2]], "no part of another shard, and nothing half-written"
    assert "200 rows, 0 with an error" in done.stdout and "all 2 files are there" in done.stdout

    first = project.path / "out" / wanted[0]
    before = first.stat()
    (project.path / "out" / wanted[2]).unlink()
    done = project.lifecycle("score", "in", "--to", "out", "--shard", "0/2")
    assert done.stdout.count("200 rows") == 1, "only what was missing is done"
    assert (first.stat().st_mtime_ns, first.stat().st_ino) == (before.st_mtime_ns, before.st_ino)

    # As Kubernetes tells a pod of an Indexed Job.
    project.lifecycle("score", "in", "--to", "out", JOB_COMPLETION_INDEX="1", JOB_COMPLETIONS="2")
    assert results(project) == wanted


def test_predictions_are_those_of_the_server(project: Project) -> None:
    row, prediction = first_row(project)
    write(project, pd.DataFrame([row]).astype({"ordered_at": "datetime64[us]"}), MONTHS[0])
    project.lifecycle("score", "in", "--to", "out")
    scored = result(project, MONTHS[0])
    assert scored["prediction"].to_list() == pytest.approx([prediction], rel=1e-4)
    assert set(row) < set(scored.columns), "what a row is known by comes along"


def test_a_bad_row_gets_the_reason_and_the_others_their_prediction(project: Project) -> None:
    rows = result_input(project)
    rows.loc[0, "distance_km"] = -1.0
    rows.loc[1, "distance_km"] = None
    rows["weather"] = rows["weather"].astype(object)
    rows.loc[1, "weather"] = "frogs"
    write(project, rows, MONTHS[0])
    done = project.lifecycle("score", "in", "--to", "out")
    assert "200 rows, 2 with an error" in done.stdout
    scored = result(project, MONTHS[0])
    assert scored["prediction"].isna().to_list() == [True, True] + [False] * 198
    assert scored["error"].isna().to_list() == [False, False] + [True] * 198
    assert "distance_km: number from 0" in scored["error"][0] and "weather: one of" in scored["error"][1]


def result_input(project: Project) -> pd.DataFrame:
    return pd.read_parquet(project.path / f"in/month={MONTHS[0]}/part-0.parquet")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda rows: rows.drop(columns="distance_km"), "there is no column distance_km"),
        (lambda rows: rows.assign(distance_km="far"), "the column distance_km is"),
        (lambda rows: rows.assign(prediction=1.0), "it has a column prediction of its own"),
    ],
)
def test_a_file_that_does_not_fit_is_named_and_the_others_are_scored(
    project: Project, spoil: Callable[[pd.DataFrame], pd.DataFrame], says: str
) -> None:
    write(project, spoil(result_input(project)), MONTHS[0])
    done = project.lifecycle("score", "in", "--to", "out", ok=False)
    assert done.returncode == 4
    assert "1 of 3 files were not scored" in done.stderr and f"month={MONTHS[0]}" in done.stderr
    assert says in done.stderr and "Traceback" not in done.stderr
    assert [name.split("/")[1] for name in results(project)] == [f"month={m}" for m in MONTHS[1:]]


def test_a_torn_file_leaves_nothing_behind_under_a_results_name(project: Project) -> None:
    torn = project.path / f"in/month={MONTHS[0]}/part-0.parquet"
    torn.write_bytes(torn.read_bytes()[:-100])
    done = project.lifecycle("score", "in", "--to", "out", ok=False)
    assert done.returncode == 4 and "1 of 3 files were not scored" in done.stderr
    assert len([name for name in results(project) if name.endswith(".parquet")]) == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["in", "--to", "out", "--shard", "2/2"], "2/2 is no shard"),
        (["nowhere", "--to", "out"], "there is no .parquet file under"),
        (["ftp://in", "--to", "out"], "ftp://in cannot be opened"),
        (["in", "--to", "out", "--model", "data"], "has no manifest.json"),
    ],
)
def test_what_cannot_be_is_said(project: Project, words: list[str], says: str) -> None:
    done = project.lifecycle("score", *words, ok=False)
    assert done.returncode and says in done.stderr and "Traceback" not in done.stderr
    assert not (project.path / "out").exists()


@pytest.mark.s3
def test_a_bucket_does_as_well_as_a_folder(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    with ceph.gateway(tmp_path / "ceph") as gateway:
        env = gateway.user("owner")
        keys = {"access_key": env["AWS_ACCESS_KEY_ID"], "secret_key": env["AWS_SECRET_ACCESS_KEY"]}
        bucket = fs.S3FileSystem(endpoint_override=gateway.url, allow_bucket_creation=True, **keys)
        bucket.create_dir("batch")
        fs.copy_files(str(project.path / "in"), "batch/in", destination_filesystem=bucket)
        monkeypatch.delenv("AWS_REQUEST_CHECKSUM_CALCULATION")  # score must know that by itself
        for words in (["--shard", "0/2"], []):
            done = project.lifecycle("score", "s3://batch/in", "--to", "s3://batch/out", *words, **env)
        assert done.stdout.count("200 rows") == 1, "the second run does what the first left"
        names = [info.path for info in bucket.get_file_info(fs.FileSelector("batch/out", recursive=True))]
        assert len([name for name in names if name.endswith("part-0.parquet")]) == 3
        assert not [name for name in names if "partial" in name]


def test_classes_get_their_probabilities(make_project: Callable[..., Project]) -> None:
    project = make_project(task="classification", deploy="kubernetes")
    project.train()
    project.lifecycle("fetch", "staging", "--to", "build/model")
    rows = pd.read_parquet(project.path / "data/deliveries.parquet").head(50)
    write(project, rows, MONTHS[0])
    project.lifecycle("score", "in", "--to", "out", MODEL_DIR="build/model")
    scored = result(project, MONTHS[0])
    shares = scored.filter(like="probability_")
    assert shares.shape == (50, 2) and shares.sum(axis=1).to_list() == pytest.approx([1.0] * 50)
    best = shares.idxmax(axis=1).str.removeprefix("probability_").to_list()
    assert scored["prediction"].astype(str).to_list() == best

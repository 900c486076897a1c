"""Adopting a file: every fault is reported at once, nothing of yours is lost, and the whole life runs."""

import shlex
import shutil
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd
import pytest
from adopt_tables import adopt, frame, fresh, messy, read, save
from click.testing import CliRunner
from lifecycle.adopt.run import EXAMPLES, FILES, digest, is_edited, new_params
from lifecycle.cli import app
from lifecycle.errors import DataError, SettingsError
from lifecycle.model.predictor import Predictor
from lifecycle.project import VARIABLE, Project
from projects import PACKAGE, STEPS, run
from sklearn import datasets


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project as it was rendered. Project.find() finds it."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "project"))
    return fresh(tmp_path / "project")


def contents(project: Project) -> dict[str, str]:
    """Return the text of each file that adopt may write, by its path."""
    paths = [project.params, *project.root.glob("src/*/*"), *project.root.glob("data/*.csv")]
    return {str(path.relative_to(project.root)): path.read_text() for path in paths if path.is_file()}


def command(*words: str) -> str:
    """Run the command in this process; return what it prints."""
    return CliRunner().invoke(app, words, standalone_mode=False, catch_exceptions=False).output


def tables() -> dict[str, pd.DataFrame]:
    """Return tables that cannot be adopted as they are."""
    rng, data = np.random.default_rng(0), frame()
    late = np.where(data["price"] > data["price"].median(), "late", "early")
    day = [f"{a:02d}/{b:02d}/2025" for a, b in rng.integers(1, 13, (300, 2))]
    odd = data["size"].astype(str).where(data.index != 7, "about 80")
    return {
        "unlabelled": data.assign(price=data["price"].where(data.index > 9)),
        "constant": data.assign(price=1),
        "rare": data.assign(price=np.where(data.index < 3, "a", "b")),
        "times": data.assign(price=pd.date_range("2025-01-01", periods=300).astype(str)),
        "id": data.assign(id=rng.permutation(300) + 5000),
        "uuid": data.assign(order=[f"{i:x}-{i * 7919:x}" for i in range(300)]),
        "note": data.assign(note=[f"please call {i} before noon" for i in range(300)]),
        "rounded": data.assign(y_rounded=data["price"].round()),
        "log": data.assign(log_price=np.log(data["price"] + 100)),
        "code": data.assign(price=late, code=np.where(late == "late", 7, rng.integers(1, 4, 300))),
        "separates": data.assign(price=late, minutes=data["price"]),
        "gaps": data.assign(price=late, fee=np.where(late == "late", rng.normal(0, 1, 300), np.nan)),
        "dates": data.assign(day=day),
        "odd": data.assign(size=odd),
        "infinite": data.assign(size=np.where(data.index == 3, np.inf, data["size"])),
        "few": data.head(20),
        "clean": data,
    }


TEXTS = {
    "twice": b"a,a,price\n" + b"1,2,3\n" * 60,
    "image": b"PK\3\4\0\0\0\0",
    "empty": b"",
    "headless": b"1,2,3\n" * 60,
    "no_rows": b"size,price\n",
    "broken": b"a,price\n1,2\n3,4\n5,6,7,8\n",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    for name, table in tables().items():
        save(table, folder / f"{name}.csv")
    for name, text in TEXTS.items():
        (folder / f"{name}.csv").write_bytes(text)
    return folder


@pytest.mark.parametrize(
    ("name", "words", "says"),
    [
        ("unlabelled", [], ["10 rows have no label", "--drop-unlabelled"]),
        ("constant", [], ["every row has the same value"]),
        ("rare", [], ["fewer than 5 rows: a (3)"]),
        ("times", [], ["price: a time cannot be the target"]),
        ("id", [], ["id: 300 different whole numbers", "--drop id", "--keep"]),
        ("uuid", [], ["order: 300 different texts", "--drop order"]),
        ("note", [], ["note: 300 different texts", "--drop note"]),
        ("rounded", [], ["y_rounded: correlation 1.0000", "--drop y_rounded", "--keep"]),
        ("log", [], ["log_price: correlation 1.0000", "--drop log_price"]),
        ("code", [], ["code: each of its values has one class", "--drop code"]),
        ("separates", [], ["minutes: it alone separates the classes", "--drop minutes"]),
        ("gaps", [], ["fee: missing exactly for some classes", "--drop fee"]),
        ("dates", [], ["day: ", "may be d/m/Y or m/d/Y", "--drop day"]),
        ("odd", [], ["size: is a number, but in some rows 'about 80'", "--drop size"]),
        ("infinite", [], ["size: holds infinite values"]),
        ("few", [], ["20 rows are too few: at least 50"]),
        ("twice", [], ["'a' names more than one column", "fix it, then: "]),
        ("image", [], ["cannot be read as CSV or Parquet"]),
        ("empty", [], ["cannot be read as CSV or Parquet"]),
        ("headless", [], ["first line holds numbers"]),
        ("no_rows", [], ["0 rows are too few"]),
        ("broken", [], ["cannot be read as CSV or Parquet"]),
        ("missing", [], ["No such file"]),
        ("clean", ["--time", "city"], ["--time city: its values are not times"]),
        ("clean", ["--drop", "sise", "--time", "romms"], ["no such column; there is size", "there is rooms"]),
        ("clean", ["--target", "prize"], ["--target prize: no such column; there is price"]),
        ("clean", ["--drop", "price"], ["--target price is also in --drop"]),
        ("clean", ["--task", "classification"], ["classes are too many", "--task regression"]),
    ],
)
def test_what_cannot_be_adopted_is_refused_with_the_way_on(
    project: Project, folder: Path, name: str, words: list[str], says: list[str]
) -> None:
    before = contents(project)
    with pytest.raises(DataError) as error:
        command("adopt", str(folder / f"{name}.csv"), "--target", "price", *words)
    assert error.value.exit_code == 4
    for text in says:
        assert text in f"{error.value}\n{error.value.next_step}"
    assert contents(project) == before, "nothing is written"


def test_everything_is_reported_at_once_and_the_command_it_gives_gets_through(
    project: Project, tmp_path: Path
) -> None:
    data = frame().assign(id=range(300), customer_name=[f"Ms {i:x}" for i in range(300)])
    data["euro cents"] = (data["price"] * 100).round()
    data.loc[5:9, "price"] = np.nan
    file = save(data, tmp_path / "flats.csv")
    with pytest.raises(DataError) as error:
        adopt(project, file)
    assert error.value.next_step == (
        f"uv run lifecycle adopt {file} --target price "
        "--drop-unlabelled --drop id --drop customer_name --drop 'euro cents'"
    )
    said = command(*shlex.split(error.value.next_step)[3:])
    assert "  id             dropped" in said and "as you asked" in said
    assert 'DROPPED = ["id", "customer_name", "euro cents"]' in read(project, "data.py")
    assert run(project, "ingest") == "295 rows, 4 columns"


def test_the_command_it_gives_keeps_the_options_that_were_given(project: Project, tmp_path: Path) -> None:
    data = frame().assign(id=range(300), when=pd.date_range("2025-01-01", periods=300))
    file = save(data.assign(grade=data["rooms"]), tmp_path / "flats.csv")
    with pytest.raises(DataError) as error:
        adopt(project, file, "grade", time="when", task="classification", drop=("price",), keep=("rooms",))
    assert error.value.next_step.endswith(
        "--target grade --time when --drop price --keep rooms --task classification --drop id"
    )


def test_edits_are_not_overwritten_unasked(project: Project, tmp_path: Path) -> None:
    first, second = save(frame(), tmp_path / "a.csv"), save(frame(2000), tmp_path / "b.csv")
    adopt(project, first)
    adopt(project, second)
    assert "max_iter: 300" in project.params.read_text(), "back to what trees take"
    features = project.root / "src" / project.package / "features.py"
    features.write_text(features.read_text().replace("return dict(columns)", "return {**columns}"))
    with pytest.raises(DataError, match=r"you have edited .*/features\.py: --force") as error:
        adopt(project, first)
    assert error.value.next_step.endswith("--force")
    assert "return {**columns}" in read(project, "features.py")
    assert "b.csv" in read(project, "data.py")
    adopt(project, first, force=True)
    assert "return {**columns}" in read(project, "features.py.bak")
    assert "return dict(columns)" in read(project, "features.py")
    assert not features.with_name("data.py.bak").exists(), "only what was edited is kept"


def test_only_the_model_section_of_params_changes(project: Project, tmp_path: Path) -> None:
    before = project.params.read_text()
    adopt(project, save(frame(), tmp_path / "a.csv"))
    after = project.params.read_text()
    assert after == before.replace("  max_iter: 300\n  learning_rate: 0.06\n", "  alpha: 1.0\n") != before


def test_settings_of_your_own_model_are_replaced_only_by_force(project: Project, tmp_path: Path) -> None:
    before = project.params.read_text().replace("max_iter: 300", "max_depth: 3")
    project.params.write_text(before)
    with pytest.raises(DataError, match=r"the model section of .*params\.yaml"):
        adopt(project, save(frame(), tmp_path / "a.csv"))
    adopt(project, tmp_path / "a.csv", force=True)
    assert project.params.with_name("params.yaml.bak").read_text() == before


@pytest.mark.parametrize(
    ("section", "estimator", "expected"),
    [
        ("model: {max_iter: 300, learning_rate: 0.06} # mine\n", "Ridge", "model: # mine\n  alpha: 1.0\n"),
        (
            "model:\n  alpha: 2.0\n",
            "HistGradientBoostingRegressor",
            "model:\n  max_iter: 300\n  learning_rate: 0.06\n",
        ),
        ("model:\n  max_depth: 3\n", "HistGradientBoostingRegressor", "model:\n  max_depth: 3\n"),
        ("gate:\n  parity: 0.1\n", "Ridge", "gate:\n  parity: 0.1\n"),
    ],
)
def test_the_model_section_fits_the_estimator(section: str, estimator: str, expected: str) -> None:
    assert new_params(f"{section}split:\n  seed: 1\n", estimator)[0] == f"{expected}split:\n  seed: 1\n"


def test_a_file_outside_is_copied_and_never_over_another(project: Project, tmp_path: Path) -> None:
    outside, other = save(frame(seed=1), tmp_path / "mine.csv"), save(frame(), tmp_path / "other.csv")
    inside = save(frame(), project.root / "data" / "mine.csv")
    with pytest.raises(DataError, match=r"data/mine\.csv is another file"):
        adopt(project, outside)
    adopt(project, inside)
    assert 'SOURCE = "data/mine.csv"' in read(project, "data.py")
    adopt(project, other)
    assert 'SOURCE = "data/other.csv"' in read(project, "data.py")
    assert (project.root / "data/other.csv").read_bytes() == other.read_bytes()


def test_a_stop_between_two_files_is_repaired_by_the_next_run(project: Project, tmp_path: Path) -> None:
    file, before = save(frame(), tmp_path / "a.csv"), read(project, "model.py")
    adopt(project, file)
    (project.root / "src" / project.package / "model.py").write_text(before)  # as if stopped before the last
    adopt(project, file)
    assert "Ridge" in read(project, "model.py")


def test_broken_settings_are_reported_before_anything_is_written(project: Project, tmp_path: Path) -> None:
    project.params.write_text("model: [\n")
    before = contents(project)
    with pytest.raises(SettingsError, match=r"params\.yaml"):
        adopt(project, save(frame(), tmp_path / "a.csv"))
    assert contents(project) == before


@pytest.mark.parametrize("task", ["regression", "classification"])
@pytest.mark.parametrize("name", FILES)
def test_the_digests_of_the_examples_are_current(task: str, name: str) -> None:
    """The template's own files count as unedited. A failure names what EXAMPLES in adopt/run.py lacks."""
    path = next(path for path in PACKAGE.iterdir() if path.name in (name, f"{name}.jinja"))
    text = jinja2.Template(path.read_text(), keep_trailing_newline=True).render(task=task)
    assert digest(text) in EXAMPLES, f"{task} {name}: {digest(text)}"


@pytest.mark.parametrize("name", ["diabetes", "breast_cancer", "wine"])
def test_the_sets_that_everybody_knows_run_through_the_whole_life(
    project: Project, tmp_path: Path, name: str
) -> None:
    data = getattr(datasets, f"load_{name}")(as_frame=True).frame
    said = command("adopt", str(save(data, tmp_path / f"{name}.csv")), "--target", "target")
    assert "make retrain" in said and (project.root / "data" / f"{name}.csv").exists()
    run(project, *STEPS)
    predictor = Predictor(project.candidate, project.features.build)
    assert predictor.healthy() and predictor.predict([predictor.fixture["row"]])[0]["prediction"] is not None


def test_a_messy_export_runs_through_the_whole_life(project: Project, tmp_path: Path) -> None:
    said = command("adopt", str(messy(tmp_path / "messy.csv")), "--target", "minutes")
    assert "currency" in said and "the same in every row" in said
    run(project, *STEPS)
    assert Predictor(project.candidate, project.features.build).healthy()


def test_files_are_written_without_ruff_too(project: Project, tmp_path: Path, monkeypatch) -> None:
    """After uv sync --no-dev there is none: they are right, but not formatted."""
    shutil.copy(save(frame(), tmp_path / "a.csv"), project.root / "data/a.csv")
    monkeypatch.setattr("sys.executable", "/bin/false")
    adopt(project, project.root / "data/a.csv")
    compile(read(project, "schema.py"), "schema.py", "exec")
    assert not any(is_edited(project.root / "src" / project.package / name) for name in FILES)

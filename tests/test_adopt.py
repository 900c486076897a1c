"""Somebody brings a file of their own: the whole life runs on it, or every reason why not is told."""

import hashlib
import json
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT, Project, git, render
from sklearn import datasets

pytestmark = pytest.mark.slow
FILES = ("data.py", "schema.py", "features.py", "model.py")
RUNNER = """
import json, sys
from lifecycle.cli import app
from lifecycle.errors import LifecycleError
for words in json.load(sys.stdin):
    try:
        app(["adopt", *words], standalone_mode=False)
        told = {"code": 0}
    except LifecycleError as error:
        told = {"code": error.exit_code, "message": str(error), "next": error.next_step}
    print("told:" + json.dumps(told))
"""
LIFE = """
import importlib
from pathlib import Path
import pandas as pd
from lifecycle.steps import evaluate, ingest, register, train, validate
for step in (ingest, validate, train, evaluate, register):
    print(step.run())
from lifecycle.serving.predictor import Predictor
predictor = Predictor(Path("artifacts/candidate"))
assert predictor.healthy()
answer = predictor.predict([predictor.fixture["row"]])[0]
print("answer:", answer["prediction"])
"""

FUZZ = """
import sys
import numpy as np
import pandas as pd
from collections import Counter
from pathlib import Path
from lifecycle import columns
from lifecycle.steps.validate import check
sys.path.insert(0, sys.argv[3])
from lean_mlops.adopt import plan, read

def column(rng, rows):
    numbers = rng.normal(0, 10.0 ** rng.integers(-4, 7), rows)
    days = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 10**6, rows), "min")
    words = rng.choice(["a", "B b", "ü", "x\\ny", "it's", 'q"', "1;2", "3,4", "no", "t"], 6)
    form = rng.choice(["%Y-%m-%d", "%d/%m/%Y", "%m-%d-%Y %H:%M", "%Y-%m-%dT%H:%M:%SZ", "%d.%m.%y"])
    kinds = [
        lambda: numbers.round(rng.integers(0, 6)),
        lambda: np.abs(numbers),
        lambda: rng.integers(-3, 10 ** rng.integers(1, 9), rows),
        lambda: [f"{x:,.2f}" for x in numbers],
        lambda: [f"{x:,.2f}".translate(str.maketrans(",.", ".,")) for x in numbers],
        lambda: [f"{x:.3f}".replace(".", ",") for x in numbers],
        lambda: days.strftime(str(form)),
        lambda: rng.choice(words, rows),
        lambda: rng.choice(["yes", "No ", "YES", "no"], rows),
        lambda: rng.choice(["true", "False"], rows),
        lambda: rng.integers(0, 2, rows),
        lambda: [f"{x:05d}" for x in rng.integers(0, 9, rows)],
        lambda: rng.uniform(0, 1, rows),
    ]
    kind = rng.integers(len(kinds))
    values = pd.Series(kinds[kind]()).astype(object)
    meant = {3: numbers.round(2), 4: numbers.round(2), 5: numbers.round(3), 6: days.floor("D")}.get(kind)
    gaps = rng.random(rows) < rng.choice([0, 0, 0.1, 0.5])
    return values.mask(gaps, rng.choice(["", "NA", "?", " - ", "null", "  "])), meant

told = Counter()
for seed in range(int(sys.argv[1])):
    rng = np.random.default_rng(seed)
    rows = int(rng.integers(50, 200))
    names = ["mean radius", "class", 'a"b', "größe", "x\\ny", "{x}", "1", "y'", "SOURCE", "%s", "a b"]
    names = rng.permutation(names)
    drawn = {name: column(rng, rows) for name in names[: rng.integers(2, 8)]}
    data = pd.DataFrame({name: values for name, (values, _) in drawn.items()})
    data["y"] = rng.normal(0, 1, rows) if rng.random() < 0.5 else rng.choice(["p", "q", "1"], rows)
    path = Path(sys.argv[2]) / "fuzz.csv"
    encoding = rng.choice(["utf-8", "utf-8-sig", "latin-1"])
    data.to_csv(path, sep=rng.choice([",", ";", "\\t", "|"]), index=False, encoding=encoding)
    for parquet in (False, True):
        if parquet:
            path = path.with_suffix(".parquet")
            typed = data.infer_objects()
            typed.astype({name: str for name in typed if typed[name].dtype == object}).to_parquet(path)
        source = read.read(path)
        made = plan.make(source, "data/fuzz", plan.Wish("y", keep=tuple(data.columns.drop("y"))))
        told["refused" if made.faults else "adopted"] += 1
        if made.faults:
            told.update(fault.what.split(":")[-1][-40:] for fault in made.faults)
            continue
        frame = plan.run_load(made.files["data.py"], str(path))
        schema, features, model = {}, {}, {}
        exec(made.files["schema.py"], schema)
        exec(made.files["features.py"], features)
        exec(made.files["model.py"], model)
        try:
            valid = check(frame, schema["SCHEMA"], schema["MAX_NULL_RATE"])
            described = [column for column in made.columns if column.name != "y"]
            inputs = features["build"](columns.from_frame(valid, described))
            for name, (_, meant) in drawn.items():
                if meant is None or name not in valid:
                    continue
                got, meant = valid[name], pd.Series(meant)
                off = (got.dt.floor("D") if got.dtype.kind == "M" else got) - meant
                zero = pd.Timedelta(0) if got.dtype.kind == "M" else 1e-6 * meant.abs().max()
                assert (off.dropna().abs() <= zero).all(), name
        except Exception:
            print("seed", seed, parquet, made.files, source.rows.head())
            raise
        assert all(len(values) == len(valid) for values in inputs.values())
        assert not any(values.dtype.kind == "M" for values in inputs.values())
print("told:", dict(told))
assert told["adopted"] > 4 * told["refused"], told
"""


@pytest.fixture(scope="module")
def fresh(template: Path, environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered project that nobody has touched: copy it."""
    path = render(template, tmp_path_factory.mktemp("fresh") / "churn")
    shutil.copy(environment / "uv.lock", path)
    return path


@pytest.fixture
def project(fresh: Path, environment: Path, tmp_path: Path) -> Project:
    shutil.copytree(fresh, tmp_path / "churn")
    return Project(tmp_path / "churn", environment)


def adopt(project: Project, *cases: list[str]) -> list[dict[str, Any]]:
    """Run adopt for each list of words, all in one process; return what each said."""
    done = subprocess.run(
        [project.venv / "bin" / "python", "-c", RUNNER],
        input=json.dumps([list(map(str, case)) for case in cases]),
        cwd=project.path,
        env=project.environment(),
        capture_output=True,
        text=True,
    )
    told = [json.loads(line[5:]) for line in done.stdout.splitlines() if line.startswith("told:")]
    assert len(told) == len(cases), done.stdout + done.stderr
    return told


def live(project: Project) -> str:
    """Run every step; return what they said and what the model answers."""
    done = project.python("-c", LIFE)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check(project: Project) -> None:
    """Hold the four files to what `make check` asks."""
    files = [f"src/churn/{name}" for name in FILES]
    for tool in (["ruff", "check"], ["ruff", "format", "--check"], ["pyrefly", "check"]):
        command = [project.venv / "bin" / tool[0], *tool[1:], *files]
        done = subprocess.run(
            command, cwd=project.path, env=project.environment(), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


def frame(rows: int = 300, seed: int = 0) -> pd.DataFrame:
    """A small clean table: price follows from size and city."""
    rng = np.random.default_rng(seed)
    size, city = rng.uniform(20, 200, rows).round(1), rng.choice(["oslo", "rome", "lima"], rows)
    price = 3 * size + 50 * (city == "oslo") + rng.normal(0, 10, rows)
    rooms = rng.integers(1, 7, rows)
    return pd.DataFrame({"size": size, "rooms": rooms, "city": city, "price": price.round(2)})


def save(data: pd.DataFrame, path: Path) -> Path:
    data.to_csv(path, index=False)
    return path


def read(project: Project, name: str) -> str:
    return (project.path / "src/churn" / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["diabetes", "breast_cancer", "wine"])
def test_the_sets_that_everybody_knows_run_through_the_whole_life(name, project, tmp_path):
    data = getattr(datasets, f"load_{name}")(as_frame=True).frame
    done = project.lifecycle("adopt", str(save(data, tmp_path / f"{name}.csv")), "--target", "target")
    assert "make retrain" in done.stdout
    assert (project.path / "data" / f"{name}.csv").exists()
    assert "answer:" in live(project)
    if name == "breast_cancer":
        assert project.lifecycle("versions").stdout.count("staging") == 1
        project.lifecycle("promote", "--why", "first")
        drift = project.lifecycle("drift", "artifacts/holdout.parquet", ok=False)
        assert drift.returncode == 3, drift.stdout + drift.stderr
        check(project)


def messy(path: Path, rows: int = 400) -> None:
    """Write what a spreadsheet in Europe exports: BOM, semicolons, decimal commas, line breaks in quotes."""
    rng = np.random.default_rng(1)
    km = rng.uniform(0.3, 25, rows).round(2)
    days = pd.Timestamp("2025-01-01") + pd.to_timedelta(rng.integers(0, 300 * 1440, rows), "min")
    columns = {
        "when": days.strftime("%d/%m/%Y %H:%M").where(rng.random(rows) > 0.03, "n/a"),
        "class": rng.choice(["Paris", "paris ", " PARIS", "Lyon", "Nice\nVille"], rows),
        'a"b': rng.choice(["yes", "No", "YES", "no", ""], rows),
        "mean radius": [f"{value}".replace(".", ",") for value in km],
        "größe \N{EN DASH} m²": [f"{value:,}".replace(",", ".") for value in rng.integers(1e3, 9e4, rows)],
        "zip": rng.choice(["01099", "04109", "10115"], rows),
        "guests": pd.Series(rng.integers(0, 99, rows)).astype(str).where(rng.random(rows) > 0.1, " - "),
        "currency": "EUR",
        "minutes": [f"{value:.1f}".replace(".", ",") for value in 3 * km + rng.normal(20, 1, rows)],
    }
    data = pd.DataFrame(columns)
    data.loc[::9, "mean radius"] = "?"
    data.to_csv(path, sep=";", index=False, encoding="utf-8-sig")


def test_a_messy_export_is_read_as_a_person_would(project, tmp_path):
    messy(tmp_path / "messy.csv")
    done = project.lifecycle("adopt", str(tmp_path / "messy.csv"), "--target", "minutes")
    assert "currency" in done.stdout and "the same in every row" in done.stdout
    text = read(project, "data.py")
    assert 'MISSING = ["", " - ", "?", "n/a"]' in text
    assert 'format="%d/%m/%Y %H:%M"' in text
    assert "answer:" in live(project)
    check(project)
    loaded = pd.read_parquet(project.path / "artifacts/valid.parquet")
    assert set(loaded["class"]) == {"paris", "lyon", "nice\nville"}
    assert set(loaded["zip"]) == {"01099", "04109", "10115"}
    assert loaded['a"b'].dtype == "boolean" and loaded['a"b'].isna().any()
    assert loaded["größe \N{EN DASH} m²"].between(1000, 90_000).all()
    assert loaded["guests"].dtype == "Int64"
    assert loaded["mean radius"].max() < 25.01
    assert loaded["when"].notna().mean() > 0.9


def test_parquet_keeps_its_types_and_text_in_it_is_read_too(project, tmp_path):
    data = frame(1200).assign(
        sold=pd.date_range("2024-01-01", periods=1200, freq="7h", tz="Europe/Berlin"),
        lift=pd.array([True, False, None] * 400, dtype="boolean"),
        floors=pd.array([1, None, 3, 4] * 300, dtype="Int64"),
        heating=pd.Categorical(["gas", None, "oil", " oil"] * 300),
        asked=[f" {value}" for value in range(0, 2400, 2)],
    )
    data.to_parquet(tmp_path / "flats.parquet")
    options = ["--target", "price", "--time", "sold", "--keep", "asked"]
    project.lifecycle("adopt", str(tmp_path / "flats.parquet"), *options)
    schema = read(project, "schema.py")
    assert 'TIME = "sold"' in schema
    assert '"lift": pa.Column("boolean", nullable=True)' in schema
    assert '"floors": pa.Column("Int64"' in schema
    assert '"heating": pa.Column(str, pa.Check.isin(["gas", "oil"]), nullable=True)' in schema
    assert "HistGradientBoostingRegressor" in read(project, "model.py")
    assert "answer:" in live(project)
    check(project)


def refused(tmp_path: Path) -> dict[str, tuple[list[str], list[str]]]:
    """Return cases: the words, and what must be told."""
    rng, data = np.random.default_rng(0), frame()
    late = np.where(data["price"] > data["price"].median(), "late", "early")
    day = [f"{a:02d}/{b:02d}/2025" for a, b in rng.integers(1, 13, (300, 2))]
    odd = data["size"].astype(str).where(data.index != 7, "about 80")
    tables = {
        "unlabelled": data.assign(price=data["price"].where(data.index > 9)),
        "constant": data.assign(price=1),
        "rare": data.assign(price=np.where(data.index < 3, "a", "b")),
        "id": data.assign(id=rng.permutation(300) + 5000),
        "uuid": data.assign(order=[f"{i:x}-{i * 7919:x}" for i in range(300)]),
        "note": data.assign(note=[f"please call {i} before noon" for i in range(300)]),
        "rounded": data.assign(y_rounded=data["price"].round()),
        "log": data.assign(log_price=np.log(data["price"] + 100)),
        "told": data.assign(price=late, code=np.where(late == "late", 7, rng.integers(1, 4, 300))),
        "divides": data.assign(price=late, minutes=data["price"]),
        "gaps": data.assign(price=late, fee=np.where(late == "late", rng.normal(0, 1, 300), np.nan)),
        "dates": data.assign(day=day),
        "odd": data.assign(size=odd),
        "infinite": data.assign(size=np.where(data.index == 3, np.inf, data["size"])),
        "few": data.head(20),
        "clean": data,
    }
    for name, table in tables.items():
        save(table, tmp_path / f"{name}.csv")
    (tmp_path / "twice.csv").write_text("a,a,price\n" + "1,2,3\n" * 60)
    (tmp_path / "image.csv").write_bytes(b"PK\3\4\0\0\0\0")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "headless.csv").write_text("1,2,3\n" * 60)
    (tmp_path / "no_rows.csv").write_text("size,price\n")
    (tmp_path / "broken.csv").write_text("a,price\n1,2\n3,4\n5,6,7,8\n")
    cases = {
        "unlabelled": ([], ["10 rows have no label", "--drop-unlabelled"]),
        "constant": ([], ["every row has the same value"]),
        "rare": ([], ["fewer than 5 rows: a (3)"]),
        "id": ([], ["id: 300 different whole numbers", "--drop id", "--keep"]),
        "uuid": ([], ["order: 300 different texts", "--drop order"]),
        "note": ([], ["note: 300 different texts", "--drop note"]),
        "rounded": ([], ["y_rounded: correlation 1.0000", "--drop y_rounded", "--keep"]),
        "log": ([], ["log_price: correlation 1.0000", "--drop log_price"]),
        "told": ([], ["code: each of its values has one class", "--drop code"]),
        "divides": ([], ["minutes: it alone divides the classes", "--drop minutes"]),
        "gaps": ([], ["fee: missing exactly for some classes", "--drop fee"]),
        "dates": ([], ["day: ", "may be d/m/Y or m/d/Y", "--drop day"]),
        "odd": ([], ["size: is a number, but in some rows 'about 80'", "--drop size"]),
        "infinite": ([], ["size: holds infinite values"]),
        "few": ([], ["20 rows are too few: bring at least 50"]),
        "twice": ([], ["'a' names more than one column"]),
        "image": ([], ["cannot be read as CSV or Parquet"]),
        "empty": ([], ["cannot be read as CSV or Parquet"]),
        "headless": ([], ["first line holds numbers"]),
        "no_rows": ([], ["0 rows are too few"]),
        "broken": ([], ["cannot be read as CSV or Parquet"]),
        "missing": ([], ["No such file"]),
    }
    for name, words, told in (
        ("time", ["--time", "city"], ["--time city: its values are not times"]),
        ("typo", ["--drop", "sise", "--time", "romms"], ["no such column; there is size", "there is rooms"]),
        ("target", ["--target", "prize"], ["--target prize: no such column; there is price"]),
        ("both", ["--drop", "price"], ["--target price is also in --drop"]),
        ("task", ["--task", "classification"], ["classes are too many", "--task regression"]),
    ):
        shutil.copy(tmp_path / "clean.csv", tmp_path / f"{name}.csv")
        cases[name] = (words, told)
    return cases


def test_what_cannot_be_adopted_is_refused_with_the_way_on(project, tmp_path):
    cases = refused(tmp_path)
    words = [[tmp_path / f"{name}.csv", "--target", "price", *more] for name, (more, _) in cases.items()]
    for (name, (_, wanted)), told in zip(cases.items(), adopt(project, *words), strict=True):
        assert told["code"] == 4, (name, told)
        for text in wanted:
            assert text in told["message"] + "\n" + told["next"], (name, told)
    assert git(project.path, "status", "--short", "src", "data", "params.yaml") == "", "nothing is written"


def test_everything_is_told_at_once_and_the_command_it_gives_gets_through(project, tmp_path):
    data = frame().assign(id=range(300), customer_name=[f"Ms {i:x}" for i in range(300)])
    data["euro cents"] = (data["price"] * 100).round()
    data.loc[5:9, "price"] = np.nan
    file = save(data, tmp_path / "flats.csv")
    (told,) = adopt(project, [file, "--target", "price"])
    assert told["next"] == (
        f"uv run lifecycle adopt {file} --target price "
        "--drop-unlabelled --drop id --drop customer_name --drop 'euro cents'"
    )
    words = shlex.split(told["next"])[4:]
    (again,) = adopt(project, words)
    assert again["code"] == 0
    assert 'DROPPED = ["id", "customer_name", "euro cents"]' in read(project, "data.py")
    assert "295 rows" in live(project)


def test_edits_are_not_overwritten_unasked(project, tmp_path):
    first, second = save(frame(), tmp_path / "a.csv"), save(frame(2000), tmp_path / "b.csv")
    assert [t["code"] for t in adopt(project, *[[f, "--target", "price"] for f in (first, second)])] == [0, 0]
    assert "max_iter: 300" in (project.path / "params.yaml").read_text(), "back to what trees take"
    project.edit("src/churn/features.py", "    return dict(columns)", "    return {**columns}")
    (told,) = adopt(project, [first, "--target", "price"])
    assert told["code"] == 4 and "src/churn/features.py" in told["message"] and "--force" in told["next"]
    assert "return {**columns}" in read(project, "features.py")
    assert "b.csv" in read(project, "data.py")
    (told,) = adopt(project, [first, "--target", "price", "--force"])
    assert told["code"] == 0
    assert "return {**columns}" in read(project, "features.py.bak")
    assert not (project.path / "src/churn/data.py.bak").exists(), "only what was edited is kept"


def test_only_the_model_section_of_params_changes(project, tmp_path):
    before = (project.path / "params.yaml").read_text()
    adopt(project, [save(frame(), tmp_path / "a.csv"), "--target", "price"])
    after = (project.path / "params.yaml").read_text()
    assert after == before.replace("  max_iter: 300\n  learning_rate: 0.06\n", "  alpha: 1.0\n")


def test_a_file_outside_is_copied_and_never_over_another(project, tmp_path):
    inside = save(frame(), project.path / "data" / "mine.csv")
    outside = save(frame(seed=1), tmp_path / "mine.csv")
    (told,) = adopt(project, [outside, "--target", "price"])
    assert told["code"] == 4 and "data/mine.csv is another file" in told["message"]
    assert adopt(project, [inside, "--target", "price"])[0]["code"] == 0
    assert 'SOURCE = "data/mine.csv"' in read(project, "data.py")


def test_a_stop_between_two_files_is_repaired_by_the_next_run(project, tmp_path):
    file = save(frame(), tmp_path / "a.csv")
    before = read(project, "model.py")
    adopt(project, [file, "--target", "price"])
    (project.path / "src/churn/model.py").write_text(before)  # as if stopped before the last file
    assert adopt(project, [file, "--target", "price"])[0]["code"] == 0
    assert "Ridge" in read(project, "model.py")


def test_the_examples_digests_are_current(template, tmp_path, environment):
    """A failure here names what to add to EXAMPLES in src/lean_mlops/adopt/write.py."""
    listed = (template / "src/lean_mlops/adopt/write.py").read_text()
    for task in ("regression", "classification"):
        path = render(template, tmp_path / task, task=task)
        for name in FILES:
            text = next((path / "src").glob(f"*/{name}")).read_text()
            digest = hashlib.sha256(text.encode()).hexdigest()[:12]
            assert f'"{digest}"' in listed, f"{task} {name}: add {digest}"


def test_a_schema_accepts_the_very_data_it_was_inferred_from(project, tmp_path):
    """Random tables as CSV and as Parquet: what was written is read as it was meant."""
    done = project.python("-c", FUZZ, "60", str(tmp_path), str(ROOT / "src"))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_adopt_says_so_when_the_template_is_out_of_reach(project, tmp_path):
    """It comes from the template at the project's own commit, fetched once."""
    file = save(frame(), tmp_path / "a.csv")
    shutil.rmtree(project.path / ".tools", ignore_errors=True)
    for source in (str(tmp_path / "gone"), "git+https://127.0.0.1:9/none.git"):
        project.edit(".copier-answers.yml", answers(project)["_src_path"], source)
        done = project.lifecycle("adopt", str(file), "--target", "price", ok=False)
        assert done.returncode == 1
        assert "cannot be fetched from" in done.stderr and "_src_path" in done.stderr
        assert "Traceback" not in done.stderr
    assert not (project.path / ".tools/template/v99.0.0").exists()


def answers(project):
    return yaml.safe_load((project.path / ".copier-answers.yml").read_text())

"""The drift check beside other tools on the same data, and its alarms beside common rules: docs/benchmarks/.

Run it in a rendered project; the other tools come by uv, each in an environment of its own (10 minutes):

    cd churn && uv run python …/benchmarks/drift.py …/docs/benchmarks

Every tool starts at two Parquet files, the reference and the current rows, as many in each; its imports are
not counted. Ours reads the reference's profile, which training wrote, and the current file.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

SIZES = [(10_000, 20), (100_000, 20), (1_000_000, 20), (10_000, 200)]
TOOLS = {  # what uv installs for each; none: this project's environment
    "plain reading of the file": [],
    "ours": [],
    "ours, building the profile (in training)": [],
    "SciPy loop (ks_2samp)": [],
    "Frouros (KS)": ["frouros", "pandas<3", "pyarrow"],
    "NannyML (KS)": ["nannyml", "statsmodels", "pandas<3", "pyarrow"],
    "whylogs": ["whylogs[viz]", "pandas<3", "pyarrow"],
    "Evidently 0.7.23": ["evidently==0.7.23", "pandas<3", "pyarrow"],
}
LIMIT = 480  # seconds of the clock for one measurement
ROWS = (1_000, 10_000, 100_000, 1_000_000)
QUIET = {"DO_NOT_TRACK": "1", "NML_DISABLE_USAGE_LOGGING": "1"}  # some tools call home
CHECKS = 600  # simulated for each cell of the second table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="where drift.md and drift.svg go")
    parser.add_argument("--one", nargs=2, metavar=("TOOL", "FOLDER"), help="one measurement, in this process")
    parser.add_argument("--max-rows", type=int, default=SIZES[2][0])
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one[0], Path(options.one[1]))))
        return
    sizes = [size for size in SIZES if size[0] <= options.max_rows]
    with ProcessPoolExecutor(1) as pool, tempfile.TemporaryDirectory() as name:
        simulated = pool.submit(alarm_table)
        measured = {tool: [run(tool, size, Path(name)) for size in sizes] for tool in TOOLS}
        alarms = simulated.result()
    speed, windows = speed_table(measured, sizes), windows_table()
    template = Path(__file__).with_name("drift.md.txt").read_text(encoding="utf-8")
    page = template.format(speed=speed, windows=windows, alarms=alarms, checks=CHECKS)
    if options.folder:
        (options.folder / "drift.md").write_text(page, encoding="utf-8")
        (options.folder / "drift.svg").write_text(picture(measured, sizes), encoding="utf-8")
    else:
        print(page)


def run(tool: str, size: tuple[int, int], folder: Path) -> dict[str, float] | str:
    """Measure a tool in a process of its own; a string says why there is nothing."""
    data = folder / f"{size[0]}x{size[1]}"
    if not data.exists():
        make(data, *size)
    from lifecycle.tools import uv

    command = [sys.executable]
    if needed := TOOLS[tool]:
        extra = [word for item in needed for word in ("--with", item)]
        command = [uv(), "run", "--quiet", "--no-project", "--python", "3.11", *extra, "python"]
        warm = subprocess.run([*command, "-c", ""], capture_output=True, text=True)
        if warm.returncode:
            return "does not install"
    try:
        done = subprocess.run(
            [*command, __file__, "--one", tool, str(data)],
            env=os.environ | QUIET,
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )
    except subprocess.TimeoutExpired:
        return f"over {LIMIT} s"
    found = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else "does not run"
    print(
        tool, size, found, done.stderr[-300:] if isinstance(found, str) else "", file=sys.stderr, flush=True
    )
    return found


def make(folder: Path, rows: int, features: int) -> None:
    """Write ref.parquet and cur.parquet: normal columns, the first of the current ones moved."""
    import numpy as np
    import pandas as pd

    folder.mkdir()
    random = np.random.default_rng(rows + features)
    for name, shift in (("ref", 0.0), ("cur", 0.5)):
        frame = pd.DataFrame(random.normal(size=(rows, features)), columns=[f"x{i}" for i in range(features)])
        frame["x0"] += shift
        frame.to_parquet(folder / f"{name}.parquet", row_group_size=100_000)
    from lifecycle.monitoring.profile import Profile

    frame = pd.read_parquet(folder / "ref.parquet")
    profile = Profile.build(*arrays(frame), schema_of(features)[0])
    (folder / "profile.json").write_text(json.dumps(profile.to_dict()))


def measure(tool: str, folder: Path) -> dict[str, float]:
    work = PREPARED[tool](folder)  # imports
    took: list[float] = []
    while len(took) < 3 and sum(took) < 10:  # the best of three, or what there is within ten seconds
        start = time.process_time()  # the processor's: others may share the machine
        drifted = work()
        took.append(time.process_time() - start)
    if drifted not in (None, ["x0"]):
        print(f"{tool} finds {drifted}, but x0 was moved", file=sys.stderr)
    # Not getrusage: its figure begins with that of the process that started this one.
    peak = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[0]
    return {"seconds": min(took), "mb": int(peak) / 1024}


def arrays(frame: Any) -> tuple[dict[str, Any], Any]:
    return {name: frame[name].to_numpy() for name in frame}, frame["x0"].to_numpy()


def schema_of(features: int) -> tuple[Any, Any]:
    """Return a schema as schema.json has it, and as schema.py: each column a number within a range."""
    import pandera.pandas as pa
    from lifecycle.data.schema import Column, Schema

    facts: Any = {"kind": "number", "minimum": -50, "maximum": 50}
    columns = [Column(name=f"x{i}", **facts) for i in range(features)]
    declared = {column.name: pa.Column(float, pa.Check.in_range(-50, 50)) for column in columns}
    target = Column(name="y", kind="number")
    schema = Schema(task="regression", target=target, time=None, columns=columns)
    return schema, SimpleNamespace(SCHEMA=pa.DataFrameSchema(declared), MAX_NULL_RATE=0.2)


def ours(folder: Path) -> Callable[[], list[str]]:
    from lifecycle import batch
    from lifecycle.monitoring import drift
    from lifecycle.monitoring.profile import Profile
    from lifecycle.settings import Drift

    reference = Profile.read(folder)
    schema, module = schema_of(len(reference.features) - 1)
    # The prediction is one of the columns: the others' tools predict nothing either.
    predictor: Any = SimpleNamespace(schema=schema, predict_arrays=lambda columns: columns["x0"])

    def work() -> list[str]:
        current = batch.count(folder / "cur.parquet", predictor, Profile.read(folder), module)
        found = drift.judge(reference, current, 0, Drift())
        return [item.name for item in found.features if item.drifted and item.name != "(prediction)"]

    return work


def building(folder: Path) -> Callable[[], None]:
    import pandas as pd
    from lifecycle.monitoring.profile import Profile

    features = len(json.loads((folder / "profile.json").read_text())["features"]) - 1
    schema = schema_of(features)[0]

    def work() -> None:
        Profile.build(*arrays(pd.read_parquet(folder / "ref.parquet")), schema)

    return work


def reading(folder: Path) -> Callable[[], None]:
    from pyarrow.parquet import ParquetFile

    def work() -> None:
        with ParquetFile(folder / "cur.parquet", buffer_size=1 << 20, pre_buffer=False) as file:
            for _ in file.iter_batches(50_000):
                pass

    return work


def both(folder: Path) -> tuple[Any, Any]:
    import pandas as pd

    return pd.read_parquet(folder / "ref.parquet"), pd.read_parquet(folder / "cur.parquet")


def scipy_loop(folder: Path) -> Callable[[], list[str]]:
    import pandas as pd  # noqa: F401
    from scipy.stats import ks_2samp

    def work() -> list[str]:
        ref, cur = both(folder)
        return [n for n in ref if ks_2samp(ref[n], cur[n], method="asymp").pvalue < 0.05 / ref.shape[1]]

    return work


def frouros(folder: Path) -> Callable[[], list[str]]:
    import pandas as pd  # noqa: F401
    from frouros.detectors.data_drift import KSTest

    def work() -> list[str]:
        ref, cur = both(folder)
        found = []
        for name in ref:
            detector = KSTest()
            detector.fit(X=ref[name].to_numpy())
            result, _ = detector.compare(X=cur[name].to_numpy(), method="asymp")
            found += [name] if result.p_value < 0.05 / ref.shape[1] else []
        return found

    return work


def nannyml(folder: Path) -> Callable[[], None]:
    import nannyml
    import pandas as pd  # noqa: F401

    def work() -> None:
        ref, cur = both(folder)
        method = ["kolmogorov_smirnov"]
        calculator = nannyml.UnivariateDriftCalculator(
            column_names=list(ref), continuous_methods=method, chunk_number=1
        )
        calculator.fit(ref).calculate(cur).to_df()

    return work


def whylogs(folder: Path) -> Callable[[], None]:
    import whylogs
    from whylogs.viz.drift.column_drift_algorithms import calculate_drift_scores

    def work() -> None:
        ref, cur = (whylogs.log(frame).view() for frame in both(folder))
        calculate_drift_scores(target_view=cur, reference_view=ref)

    return work


def evidently(folder: Path) -> Callable[[], None]:
    from evidently import Report
    from evidently.presets import DataDriftPreset

    def work() -> None:
        ref, cur = both(folder)
        Report([DataDriftPreset()]).run(cur, ref).dict()

    return work


PREPARED: dict[str, Callable[[Path], Callable[[], Any]]] = dict(
    zip(TOOLS, (reading, ours, building, scipy_loop, frouros, nannyml, whylogs, evidently), strict=True)
)


def speed_table(measured: dict[str, list[Any]], sizes: list[tuple[int, int]]) -> str:
    lines = ["| | " + " | ".join(f"{rows:,} x {features}" for rows, features in sizes) + " |"]
    lines.append("| --- |" + " ---: |" * len(sizes))
    for tool, cells in measured.items():
        texts = []
        for cell, mine in zip(cells, measured["ours"], strict=True):
            if isinstance(cell, str):
                texts.append(cell)
                continue
            ratio = cell["seconds"] / mine["seconds"]
            times = "" if tool.startswith("ours") else f" ({ratio:.{0 if ratio > 10 else 1}f} times ours)"
            texts.append(f"{cell['seconds']:.3g} s{times}, {cell['mb']:,.0f} MB")
        lines.append(f"| {tool} | " + " | ".join(texts) + " |")
    return "\n".join(lines)


def windows_table() -> str:
    """Time a check on a week of served counts: of each server a file for each hour."""
    import numpy as np
    from lifecycle.monitoring import drift
    from lifecycle.monitoring.profile import Profile
    from lifecycle.monitoring.serving_stats import HOUR, collect
    from lifecycle.settings import Drift

    lines = ["| features | servers | rows served | files read | a check | one more row, a feature |"]
    lines.append("| ---: " * 6 + "|")
    for features, each, servers in (
        (20, 1, 1),
        (20, 100, 1),
        (20, 100_000, 1),
        (20, 100_000, 3),
        (200, 100_000, 1),
        (200, 100_000, 3),
    ):
        random = np.random.default_rng(0)
        columns = {f"x{i}": random.normal(size=100_000) for i in range(features)}
        reference = Profile.build(columns, columns["x0"], schema_of(features)[0])
        hour = reference.empty()
        hour.add({name: values[:each] for name, values in columns.items()}, columns["x0"][:each])
        text = json.dumps(hour.counts_only() | {"rejected": 0})
        with tempfile.TemporaryDirectory() as name:
            (folder := Path(name, "v")).mkdir()
            for ago in range(7 * 24):
                stamp = f"{datetime.now(UTC) - timedelta(hours=ago):{HOUR}}"
                for server in range(servers):
                    (folder / f"{stamp}-{server}.json").write_text(text)
            files = len(list(folder.iterdir()))
            seconds = []
            for _ in range(9):
                start = time.process_time()
                current, rejected = collect(reference, Path(name), "v", 24 * 8)
                drift.judge(reference, current, rejected, Drift())
                seconds.append(time.process_time() - start)
        one = {name: values[:1] for name, values in columns.items()}
        rows = 100_000 // features
        start = time.process_time()
        for _ in range(rows):
            hour.add(one, columns["x0"][:1])
        row = (time.process_time() - start) / rows / (features + 1) * 1e6
        cells = (str(features), str(servers), f"{current.rows:,}", str(files))
        speeds = f"{statistics.median(seconds) * 1e3:.0f} ms", f"{row:.2g} µs"
        lines.append("| " + " | ".join(cells + speeds) + " |")
    return "\n".join(lines)


def alarm_table() -> str:
    """Simulate checks by each rule: without drift, with a shift in one feature, with a trivial one in all."""
    head = "| features | rows | | any p < 0.05 | three such in a row | any PSI > 0.2 | ours |"
    lines = [head, "| ---: " * 2 + "| --- " + "| ---: " * 4 + "|"]
    worlds = (
        ("no drift", 0.0, 0.0),
        ("0.5 sigma in one feature", 0.5, 0.0),
        ("0.02 sigma in every feature", 0.02, 0.02),
    )
    for features in (20, 200):
        for rows in ROWS:
            for what, first, others in worlds:
                rates = alarms(features, rows, first, others)
                cells = " | ".join(f"{rate:.1%}" for rate in rates)
                lines.append(f"| {features} | {rows:,} | {what} | {cells} |")
    return "\n".join(lines)


def alarms(features: int, rows: int, first: float, others: float) -> list[float]:
    """Return the share of checks in which each rule alarms, with counts drawn from the bins' shares."""
    import numpy as np
    from lifecycle.monitoring.drift import judge, measure
    from lifecycle.monitoring.profile import Profile
    from lifecycle.settings import Drift
    from scipy import stats

    random = np.random.default_rng(features * rows)
    edges = stats.norm.ppf(np.linspace(0, 1, 65)[1:-1])
    shares = [np.diff(stats.norm.cdf(edges - shift), prepend=0, append=1) for shift in (first, others)]

    def draw(size: int, moved: bool) -> Profile:
        counts = random.multinomial(size, shares[1] if moved else [1 / 64] * 64, features)
        if moved:
            counts[0] = random.multinomial(size, shares[0])
        named = {
            f"x{i}": {"edges": edges.tolist(), "counts": row, "missing": 0}
            for i, row in enumerate(counts.tolist())
        }
        return Profile(named, size, [])

    by_p, by_psi, by_us = [], [], []
    for _ in range(CHECKS):
        before, now = draw(100_000, False), draw(rows, True)
        found = [measure(before.features[name], now.features[name]) for name in before.features]
        by_p.append(any(p < 0.05 for _, _, p in found))
        by_psi.append(any(psi > 0.2 for psi, _, _ in found))
        by_us.append(judge(before, now, 0, Drift()).verdict == "drift")
    three = np.array(by_p).reshape(-1, 3).all(axis=1)
    return [float(np.mean(rule)) for rule in (by_p, three, by_psi, by_us)]


def picture(measured: dict[str, list[Any]], sizes: list[tuple[int, int]]) -> str:
    """Draw seconds at the largest size, on a logarithmic axis: a bar a tool."""
    import math

    place = max(range(len(sizes)), key=lambda i: sizes[i][0])
    found = {
        tool: cells[place]["seconds"] for tool, cells in measured.items() if isinstance(cells[place], dict)
    }
    low, high = math.log10(0.01), math.log10(max(found.values()) * 1.5)
    rows = []
    for i, (tool, seconds) in enumerate(sorted(found.items(), key=lambda item: item[1])):
        width, y = 380 * (math.log10(max(seconds, 0.011)) - low) / (high - low), 40 + 26 * i
        shade = "us" if tool.startswith("ours") else "them"
        rows.append(f'<text x="250" y="{y + 13}" text-anchor="end">{tool}</text>')
        rows.append(f'<rect class="{shade}" x="260" y="{y}" width="{width:.0f}" height="18"/>')
        rows.append(f'<text x="{266 + width:.0f}" y="{y + 13}">{seconds:.3g} s</text>')
    title = f"A check of {sizes[place][0]:,} x {sizes[place][1]} against as many: seconds, log scale"
    style = """text { font: 12px system-ui, sans-serif; fill: #344054 }
.us { fill: #d9480f } .them { fill: #98a2b3 }
@media (prefers-color-scheme: dark) { text { fill: #d0d5dd } .us { fill: #ff8c42 } .them { fill: #667085 } }
"""
    box = f'viewBox="0 0 720 {50 + 26 * len(found)}" width="720"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {box}><style>{style}</style>'
    return f'{head}<text x="10" y="22">{title}</text>{"".join(rows)}</svg>\n'


if __name__ == "__main__":
    main()

"""How long `lifecycle adopt` takes over a messy CSV file of a million rows, in multiples of reading it.

Run it with a rendered project's environment, from that project's root: it writes only to a temporary folder.

    uv run --no-sync python …/benchmarks/adopt.py [ROWS]

Prints a Markdown table: seconds and peak memory of a process that reads the file by pandas.read_csv, one that
decides all that adopt decides, and one that runs load() of the data.py that adopt would write.
"""

import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

READ = "import pandas as pd, sys; pd.read_csv(sys.argv[1], sep=';', low_memory=False)"
ADOPT = """
import sys
from pathlib import Path
from lifecycle.adopt import plan, read
path = Path(sys.argv[1])
made = plan.make(read.read(path), str(path), plan.Options("minutes"))
assert not made.faults, made.faults
Path(sys.argv[1] + ".py").write_text(made.files["data.py"])
"""
LOAD = "import runpy, sys; runpy.run_path(sys.argv[1] + '.py')['load']()"
PEAK = "\nimport resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"


def messy(rows: int) -> pd.DataFrame:
    """Return twelve columns of text as a spreadsheet exports them, the same on every run."""
    rng = np.random.default_rng(0)
    times = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 2_000_000, rows), "min")
    km, euros = rng.uniform(0.3, 25, rows), rng.uniform(900, 9000, rows)
    columns = {
        "when": pd.Series(times).dt.strftime("%d/%m/%Y %H:%M"),
        "km": pd.Series(km.round(2)).astype(str).str.replace(".", ","),
        "euros": [f"{value:,.2f}".translate(str.maketrans(",.", ".,")) for value in euros],
        "city": rng.choice(["Paris", "paris ", "Lyon", "Nice", "LYON"], rows),
        "member": rng.choice(["yes", "No", "YES", "no"], rows),
        "zip": rng.choice(["01099", "04109", "10115"], rows),
        "guests": rng.integers(0, 90, rows).astype(str),
        "weight": rng.normal(0, 1, rows).round(6),
        "height": rng.normal(0, 1, rows),
        "shop": rng.choice([f"shop {number}" for number in range(120)], rows),
        "day": pd.Series(times).dt.strftime("%Y-%m-%d"),
        "minutes": (3 * km + rng.normal(20, 1, rows)).round(1),
    }
    data = pd.DataFrame(columns)
    for name in ("km", "member", "guests", "when"):
        data[name] = data[name].mask(rng.random(rows) < 0.03, rng.choice(["", "NA", "?", "n/a"]))
    return data


def measure(code: str, file: Path) -> tuple[float, float]:
    """Run code in a process of its own; return seconds, start-up included, and peak memory in MB."""
    start = time.perf_counter()
    command = [sys.executable, "-c", code + PEAK, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return time.perf_counter() - start, int(done.stdout.split()[-1]) / 1024


def main(rows: int) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "messy.csv"
        messy(rows).to_csv(file, sep=";", index=False)
        size = file.stat().st_size / 1e6
        steps = (("pandas.read_csv", READ), ("adopt", ADOPT), ("load()", LOAD))
        found = {name: measure(code, file) for name, code in steps}
    print(f"{rows:,} rows, 12 columns, {size:.0f} MB of CSV\n")
    print("| what | seconds | of read_csv | peak MB | of read_csv |\n| --- | ---: | ---: | ---: | ---: |")
    plain = found["pandas.read_csv"]
    for name, (seconds, peak) in found.items():
        print(f"| {name} | {seconds:.1f} | {seconds / plain[0]:.1f} | {peak:.0f} | {peak / plain[1]:.1f} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)

"""What the package for AWS Lambda weighs and how fast it answers, behind Lambda's runtime and emulator.

Run it in a project rendered with deploy=lambda, after `make retrain package`, with the tests' helpers and in
this repository's environment:

    cd churn && PYTHONPATH=…/tests …/.venv/bin/python …/benchmarks/lambda.py build/lambda-….zip

The figures are of this machine's Python and processor, and of one environment. Lambda's start of a machine
comes on top of a cold start; what it gives of a processor depends on the function's memory.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from services.aws import RUNTIME, TOOLS, Emulator, emulator, environment

HANDLER = "lifecycle.deploy.aws_lambda.handler.handler"
HEALTH = {"rawPath": "/health", "requestContext": {"http": {"method": "GET"}}}
PREDICT = {"rawPath": "/predict", "requestContext": {"http": {"method": "POST"}}}
JSON = {"headers": {"content-type": "application/json"}}
MIB = 2**20
IMPORTS = 0.6  # seconds: more than that to import the handler, and something heavy has crept in


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package", type=Path)
    parser.add_argument("--starts", type=int, default=7)
    parser.add_argument("--requests", type=int, default=2000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tools = environment(folder / "tools", TOOLS)
        python = environment(folder / "runtime", RUNTIME) / "bin/python"
        task, bare = folder / "task", folder / "bare"
        with zipfile.ZipFile(options.package) as package:
            package.extractall(task)
            unzipped = sum(entry.file_size for entry in package.infolist())
        shutil.copytree(task, bare)
        for cache in [*bare.rglob("__pycache__")]:
            shutil.rmtree(cache)
        print("| | |\n| --- | ---: |")
        report("zip", f"{options.package.stat().st_size / MIB:.1f} MiB")
        report("unzipped", f"{unzipped / MIB:.1f} MiB of 250")
        imports = importing(python, task, options.starts)
        report("importing the handler", milliseconds(imports))
        for what, where in (("with .pyc", task), ("without .pyc", bare)):
            times = [cold(emulator(tools), python, where) for _ in range(options.starts)]
            report(f"cold start, {what}", milliseconds(statistics.median(times)))
        for rows in (1, 100):
            middle, slow = warm(emulator(tools), python, task, rows, options.requests // rows)
            report(
                f"{rows} row{'s' * (rows > 1)}, p50 / p99", f"{milliseconds(middle)} / {milliseconds(slow)}"
            )
    return int(imports > IMPORTS)


def report(what: str, figure: str) -> None:
    print(f"| {what} | {figure} |", flush=True)


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 0.1 else f"{seconds * 1000:.0f} ms"


def importing(python: Path, task: Path, times: int) -> float:
    """Return the median seconds of importing the handler in a new process."""
    code = f"import time\nstart = time.perf_counter()\nimport {HANDLER.rpartition('.')[0]}\n"
    words = [str(python), "-c", code + "print(time.perf_counter() - start)"]
    env = {"PYTHONPATH": str(task)}
    return statistics.median(float(subprocess.check_output(words, env=env, cwd=task)) for _ in range(times))


def cold(program: Path, python: Path, task: Path) -> float:
    """Return the seconds of the first answer: the emulator starts the function when it is asked."""
    function = Emulator(program, python, task, HANDLER, {})
    try:
        start = time.perf_counter()
        assert function.invoke(HEALTH)["statusCode"] == 200, function.log()
        return time.perf_counter() - start
    finally:
        function.stop()


def warm(program: Path, python: Path, task: Path, rows: int, times: int) -> tuple[float, float]:
    """Return median and 99th percentile of a request, the emulator's HTTP included."""
    row = json.loads((task / "model/manifest.json").read_text())["fixture"]["row"]
    event = PREDICT | JSON | {"body": json.dumps([row] * rows)}
    function = Emulator(program, python, task, HANDLER, {})
    try:
        function.invoke(event)
        taken = []
        for _ in range(max(times, 100)):
            start = time.perf_counter()
            answer = function.invoke(event)
            taken.append(time.perf_counter() - start)
            assert answer["statusCode"] == 200, answer
        cuts = statistics.quantiles(taken, n=100)
        return cuts[49], cuts[98]
    finally:
        function.stop()


if __name__ == "__main__":
    sys.exit(main())

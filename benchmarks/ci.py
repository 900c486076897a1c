"""How long the check job of a fresh repository takes, a clone, make setup and make check, for each target.

    python benchmarks/ci.py            in this repository's environment, with git on the PATH

uv's cache is the machine's, as the runner's cache is on GitHub; the environment is made anew each time. With
--cold the cache is empty, as on the first run: then everything is downloaded.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import copier

ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("deploys", nargs="*", default=["docker", "kubernetes", "lambda"])
    parser.add_argument("--cold", action="store_true", help="with an empty cache of uv")
    options = parser.parse_args()
    print("| deploy | make setup | make check | the job | of that by the processor |")
    print("| --- | ---: | ---: | ---: | ---: |", flush=True)
    for deploy in options.deploys:
        with tempfile.TemporaryDirectory() as name:
            print(measure(deploy, Path(name), options.cold), flush=True)


def measure(deploy: str, folder: Path, cold: bool) -> str:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    kept = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONPATH")}
    env = kept | {"PATH": path} | ({"UV_CACHE_DIR": str(folder / "cache")} if cold else {})
    answers = {"project_name": "churn", "deploy": deploy}
    copier.run_copy(str(ROOT), folder / "origin", data=answers, defaults=True, quiet=True, vcs_ref="HEAD")
    who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
    first = [
        "git init --quiet",
        "uv lock --quiet",
        "git add -A",
        f"git {' '.join(who)} commit --quiet -m Start",
    ]
    for command in first:
        subprocess.run(command.split(), cwd=folder / "origin", env=env, check=True)
    before = os.times()
    start = time.perf_counter()
    subprocess.run(["git", "clone", "--quiet", folder / "origin", folder / "job"], env=env, check=True)
    seconds = []
    for verb in ("setup", "check"):
        begun = time.perf_counter()
        subprocess.run(["make", verb], cwd=folder / "job", env=env, check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - begun)
    whole, after = time.perf_counter() - start, os.times()
    busy = sum(after[2:4]) - sum(before[2:4])
    return f"| {deploy} | {seconds[0]:.0f} s | {seconds[1]:.0f} s | {whole:.0f} s | {busy:.0f} s |"


if __name__ == "__main__":
    main()

"""Scripts that are killed at any step, interrupted, or run twice at once."""

import itertools
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from services.site import ONE, TWO, Site, executable

pytestmark = [pytest.mark.docker, pytest.mark.slow]

TOOLS = ("docker", "docker-compose", "mv")
KILLER = """\
case "TOOL $1" in
  "docker create" | "docker start" | "docker stop" | "docker rm" | docker-compose* | mv*) ;;
  *) exec REAL "$@" ;;
esac
echo >>"$NOTES"
[ "$(wc -l <"$NOTES")" -ne "$KILL_AT" ] || kill -9 "$(cat "$NOTES.pid")"
code=0
REAL "$@" || code=$?
echo >>"$NOTES.ended"
exit $code
"""


def test_of_two_releases_at_once_one_wins(light: Site) -> None:
    env = light.environment(WHY="it is urgent")
    command = ["deploy/docker/release.sh"]
    started = [
        subprocess.Popen([*command, version], cwd=light.path, env=env, text=True, stdout=-1, stderr=-1)
        for version in (ONE, TWO)
    ]
    said = [process.communicate()[1] for process in started]
    codes = [process.returncode for process in started]
    assert sorted(codes) == [0, 1], said
    told = r"@\S+ since .* \(it is urgent\) is at it \(process \d+\)\n.*docker rm churn-lock"
    assert re.search(told, said[codes.index(1)])
    assert light.live() == (ONE, TWO)[codes.index(0)]
    assert light.containers() == {"churn-blue": "running", "churn-proxy": "running"}


@dataclass
class Killed:
    """Runs a script and kills it without mercy at its Nth act that changes anything."""

    site: Site
    folder: Path

    def __post_init__(self) -> None:
        for tool in TOOLS:
            real = str(shutil.which(tool, path=self.site.environment()["PATH"]))
            executable(self.folder / tool, KILLER.replace("TOOL", tool).replace("REAL", real))

    def run(self, at: int, script: str, *words: str) -> bool:
        """Return whether the script was killed; False: it ended before it came to that act."""
        notes, ended = self.folder / f"{script}-{at}", self.folder / f"{script}-{at}.ended"
        path = f"{self.folder}:{self.site.environment()['PATH']}"
        env = self.site.environment(NOTES=str(notes), KILL_AT=str(at), PATH=path)
        start = f'echo $$ >{notes}.pid; exec deploy/docker/{script}.sh "$@"'
        done = subprocess.run(
            ["sh", "-c", start, "sh", *words], cwd=self.site.path, env=env, capture_output=True, text=True
        )
        assert done.returncode in (0, -9), done.stderr
        deadline = time.monotonic() + 60  # the act at which it was killed goes on without it
        while done.returncode and lines(ended) < at and time.monotonic() < deadline:
            time.sleep(0.05)
        return done.returncode == -9


def lines(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0


def steps(killed: Killed, script: str, prepare: Callable[[], list[str]]) -> Iterator[int]:
    """Kill the script at its 1st, 2nd, … act until it gets through; yield after each kill."""
    for at in itertools.count(1):
        if not killed.run(at, script, *prepare()):
            assert at > 5, f"{script} was hardly ever killed"
            print(f"\n{script} was killed at each of {at - 1} steps")
            return
        yield at


def test_a_release_killed_anywhere_is_put_right_by_the_next(deployed: Site, tmp_path: Path) -> None:
    turn = itertools.cycle([ONE, TWO])
    wanted = ""

    def prepare() -> list[str]:
        nonlocal wanted
        wanted = next(turn)
        return [wanted]

    for at in steps(Killed(deployed, tmp_path), "release", prepare):
        other = ({ONE, TWO} - {wanted}).pop()
        assert deployed.live() in (ONE, TWO), at
        state = deployed.script("status", ok=False)
        assert state.returncode == 0 and f"answers:  {deployed.live()}" in state.stdout, (at, state.stderr)
        deployed.release(wanted)
        assert deployed.live() == wanted, at
        assert sorted(deployed.colours().values()) == sorted(
            [(wanted, "running"), (other, deployed.colours()[other_colour(deployed)][1])]
        ), at
        assert deployed.record("before") == other, at


def other_colour(site: Site) -> str:
    return "green" if site.record("colour") == "blue" else "blue"


def test_a_rollback_killed_anywhere_is_finished_by_the_next(deployed: Site, tmp_path: Path) -> None:
    def prepare() -> list[str]:
        if deployed.record("before") != ONE:
            deployed.release(TWO)
        return []

    for at in steps(Killed(deployed, tmp_path), "rollback", prepare):
        assert deployed.live() in (ONE, TWO), at
        done = deployed.script("rollback", ok=False)
        assert done.returncode == 0 or "there is no version before" in done.stderr, at
        assert deployed.live() == ONE, at
        idle = deployed.colours()[other_colour(deployed)]
        assert idle == (TWO, "exited"), at


def test_a_rollback_undoes_a_release_that_was_killed_halfway(deployed: Site) -> None:
    """As it is when the script dies after the new container was started and before it was sent traffic."""
    label = "org.opencontainers.image.version=20260101T000000Z-three"
    deployed.docker("rm", "churn-blue")
    deployed.docker("run", "--detach", "--name", "churn-blue", "--label", label, f"churn:{ONE}")
    done = deployed.script("rollback")
    assert done.stdout == f"{TWO}\n" and "a release was stopped halfway" in done.stderr
    assert deployed.live() == TWO
    assert deployed.colours()["blue"] == (ONE, "created")


def test_what_somebody_removed_by_hand_comes_back(deployed: Site) -> None:
    deployed.docker("rm", "--force", "churn-green", "churn-blue")
    state = deployed.script("status", ok=False)
    assert state.returncode == 1 and "AGAIN=1 make deploy" in state.stderr
    deployed.release(TWO, AGAIN="1")
    assert deployed.live() == TWO
    assert deployed.script("rollback").stdout == f"{ONE}\n"


def test_a_release_that_is_interrupted_leaves_the_old_version_serving(deployed: Site, tmp_path: Path) -> None:
    three = "20260101T000000Z-three"
    deployed.image(three, tmp_path / three, 'CMD ["sleep", "100"]')
    process = subprocess.Popen(
        ["deploy/docker/release.sh", three],
        cwd=deployed.path,
        env=deployed.environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    while deployed.containers().get("churn-blue") != "running":
        time.sleep(0.1)
    process.terminate()
    said = process.communicate()[1]
    assert process.returncode == 143 and f"live:  {TWO}" in said
    assert deployed.colours() == {"blue": (ONE, "created"), "green": (TWO, "running")}
    assert deployed.live() == TWO

"""Ask a server for the rows that came with its model: python -m lifecycle.serving.smoke [URL]

Prints the version that answers. Exit code 1, and why, when it does not predict what it predicted at the gate;
3 while nothing answers yet. On the standard library alone, because a release waits for it.
"""

import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

TOLERANCE = 1e-3  # relative, or absolute below 1: as far as ONNX may be from the estimator at the gate
SECONDS = 5


def main() -> None:
    url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"
    manifest = json.loads(Path(os.environ.get("MODEL_DIR", "model"), "manifest.json").read_bytes())
    try:
        version = call(f"{url}/health")["version"]
        if version == manifest["version"]:
            check(url, manifest)
    except (urllib.error.HTTPError, ValueError, KeyError) as error:
        sys.exit(f"{url}: {error}")
    except OSError as error:
        print(f"{url}: {error}", file=sys.stderr)
        sys.exit(3)
    print(version)


def check(url: str, manifest: dict[str, Any]) -> None:
    """Raise ValueError that names the first row whose prediction is another one than at the gate."""
    examples = [manifest["fixture"], *manifest.get("smoke", [])]
    answers = call(f"{url}/predict", [example["row"] for example in examples])["predictions"]
    for number, (example, answer) in enumerate(zip(examples, answers, strict=True), 1):
        if not near(answer, example["prediction"]):
            raise ValueError(f"row {number}: {answer}, but at the gate {example['prediction']}")


def call(url: str, body: Any = None) -> Any:
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get("API_KEY"):
        headers["X-API-Key"] = key
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=SECONDS) as answer:
        return json.load(answer)


def near(ours: Any, theirs: Any) -> bool:
    if isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(near(ours[key], theirs[key]) for key in theirs)
    if isinstance(theirs, float):
        return abs(ours - theirs) <= TOLERANCE * max(1, abs(theirs))
    return ours == theirs


if __name__ == "__main__":
    main()

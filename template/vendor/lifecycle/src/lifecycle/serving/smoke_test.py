"""Check that a server predicts as its model did at the gate: python -m lifecycle.serving.smoke_test [URL]

Prints the version that answers. Exit code 1 and the reason if a prediction differs, 3 if nothing answers.
It uses the standard library alone, because every release waits for it.
"""

import json
import os
import sys
import urllib.request
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

TOLERANCE = 1e-3  # relative, or absolute below 1: as far as ONNX may be from the estimator at the gate
SECONDS = 5  # that an answer may take


def main() -> None:
    url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000"
    manifest = json.loads(Path(os.environ.get("MODEL_DIR", "model"), "manifest.json").read_bytes())
    try:
        version = _ask(f"{url}/health")["version"]
        if version == manifest["version"]:
            examples = [manifest["fixture"], *manifest.get("smoke", [])]
            answers = _ask(f"{url}/predict", [example["row"] for example in examples])["predictions"]
            for number, (example, answer) in enumerate(zip(examples, answers, strict=True), 1):
                if not near(answer, example["prediction"]):
                    raise ValueError(f"row {number}: {answer}, but at the gate {example['prediction']}")
        print(version)
    except (OSError, ValueError, KeyError) as error:
        print(f"{url}: {error}", file=sys.stderr)
        sys.exit(3 if isinstance(error, OSError) and not isinstance(error, HTTPError) else 1)


def _ask(url: str, body: Any = None) -> Any:
    headers = {"Content-Type": "application/json", "X-API-Key": os.environ.get("API_KEY", "")}
    request = urllib.request.Request(url, body and json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:
        return json.load(answer)


def near(ours: Any, theirs: Any) -> bool:
    """Return whether two predictions are the same within TOLERANCE."""
    if isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(near(ours[key], theirs[key]) for key in theirs)
    if isinstance(theirs, float):
        return abs(ours - theirs) <= TOLERANCE * max(1, abs(theirs))
    return ours == theirs


if __name__ == "__main__":
    main()

"""Write cookiecutter.json from copier.yml: make door

Cookiecutter takes strings and lists of them, the default first. An empty answer is left to Copier's own
default, which may depend on other answers.
"""

import json
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
DOOR = ROOT / "cookiecutter.json"


def door(questions: dict[str, Any]) -> str:
    """Return the text of cookiecutter.json for the questions of copier.yml."""
    questions = {name: what for name, what in questions.items() if not name.startswith("_")}
    asked = {name: what for name, what in questions.items() if what.get("when") is not False}
    context: dict[str, Any] = {}
    prompts: dict[str, Any] = {}
    for name, what in asked.items():
        key = "project_slug" if name == "project_name" else name
        context[key], prompts[key] = _question(what)
    context["project_slug"] = "deliveries"
    prompts["project_slug"] = asked["project_name"]["help"]
    return json.dumps(context | {"__prompts__": prompts}, indent=2, ensure_ascii=False) + "\n"


def _question(what: dict[str, Any]) -> tuple[Any, Any]:
    if "choices" not in what:
        return "", f"{what['help']} Empty: made from the other answers."
    labels = what["choices"]
    if not isinstance(labels, dict):
        return sorted(labels, key=lambda value: value != what["default"]), what["help"]
    values = sorted(labels.values(), key=lambda value: value != what["default"])
    return values, {"__prompt__": what["help"]} | {value: label for label, value in labels.items()}


if __name__ == "__main__":
    DOOR.write_text(door(yaml.safe_load((ROOT / "copier.yml").read_text())))

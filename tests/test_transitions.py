"""An answer is changed on a project with edits: nothing stays of the old one, no edit is lost.

Every ordered pair of answers to one question, each beside every answer to the other questions. The last test
writes build/updates.md, the table of docs/updates.md, and fails when that page says something else.
"""

import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import copier
import pytest
import updating
from conftest import ROOT
from updating import (
    EDITS,
    Answers,
    Renders,
    allowed,
    apply_edits,
    choices,
    commit,
    difference,
    each_once,
    tree,
    users,
)

pytestmark = pytest.mark.slow
OFFERED = choices((ROOT / "copier.yml").read_text())
# The task is the user's own files from the first day on: changing it means writing those anew.
QUESTIONS = [name for name, given in OFFERED.items() if name != "task" and len(given) > 1]
TRANSITIONS = [
    (name, old, new) for name in QUESTIONS for old in OFFERED[name] for new in OFFERED[name] if old != new
]
# Where two answers may not stand together, the one that is not asked about here gives way.
ALLOWED = {"deploy": {"observability": "none"}, "observability": {"deploy": "docker"}}
Transition = tuple[str, str, str]
PAGE = ROOT / "docs/updates.md"
WRITTEN = ROOT / "build/updates.md"


@dataclass
class Outcome:
    """What came of a transition: how often each edit was made and had a place after it, and what is wrong."""

    projects: int = 0
    made: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


class Outcomes:
    """Tries each transition once, beside each answer to the other questions."""

    def __init__(self, renders: Renders, scratch: Path) -> None:
        self.renders, self.scratch = renders, scratch
        self._known: dict[Transition, Outcome] = {}

    def of(self, transition: Transition) -> Outcome:
        if transition not in self._known:
            self._known[transition] = outcome = Outcome()
            name, old, new = transition
            for rest in each_once({other: given for other, given in OFFERED.items() if other != name}):
                before, after = rest | {name: old}, rest | {name: new}
                if not (allowed(before) and allowed(after)):
                    before, after = ({**answers, **ALLOWED[name]} for answers in (before, after))
                self._change(before, after, outcome)
        return self._known[transition]

    def _change(self, before: Answers, after: Answers, outcome: Outcome) -> None:
        folder = self.scratch / "one"
        shutil.rmtree(folder, ignore_errors=True)
        project = self.renders.make(folder / "churn", before)
        made = apply_edits(project)
        commit(project)
        mine = {name: what for name, what in tree(project).items() if users(name)}
        updating.update(project, vcs_ref=copier.VcsRef.CURRENT, data=after)
        fresh = self.renders.make(folder / "fresh" / "churn", after)
        kept = apply_edits(fresh, made)
        should = {name: what for name, what in tree(fresh).items() if not users(name)} | mine
        conflicts = ["in conflict: " + line for line in updating.unmerged(project).splitlines()]
        outcome.projects += 1
        outcome.made.update(made)
        outcome.kept.update(kept)
        found = conflicts + difference(project, should)
        outcome.wrong += [f"{'-'.join(after.values())}: {line}" for line in found]


@pytest.fixture(scope="module")
def outcomes(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    renders = Renders(template, tmp_path_factory.mktemp("fresh"))
    return Outcomes(renders, tmp_path_factory.mktemp("transitions"))


def first(transition: Transition) -> bool:
    """Whether it is the first of its question: the others take too long for each change."""
    return transition == next(each for each in TRANSITIONS if each[0] == transition[0])


@pytest.mark.parametrize(
    "transition",
    [
        pytest.param(each, marks=() if first(each) else pytest.mark.long, id="-".join(each))
        for each in TRANSITIONS
    ],
)
def test_it_is_a_fresh_render_with_the_edits(outcomes: Outcomes, transition: Transition) -> None:
    outcome = outcomes.of(transition)
    assert not outcome.wrong, "\n".join(outcome.wrong)
    gone = {name for name, times in outcome.made.items() if outcome.kept[name] < times}
    left = {"github": {"own step in our workflow file"}, "gitlab": {"own step in our GitLab file"}}
    assert gone == (left.get(transition[1], set()) if transition[0] == "ci" else set())


def test_the_comparison_sees_what_is_wrong(outcomes: Outcomes) -> None:
    """What the other tests rest on: a line or a file less, an empty folder more, a lost bit."""
    project = outcomes.renders.make(outcomes.scratch / "seen", each_once(OFFERED)[0])
    should = tree(project)
    assert difference(project, should) == []
    assert updating.replace(project / "Makefile", "# Your own below this line\n", "")
    assert updating.replace(project / ".copier-answers.yml", "project_name: churn", "project_name: lost")
    (project / "orphan").mkdir()
    (project / "docs/checklist.md").unlink()
    script = next(project.glob("deploy/*/status.sh"))
    script.chmod(0o644)
    found = {line.partition(": ")[0]: line.partition(": ")[2][:16] for line in difference(project, should)}
    assert found.pop(".copier-answers.yml").startswith("{")
    name = script.relative_to(project).as_posix()
    lost = {"docs/checklist.md": "lost", "orphan/": "should not be th"}
    assert found == {"Makefile": "differs", name: "differs"} | lost


@pytest.mark.long
def test_the_tables_in_docs_are_what_was_counted(outcomes: Outcomes) -> None:
    tables = by_transition(outcomes) + "\n" + by_edit(outcomes)
    head, _, rest = PAGE.read_text().partition("<!-- counted -->\n")
    foot = rest.partition("<!-- end -->\n")[2]
    text = f"{head}<!-- counted -->\n{tables}<!-- end -->\n{foot}"
    WRITTEN.parent.mkdir(exist_ok=True)
    WRITTEN.write_text(text)
    assert text == PAGE.read_text(), f"cp {WRITTEN.relative_to(ROOT)} {PAGE.relative_to(ROOT)}"


def by_transition(outcomes: Outcomes) -> str:
    lines = [
        "| question | from | to | projects | edits made | kept |",
        "| --- | --- | --- | ---: | ---: | ---: |",
    ]
    for transition in TRANSITIONS:
        outcome = outcomes.of(transition)
        counts = (outcome.projects, outcome.made.total(), outcome.kept.total())
        lines.append(f"| {' | '.join([*transition, *map(str, counts)])} |")
    return "\n".join(lines) + "\n"


def by_edit(outcomes: Outcomes) -> str:
    lines = [f"| edit | {' | '.join(QUESTIONS)} |", "| --- |" + " ---: |" * len(QUESTIONS)]
    for name in EDITS:
        cells = []
        for question in QUESTIONS:
            found = [outcomes.of(each) for each in TRANSITIONS if each[0] == question]
            cells.append(
                f"{sum(each.kept[name] for each in found)} of {sum(each.made[name] for each in found)}"
            )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"

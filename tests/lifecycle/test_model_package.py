"""A candidate's folder is checked before anything in it is loaded, and predicts what it predicted."""

import json

import numpy as np
import pytest
from lifecycle.data.arrays import from_rows
from lifecycle.errors import DigestMismatch
from lifecycle.model.package import FILES, MANIFEST, digest, unseal, verify
from lifecycle.model.predictor import Predictor, same
from lifecycle.project import Project


def test_a_version_is_named_by_its_time_and_its_files(project: Project) -> None:
    manifest = verify(project.candidate)
    stamp, _, short = manifest.version.partition("-")
    assert stamp == manifest.created.replace("-", "").replace(":", "").replace("+0000", "Z")
    assert len(short) == 8
    assert {name: facts.sha256 for name, facts in manifest.files.items()} == {
        name: digest(project.candidate / name) for name in FILES
    }


@pytest.mark.parametrize("name", FILES)
def test_a_changed_or_missing_file_is_named(project: Project, name: str) -> None:
    path = project.candidate / name
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(DigestMismatch, match=f"{name} is not the file that was published"):
        Predictor(project.candidate, project.features.build)
    path.unlink()
    with pytest.raises(DigestMismatch, match=f"{name} is missing"):
        verify(project.candidate)


def test_a_candidate_without_a_seal_is_no_version(project: Project) -> None:
    unseal(project.candidate)
    unseal(project.candidate)
    assert Predictor(project.candidate, project.features.build).version == ""
    assert not Predictor(project.candidate, project.features.build).healthy()
    with pytest.raises(DigestMismatch, match="it has not passed evaluate"):
        verify(project.candidate)


@pytest.mark.parametrize("text", ["", "{}", "\0", '{"version": 1}'])
def test_a_damaged_manifest_is_refused(project: Project, text: str) -> None:
    (project.candidate / MANIFEST).write_text(text)
    with pytest.raises(DigestMismatch, match=r"manifest\.json is damaged"):
        verify(project.candidate)


def test_health_is_the_prediction_of_the_fixture_row(project: Project, predictor: Predictor) -> None:
    assert predictor.healthy()
    assert predictor.health() == (200, {"status": "ok", "version": predictor.version})
    manifest = json.loads((project.candidate / MANIFEST).read_text())
    manifest["fixture"]["prediction"]["prediction"] += 1
    (project.candidate / MANIFEST).write_text(json.dumps(manifest))
    assert Predictor(project.candidate, project.features.build).health()[0] == 503


def test_a_regression_answers_with_a_number(predictor: Predictor) -> None:
    row = predictor.fixture["row"]
    answers = predictor.predict([row, row])
    assert answers[0].keys() == {"prediction"} and answers[0] == answers[1]


def test_a_classification_answers_with_a_class_and_probabilities(classifier_project: Project) -> None:
    predictor = Predictor(classifier_project.candidate, classifier_project.features.build)
    row = predictor.fixture["row"]
    answer = predictor.predict([row])[0]
    assert answer["probabilities"].keys() == {"late", "on_time"}
    assert answer["prediction"] == max(answer["probabilities"], key=answer["probabilities"].get)
    output = predictor.predict_arrays(from_rows([row], predictor.schema.columns))
    np.testing.assert_allclose(output.sum(axis=1), 1)


def test_answers_are_the_same_within_the_precision_of_float32() -> None:
    assert same({"prediction": 1.0, "class": "a"}, {"prediction": 1.00001, "class": "a"})
    assert not same({"prediction": 1.0}, {"prediction": 1.01})
    assert not same({"prediction": 1.0}, {"other": 1.0})
    assert not same("a", "b")

"""Your model trains, becomes ONNX that predicts the same, and is served."""

import numpy as np
from fastapi.testclient import TestClient
from lifecycle.data.arrays import from_frame
from lifecycle.model.predictor import Predictor, same
from lifecycle.project import Project
from lifecycle.serving.app import create_app
from lifecycle.training import candidate, dataset


def test_onnx_predicts_what_the_estimator_predicts(small: Project, predictor: Predictor) -> None:
    holdout = dataset.read(small.holdout)
    predicted = predictor.predict_arrays(from_frame(holdout, predictor.schema.columns))
    expected = candidate.estimates(holdout).reshape(predicted.shape)
    np.testing.assert_allclose(predicted, expected, rtol=0, atol=0.01 * max(1, expected.std()))


def test_the_server_predicts_its_fixture_row(predictor: Predictor) -> None:
    with TestClient(create_app()) as client:
        assert client.get("/health").json() == {"status": "ok", "version": predictor.version}
        answer = client.post("/predict", json=predictor.fixture["row"]).json()
    assert same(answer["predictions"][0], predictor.fixture["prediction"])

"""One model, loaded from a checked folder: the gate, the server and the drift check all predict by it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from .. import candidate, project
from ..columns import Arrays, Schema, from_rows, to_float32
from ..monitoring.windows import Recorder


class Predictor:
    """Runs model.onnx behind features.py.

    Raises DigestMismatch when a file of a sealed folder was changed. A folder that train has written and
    evaluate has not sealed yet loads too, with no version: only the gate does that.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        sealed = (folder / candidate.MANIFEST).exists()
        self.manifest = candidate.verify(folder) if sealed else None
        self.version = self.manifest.version if self.manifest else ""
        self.schema = Schema.read(folder)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # a row takes microseconds: threads would only wait for it
        self._session = onnxruntime.InferenceSession(
            folder / "model.onnx", options, providers=["CPUExecutionProvider"]
        )
        self._output = self._session.get_outputs()[-1].name

    def predict_arrays(self, columns: Arrays) -> np.ndarray:
        """Predict whole columns: returns [rows] numbers, or [rows, classes] probabilities."""
        built = project.features.build(columns)
        feed = {}
        # By place: skl2onnx gives names such as "mean radius" a spelling of its own.
        for name, given in zip(self.schema.inputs, self._session.get_inputs(), strict=True):
            array = built[name]
            text = array.dtype.kind in "OUS"
            feed[given.name] = (array.astype(object) if text else to_float32(array)).reshape(-1, 1)
        output = np.asarray(self._session.run([self._output], feed)[0], dtype=np.float64)
        if not self.schema.classes:
            return output.reshape(-1)
        output = np.clip(output, 0, 1)  # float32 gives 1.0000004 and the like
        return output / output.sum(axis=1, keepdims=True)

    def answers(self, output: np.ndarray) -> list[dict[str, Any]]:
        """Turn predictions into what the server answers, a dictionary a row."""
        if not self.schema.classes:
            return [{"prediction": value} for value in output.tolist()]
        names = [str(label) for label in self.schema.classes]
        return [
            {
                "prediction": self.schema.classes[best],
                "probabilities": dict(zip(names, row, strict=True)),
            }
            for best, row in zip(output.argmax(axis=1).tolist(), output.tolist(), strict=True)
        ]

    def predict(self, rows: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Predict rows that the request model has checked, or that the fixture holds."""
        return self.answers(self.predict_arrays(from_rows(rows, self.schema.columns)))

    def respond(self, body: Any, recorder: Recorder) -> tuple[dict[str, Any], np.ndarray]:
        """Answer a body that the request model has checked, a row or a list of them, and count it.

        Returns the answer, and the predictions as predict_arrays gives them.
        """
        rows = body if isinstance(body, list) else [body]
        columns = from_rows([row.model_dump(by_alias=True) for row in rows], self.schema.columns)
        output = self.predict_arrays(columns)
        ids = recorder.add(columns, output)
        return {"version": self.version, "predictions": self.answers(output), "ids": ids}, output

    @property
    def anomaly_rules(self) -> dict[str, Any]:
        """What params.yaml said of the anomaly log when the model was trained; {}: nothing is logged."""
        return self.manifest.params.get("anomalies", {}) if self.manifest else {}

    @property
    def fixture(self) -> dict[str, Any]:
        """The row that came with the model, and what it predicted for it: {"row", "prediction"}."""
        return self.manifest.fixture if self.manifest else {}

    def healthy(self) -> bool:
        """Say whether the fixture row still gets the prediction that came with the model."""
        if not self.fixture:
            return False
        return same(self.predict([self.fixture["row"]])[0], self.fixture["prediction"])

    def health(self) -> tuple[int, dict[str, str]]:
        """Return the HTTP status and the body of the answer to GET /health."""
        healthy = self.healthy()
        return 200 if healthy else 503, {"status": "ok" if healthy else "broken", "version": self.version}


def same(ours: Any, theirs: Any) -> bool:
    """Compare two answers, numbers within float32's precision (another CPU may round differently)."""
    if isinstance(ours, dict):
        return ours.keys() == theirs.keys() and all(same(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, float):
        return bool(np.isclose(ours, theirs, rtol=1e-4, atol=1e-5))
    return ours == theirs

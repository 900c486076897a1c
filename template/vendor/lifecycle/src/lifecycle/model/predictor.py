"""One model, loaded from a checked folder: the gate, the server and the checks all predict by it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from ..data.arrays import Arrays, from_rows, model_input
from ..data.schema import Schema
from .package import MANIFEST, verify


class Predictor:
    """Runs model.onnx behind features.py, whose function `build` turns columns into the model's inputs.

    folder: of a version, or of a candidate that is not sealed yet, which has no version: only the gate loads
    those. Raises DigestMismatch when a file of a sealed folder was changed.
    fixture: the row that came with the model, and what it predicted for it: {"row", "prediction"}.
    anomaly_rules: the section `anomalies` of params.yaml as the model was trained; {}: nothing is logged.
    """

    def __init__(self, folder: Path, build: Callable[[Arrays], Arrays]) -> None:
        self.folder = folder
        self.manifest = verify(folder) if (folder / MANIFEST).exists() else None
        self.version = self.manifest.version if self.manifest else ""
        self.fixture = self.manifest.fixture if self.manifest else {}
        self.anomaly_rules = self.manifest.params.get("anomalies", {}) if self.manifest else {}
        self.schema = Schema.read(folder)
        self._build = build
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # a row takes microseconds: threads would only wait for it
        self._session = onnxruntime.InferenceSession(
            folder / "model.onnx", options, providers=["CPUExecutionProvider"]
        )
        self._output = self._session.get_outputs()[-1].name

    def predict_arrays(self, columns: Arrays) -> np.ndarray:
        """Predict columns of schema.py: returns [rows] numbers, or [rows, classes] probabilities."""
        built = self._build(columns)
        # By place: skl2onnx gives names such as "mean radius" a spelling of its own.
        inputs = zip(self.schema.inputs, self._session.get_inputs(), strict=True)
        feed = {given.name: model_input(built[name]) for name, given in inputs}
        output = np.asarray(self._session.run([self._output], feed)[0], dtype=np.float64)
        if not self.schema.classes:
            return output.reshape(-1)
        output = np.clip(output, 0, 1)  # float32 gives 1.0000004 and the like
        return output / output.sum(axis=1, keepdims=True)

    def answers(self, output: np.ndarray) -> list[dict[str, Any]]:
        """Turn what predict_arrays returned into what the server answers, a dictionary for each row."""
        if not self.schema.classes:
            return [{"prediction": value} for value in output.tolist()]
        names = [str(label) for label in self.schema.classes]
        return [
            {"prediction": self.schema.classes[best], "probabilities": dict(zip(names, row, strict=True))}
            for best, row in zip(output.argmax(axis=1).tolist(), output.tolist(), strict=True)
        ]

    def predict(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Predict rows that the request model has checked, or that the fixture holds."""
        return self.answers(self.predict_arrays(from_rows(rows, self.schema.columns)))

    def healthy(self) -> bool:
        """Return whether the fixture row still gets the prediction that came with the model."""
        row, prediction = self.fixture.get("row"), self.fixture.get("prediction")
        return row is not None and same(self.predict([row])[0], prediction)

    def health(self) -> tuple[int, dict[str, str]]:
        """Return the HTTP status and the body of the answer to GET /health."""
        healthy = self.healthy()
        return 200 if healthy else 503, {"status": "ok" if healthy else "broken", "version": self.version}


def same(ours: Any, theirs: Any) -> bool:
    """Return whether two answers are equal, numbers within float32's precision: CPUs round differently."""
    if isinstance(ours, dict):
        return ours.keys() == theirs.keys() and all(same(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, float):
        return bool(np.isclose(ours, theirs, rtol=1e-4, atol=1e-5))
    return ours == theirs

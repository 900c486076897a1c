"""Which estimator to begin with, what params.yaml hands it, and model.py as text. Pure."""

from typing import Any

from .texts import BLANK

SMALL = 1000  # rows below which a linear model generalises better than trees
PARAMETERS: dict[str, dict[str, Any]] = {  # the model section of params.yaml that an estimator begins with
    "Hist": {"max_iter": 300, "learning_rate": 0.06},
    "Ridge": {"alpha": 1.0},
    "Logistic": {"C": 1.0},
}
MODEL = '''"""The model. This file is yours: any scikit-learn estimator that exports to ONNX will do.

{why}
Random forests, XGBoost and LightGBM do too (`uv sync --group boosting` for the last two). Do not scale
inputs before trees: ONNX computes in float32. `evaluate` refuses a model that differs there.
{seal}
"""

{imports}


def build(numbers: list[str], categories: list[str], params: dict) -> Pipeline:
    """Return an unfitted estimator over the inputs that features.py built.

    params is the `model` section of params.yaml.
    """
    columns = ColumnTransformer(
        [
            ("numbers", {numbers}, numbers),
            ("categories", OneHotEncoder(handle_unknown="ignore", sparse_output=False), categories),
        ]
    )
    estimator = {estimator}
    return Pipeline([("columns", columns), ("model", estimator)])
'''


def estimator(task: str, rows: int) -> tuple[str, str]:
    """Return the name of the scikit-learn estimator to begin with, and why."""
    if rows < SMALL:
        name = "Ridge" if task == "regression" else "LogisticRegression"
        return name, f"{rows:,} rows: below {SMALL:,} a linear model generalises better than trees do."
    name = "HistGradientBoosting" + ("Regressor" if task == "regression" else "Classifier")
    return name, f"{rows:,} rows: from {SMALL:,} on trees find what a linear model cannot."


def model(estimator: str, why: str) -> str:
    """Write model.py with HistGradientBoosting… over raw inputs, or with a linear model over scaled ones."""
    linear = not estimator.startswith("Hist")
    imports = {"compose": "ColumnTransformer", "pipeline": "Pipeline", "preprocessing": "OneHotEncoder"}
    imports["linear_model" if linear else "ensemble"] = estimator
    numbers, fixed = '"passthrough"', "random_state=0, "
    if linear:
        imports |= {"impute": "SimpleImputer", "pipeline": "Pipeline, make_pipeline"}
        imports["preprocessing"] += ", StandardScaler"
        numbers = 'make_pipeline(SimpleImputer(strategy="median"), StandardScaler())'
        fixed = "max_iter=1000, " if estimator == "LogisticRegression" else ""
    return MODEL.format(
        seal=BLANK,
        why=why,
        imports="\n".join(f"from sklearn.{name} import {imports[name]}" for name in sorted(imports)),
        numbers=numbers,
        estimator=f"{estimator}({fixed}**params)",
    )

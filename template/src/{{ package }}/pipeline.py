"""The pipeline, step by step. This file is yours: change a step, or add one.

`lifecycle train` calls train() below; dvc.yaml says when, and what it reads and writes. A step of your own is
a function here, and a stage in dvc.yaml with the command `lifecycle run NAME`. Each returns a line to print.
"""

from functools import partial

from lifecycle import settings
from lifecycle.data.arrays import from_frame
from lifecycle.data.schema import describe
from lifecycle.data.validation import check
from lifecycle.files import to_json, write_parquet, write_text
from lifecycle.model.package import unseal, verify
from lifecycle.model.predictor import Predictor
from lifecycle.monitoring.profile import Profile, importances
from lifecycle.project import Project
from lifecycle.registry.base import STAGING, open_registry, production_model, whoami
from lifecycle.training import candidate, dataset, export, gate, lineage, metrics

from . import data, features, model, schema


def ingest(project: Project) -> str:
    """Load the labelled rows by data.py, and keep them in one Parquet file."""
    rows = dataset.load(data, project.root)
    write_parquet(rows, project.raw)
    return f"{len(rows):,} rows, {rows.shape[1]} columns"


def validate(project: Project) -> str:
    """Stop here if a row breaks schema.py: nothing is trained on wrong data."""
    rows = check(dataset.read(project.raw), schema)
    write_parquet(rows, project.valid)
    lineage.write_environment(project)
    return f"{len(rows):,} rows, {rows.shape[1]} columns, every one within schema.py"


def train(project: Project) -> str:
    """Fit model.py's estimator on the older rows and export it; the newest rows are held out for the gate."""
    params, declared = settings.load(project), describe(schema)
    older, holdout = dataset.split(dataset.read(project.valid), declared.time, params.split)
    training = dataset.TrainingSet.make(older, declared, features.build)

    estimator = model.build(training.numbers, training.categories, dict(params.model))
    export.check_task(estimator, declared)
    estimator.fit(training.inputs, training.target)

    onnx = export.to_model(estimator, training.numbers, training.categories)
    predict = partial(export.predict, estimator, features.build)
    profile = Profile.build(training.columns, predict(training.columns), training.schema, training.labels)
    importance = importances(training.columns, predict)
    candidate.write(project.candidate, onnx, training.schema, profile.to_dict(), importance)
    candidate.write_holdout(project.holdout, holdout, predict(from_frame(holdout, declared.columns)))
    lineage.write(project, training, params)
    return f"{len(older):,} rows to learn from, {len(holdout):,} newest held out"


def evaluate(project: Project) -> str:
    """The gate: measure the candidate on the rows that were held out, and seal it if it breaks no rule."""
    unseal(project.candidate)  # an older seal says nothing about this measurement
    thresholds, training = settings.load(project).gate, lineage.read(project)
    holdout, new = dataset.read(project.holdout), Predictor(project.candidate, features.build)
    folder = production_model(project) if thresholds.compare_with_live else None
    live = Predictor(folder, features.build) if folder else None

    facts, faults = gate.judge(new, holdout, training["naive"], thresholds, live)
    write_text(project.metrics, to_json(facts))
    gate.reject(faults)
    manifest = candidate.seal(new, holdout, training, facts)
    return f"{metrics.sentence(facts)}: passed as {manifest.version}"


def register(project: Project) -> str:
    """Publish the candidate and point the alias staging at it; a second run changes nothing."""
    registry = open_registry(project)
    version = registry.publish(project.candidate)
    registry.promote(version, STAGING, whoami(project), "registered")
    facts = {"version": version, "metrics": verify(project.candidate).metrics}
    write_text(project.artifacts / "registered.json", to_json(facts))
    return f"{version} is in the registry, with the alias {STAGING}"

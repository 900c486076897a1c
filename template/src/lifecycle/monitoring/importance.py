"""How much predictions depend on each column: what drift of it would matter."""

from collections.abc import Callable

import numpy as np

from ..columns import Arrays

ROWS = 2000


def importances(columns: Arrays, predict: Callable[[Arrays], np.ndarray]) -> dict[str, float]:
    """Return for each column the mean change of the predictions when it is shuffled, the largest being 1.

    Permutation importance (Breiman 2001) of the predictions instead of the error, so that it needs no labels.
    Columns that say the same share their importance: hold it against a low bar only.
    """
    random = np.random.default_rng(0)
    rows = len(next(iter(columns.values())))
    some = np.sort(random.choice(rows, min(rows, ROWS), replace=False))
    sample = {name: values[some] for name, values in columns.items()}
    before = predict(sample)
    changes = {}
    for name, values in sample.items():
        after = predict({**sample, name: random.permutation(values)})
        changes[name] = float(np.mean(np.abs(after - before)))
    largest = max(changes.values()) or 1.0
    return {name: change / largest for name, change in changes.items()}

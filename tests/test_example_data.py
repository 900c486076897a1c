"""The example data tells its story: a stable history, then drift and a changed city."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from lean_mlops import example_data

DATA = Path(__file__).parents[1] / "template" / "data"
NUMBERS = ("hour", "weekday", "distance_km", "items", "order_value", "courier_months")
CATEGORIES = {
    "vehicle": {"bike", "scooter", "car"},
    "weather": {"clear", "rain", "snow"},
    "zone": {"centre", "north", "south", "east", "west"},
    "late": {"late", "on_time"},
}
RANGES = {
    "distance_km": (0.2, 25),
    "items": (1, 12),
    "order_value": (5, 250),
    "courier_months": (0, 120),
    "minutes": (8, 150),
}
DRIFTS = {"distance_km", "vehicle", "weather", "courier_months"}


def read(name: str) -> pd.DataFrame:
    orders = pd.read_parquet(DATA / name)
    ordered_at = orders["ordered_at"].dt
    return orders.assign(hour=ordered_at.hour, weekday=ordered_at.day_of_week)


@pytest.fixture(scope="module")
def history() -> pd.DataFrame:
    return read("deliveries.parquet")


@pytest.fixture(scope="module")
def recent() -> pd.DataFrame:
    return read("recent.parquet")


def psi(before: pd.Series, after: pd.Series) -> float:
    """Population stability index over the deciles or the values of `before`; missing is a bin."""
    if pd.api.types.is_numeric_dtype(before):
        edges = [-np.inf, *np.unique(before.quantile(np.linspace(0.1, 0.9, 9))), np.inf]
        before, after = pd.cut(before, edges), pd.cut(after, edges)
    p, q = (bins.astype(str).value_counts(normalize=True) for bins in (before, after))
    p, q = (p + 1e-4).align(q + 1e-4, fill_value=1e-4)
    return float(((q - p) * np.log(q / p)).sum())


def ks(before: pd.Series, after: pd.Series) -> float:
    """Largest distance between the two empirical distribution functions."""
    first, second = np.sort(before.dropna()), np.sort(after.dropna())
    grid = np.union1d(first, second)
    return float(
        np.abs(
            np.searchsorted(first, grid, side="right") / len(first)
            - np.searchsorted(second, grid, side="right") / len(second)
        ).max()
    )


@pytest.mark.parametrize("name", example_data.FILES)
def test_the_committed_file_is_what_the_generator_writes(name, tmp_path):
    example_data.main(tmp_path)
    committed, again = pq.read_table(DATA / name), pq.read_table(tmp_path / name)
    assert again.schema.equals(example_data.SCHEMA)
    assert committed.equals(again)
    assert pq.ParquetFile(DATA / name).metadata.row_group(0).column(0).compression == "ZSTD"


def test_the_files_are_small_enough_to_ship_in_every_project():
    assert sum((DATA / name).stat().st_size for name in example_data.FILES) < 600_000


@pytest.mark.parametrize(
    ("name", "rows", "first", "last"),
    [
        ("deliveries.parquet", 12_000, "2025-01-01", "2025-09-30"),
        ("recent.parquet", 4_000, "2025-10-01", "2025-12-31"),
    ],
)
def test_no_row_is_invalid(name, rows, first, last):
    orders = read(name)
    assert len(orders) == rows
    assert orders["ordered_at"].is_monotonic_increasing
    assert str(orders["ordered_at"].iloc[0].date()) == first
    assert str(orders["ordered_at"].iloc[-1].date()) == last
    for column, (low, high) in RANGES.items():
        assert orders[column].dropna().between(low, high).all(), column
    for column, values in CATEGORIES.items():
        assert set(orders[column].dropna()) == values
    missing = orders[list(example_data.SCHEMA.names)].drop(columns=["minutes", "late"]).isna()
    for column, share in missing.drop(columns="labelled_at").mean().items():
        assert share == pytest.approx(example_data.MISSING.get(column, 0), abs=0.01), column


def test_demand_peaks_at_lunch_and_dinner(history):
    orders = history["hour"].value_counts()
    assert orders[12] > 2 * orders[15] and orders[19] > 2 * orders[15]


def test_every_label_of_the_history_is_known_and_a_fifth_to_a_third_is_late(history):
    assert history[["minutes", "late", "labelled_at"]].notna().all(axis=None)
    assert 0.2 < (history["late"] == "late").mean() < 0.3


def test_labels_come_1_to_14_days_later_and_the_last_have_not_arrived(history, recent):
    both = pd.concat([history, recent])
    days = (both["labelled_at"] - both["ordered_at"]).dropna() / pd.Timedelta(days=1)
    assert days.between(1, 14).all()
    unlabelled = recent["labelled_at"].isna()
    assert recent["labelled_at"].max() < pd.Timestamp("2026-01-01")
    assert (recent["minutes"].isna() == unlabelled).all()
    assert (recent["late"].isna() == unlabelled).all()
    assert unlabelled[recent["ordered_at"] >= "2025-12-31"].all()
    assert not unlabelled[recent["ordered_at"] < "2025-12-17"].any()


def test_the_history_is_stable_up_to_its_own_hold_out(history):
    cut = int(0.8 * len(history))
    train, hold_out = history[:cut], history[cut:]
    for column in (*NUMBERS, "vehicle", "weather", "zone"):
        assert psi(train[column], hold_out[column]) < 0.1, column
    for column in NUMBERS:
        assert ks(train[column], hold_out[column]) < 0.1, column
    assert (train["weather"] == "snow").sum() > 30
    assert not (hold_out["weather"] == "snow").any()


def test_four_features_drift_after_the_history_and_the_others_do_not(history, recent):
    for column in (*NUMBERS, "vehicle", "weather", "zone"):
        drift = psi(history[column], recent[column])
        assert drift > 0.2 if column in DRIFTS else drift < 0.05, column
    for column in NUMBERS:
        distance = ks(history[column], recent[column])
        assert distance > 0.2 if column in DRIFTS else distance < 0.05, column


def test_the_building_site_slows_cars_and_scooters_in_the_centre_and_the_north(history, recent):
    def slower(vehicles: set[str], zones: set[str]) -> float:
        before, after = (
            orders.loc[
                orders["vehicle"].isin(vehicles)
                & orders["zone"].isin(zones)
                & orders["distance_km"].between(4, 7)
                & (orders["courier_months"] > 6)
                & (orders["weather"] == "clear"),
                "minutes",
            ].median()
            for orders in (history, recent)
        )
        return after / before - 1

    motors, site = {"car", "scooter"}, {"centre", "north"}
    assert slower(motors, site) > 0.1
    assert abs(slower(motors, CATEGORIES["zone"] - site)) < 0.05
    assert abs(slower({"bike"}, site)) < 0.05


def test_retraining_pays_off(history, recent):
    """A table of typical minutes, standing in for a model, is better made anew than kept."""
    keys = ["vehicle", "near_site", "km"]

    def cells(orders: pd.DataFrame) -> pd.DataFrame:
        km = np.searchsorted([1, 2, 3, 4, 5, 6, 8, 10, 13, 17], orders["distance_km"])
        return orders.assign(km=km, near_site=orders["zone"].isin(["centre", "north"]))

    def error(train: pd.DataFrame, test: pd.DataFrame) -> float:
        typical = cells(train).groupby(keys)["minutes"].median().rename("typical").reset_index()
        # A tree, too, answers beyond the farthest order it knows as it does at that order.
        farthest = typical.groupby(keys[:2])["km"].max().rename("farthest").reset_index()
        asked = cells(test).merge(farthest, on=keys[:2])
        asked["km"] = asked[["km", "farthest"]].min(axis=1)
        asked = asked.merge(typical, on=keys, how="left")
        return float((asked["minutes"] - asked["typical"]).abs().mean())

    labelled = recent[recent["minutes"].notna()]
    early = labelled["ordered_at"] < "2025-11-20"
    stale = error(history, labelled[~early])
    retrained = error(pd.concat([history, labelled[early]]), labelled[~early])
    assert retrained < 0.9 * stale

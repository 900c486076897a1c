"""The example data of a rendered project: food-delivery orders of one city in 2025.

The data is **synthetic**: no order, courier or city in it exists. A seeded generator draws the same
rows on every run: demand has a daily and a weekly shape, distances are lognormal within the radius
served, each hour's weather comes from its month's shares, minutes = (kitchen + riding + finding the
address) * lognormal noise, and late means longer than promised. Last, a few values are blanked.

- `deliveries.parquet`: January to September, the history known when the project begins.
- `recent.parquet`: October to December. The radius is wider, couriers are newer and more of them
  drive, the weather is worse, and a tram line's building site slows cars and scooters down in the
  centre and the north. Labels that come after 31 December are missing.

Write both with `python -m lean_mlops.example_data [OUT_DIR]`.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

SCHEMA = pa.schema(
    {
        "ordered_at": pa.timestamp("us"),  # local time, whole seconds
        "distance_km": pa.float64(),
        "items": pa.int64(),
        "order_value": pa.float64(),  # euros
        "vehicle": pa.string(),
        "weather": pa.string(),
        "zone": pa.string(),
        "courier_months": pa.float64(),  # experience of the courier
        "minutes": pa.float64(),  # from order to door: the target of regression
        "late": pa.string(),  # "late" or "on_time": the target of classification
        "labelled_at": pa.timestamp("us"),  # when minutes and late became known
    }
)
MISSING = {"order_value": 0.03, "weather": 0.02, "courier_months": 0.05}
PROMISE_MINUTES, PROMISE_PER_KM = 24.0, 3.0
LABELS_END = pd.Timestamp("2026-01-01")  # labels that come from then on are missing
WEATHER = np.array(["clear", "rain", "snow"])
VEHICLES, SPEED_KMH = np.array(["bike", "scooter", "car"]), np.array([15.0, 24.0, 30.0])
JAM = np.array([0.05, 0.25, 0.7])  # share of riding time added at full demand, by vehicle
WEATHER_SLOWS = np.array([[1.0, 1.3, 1.8], [1.0, 1.15, 1.6], [1.0, 1.1, 1.4]])  # [vehicle, weather]
RAIN = np.array([20, 20, 19, 20, 18, 18, 18, 19, 20, 36, 38, 36]) / 100  # share of hours, by month
SNOW = np.array([2.5, 2.5, 0.8, 0, 0, 0, 0, 0, 0, 0, 5, 12]) / 100
ZONES = np.array(["centre", "north", "south", "east", "west"])
ZONE_SHARES, ZONE_SLOWS = [0.32, 0.22, 0.18, 0.16, 0.12], np.array([1.25, 1.1, 1.0, 0.95, 0.9])
HOURLY = np.array([1, 0, 0, 0, 0, 0, 0, 0, 1, 2, 4, 11, 17, 13, 5, 4, 5, 9, 16, 20, 15, 9, 5, 2])
WEEKDAY = np.array([0.85, 0.85, 0.9, 0.95, 1.2, 1.3, 1.15])  # Monday first


@dataclass(frozen=True)
class Period:
    """What one file covers: the orders from `start` to before `end`, and how the city was then."""

    start: str
    end: str
    rows: int
    median_km: float  # of the lognormal, before the radius cuts it
    radius_km: float
    vehicle_shares: tuple[float, float, float]
    mean_courier_months: float
    site_slows: float  # factor on the riding time of cars and scooters in the centre and the north


HISTORY = Period("2025-01-01", "2025-10-01", 12_000, 3.1, 10.0, (0.5, 0.38, 0.12), 26.0, 1.0)
RECENT = Period("2025-10-01", "2026-01-01", 4_000, 4.5, 25.0, (0.33, 0.3, 0.37), 13.0, 1.35)
FILES = {"deliveries.parquet": HISTORY, "recent.parquet": RECENT}


def generate(period: Period, seed: int = 1) -> pd.DataFrame:
    """Return the period's orders, sorted by `ordered_at`, in the columns and units of `SCHEMA`."""
    rng, n = np.random.default_rng(seed), period.rows
    hours = pd.date_range(period.start, period.end, freq="h", inclusive="left")
    demand = HOURLY[hours.hour] * WEEKDAY[hours.day_of_week]
    slot = np.sort(rng.choice(len(hours), n, p=demand / demand.sum()))
    ordered_at = (hours[slot] + pd.to_timedelta(rng.integers(0, 3600, n), "s")).sort_values()
    busy = demand[slot] / demand.max()

    distance = rng.lognormal(np.log(period.median_km), 0.65, 4 * n)
    distance = distance[(distance >= 0.2) & (distance <= period.radius_km)][:n].round(2)
    items = np.minimum(1 + rng.poisson(1.6, n), 12)
    value = (4 + 10.5 * items * rng.lognormal(0, 0.35, n)).clip(5, 250).round(2)
    vehicle = rng.choice(3, n, p=period.vehicle_shares)
    vehicle[(vehicle == 0) & (distance > 7)] = 1  # nobody cycles that far
    sky, snow, rain = rng.random(len(hours)), SNOW[hours.month - 1], RAIN[hours.month - 1]
    weather = np.where(sky < snow, 2, np.where(sky < snow + rain, 1, 0))[slot]
    zone = rng.choice(5, n, p=ZONE_SHARES)
    months = rng.exponential(period.mean_courier_months, n).clip(0, 120).round(1)

    kitchen = 7 + 1.3 * items * (1 + 1.2 * busy)
    riding = 60 * distance / SPEED_KMH[vehicle] * (1 + JAM[vehicle] * busy * ZONE_SLOWS[zone])
    riding *= WEATHER_SLOWS[vehicle, weather] * period.site_slows ** ((vehicle > 0) & (zone < 2))
    finding = (3 + 9 * np.exp(-months / 8)) * ZONE_SLOWS[zone] * (1 + 0.3 * weather)
    minutes = ((kitchen + riding + finding) * rng.lognormal(0, 0.1, n)).clip(8, 150).round(1)
    late = np.where(minutes > PROMISE_MINUTES + PROMISE_PER_KM * distance, "late", "on_time")
    labelled_at = ordered_at + pd.to_timedelta((1 + 13 * rng.beta(1.2, 3, n)) * 86_400 // 1, "s")

    names = VEHICLES[vehicle], WEATHER[weather], ZONES[zone]
    columns = (ordered_at, distance, items, value, *names, months, minutes, late, labelled_at)
    orders = pd.DataFrame(dict(zip(SCHEMA.names, columns, strict=True)))
    for name, share in MISSING.items():
        orders[name] = orders[name].mask(rng.random(n) < share)
    orders.loc[labelled_at >= LABELS_END, ["minutes", "late", "labelled_at"]] = None
    return orders


def main(out_dir: Path) -> None:
    """Write the two files into `out_dir`, without the metadata that names pandas' version."""
    out_dir.mkdir(parents=True, exist_ok=True)
    for seed, (name, period) in enumerate(FILES.items(), start=1):
        table = pa.Table.from_pandas(generate(period, seed), SCHEMA).replace_schema_metadata(None)
        pq.write_table(table, out_dir / name, compression="zstd", compression_level=19)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "template/data"))

"""List prices of TPU chips, for the cost that `--dry_run` predicts.

From SkyPilot's catalogue of Google's billing catalogue (skypilot-org/skypilot-catalog, catalogs/v8/gcp/vms.csv, commit 006059e0f18a), read on
2026-11-24: the price of a slice divided by its chips. On-demand prices have been stable for years; spot prices change every month, and
cloud.google.com/spot-vms/pricing has today's. Prices of a slice are proportional to its chips; disks, traffic and the bucket come on top.
"""

from typing import NamedTuple

READ_ON = "2026-11-24"


class Price(NamedTuple):
    """US dollars of one chip for one hour."""

    on_demand: float
    spot: float


CHIP_HOUR: dict[str, dict[str, Price]] = {
    "v5e": {
        "us-central1": Price(1.20, 0.2449),
        "us-east1": Price(1.20, 0.2449),
        "us-west1": Price(1.20, 0.2449),
        "us-west4": Price(1.20, 0.48),
        "us-east4": Price(1.20, 0.60),
        "us-east5": Price(1.20, 0.60),
        "us-south1": Price(1.416, 0.5664),
        "europe-west1": Price(1.3213, 0.5285),
        "europe-west4": Price(1.56, 0.4450),
        "asia-southeast1": Price(1.56, 0.78),
    },
    "v5p": {
        "us-central1": Price(4.20, 0.8357),
        "us-east1": Price(4.20, 0.8357),
        "us-east5": Price(4.20, 1.68),
        "us-south1": Price(4.779, 1.3161),
        "europe-west1": Price(4.4595, 1.7838),
        "europe-west4": Price(4.2525, 1.3485),
    },
    "v6e": {
        "us-central1": Price(2.70, 0.5442),
        "us-east1": Price(2.70, 0.5442),
        "us-west1": Price(2.70, 0.5442),
        "us-east4": Price(2.70, 0.5777),
        "us-east5": Price(2.70, 1.215),
        "us-south1": Price(2.70, 1.35),
        "europe-west4": Price(2.97, 1.0375),
        "asia-northeast1": Price(3.24, 0.9435),
        "asia-southeast1": Price(2.97, 0.3629),
    },
}


def chip_hour(generation: str, region: str, spot: bool) -> float | None:
    """US dollars of one chip for one hour; None where the table has no such region or no such chip."""
    price = CHIP_HOUR.get(generation, {}).get(region)
    if price is None:
        return None
    return price.spot if spot else price.on_demand

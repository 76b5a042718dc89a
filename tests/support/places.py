"""Where the checkout, its recorded cases and the data sets beside it are."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

RECORDED = ROOT / "tests" / "recorded"
"""Recorded cases that tests compare with."""

SHARED_DATA = ROOT.parent / "shared" / "data"
"""Data sets that lie beside some checkouts."""

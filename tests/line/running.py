"""A line of one station, what is put into it, and what it wrote."""

import json

import numpy as np


def configuration(tmp_path, detector, source=None, **station):
    source = source or {"kind": "python"}
    return {
        "store": tmp_path / "line.sqlite",
        "stations": [{"name": "press", "detector": detector, "source": source, **station}],
        "sinks": [{"kind": "jsonl", "folder": tmp_path / "records"}],
    }


def records_in(tmp_path):
    lines = []
    for path in sorted((tmp_path / "records").glob("*.jsonl")):
        lines += path.read_text().splitlines()
    return [json.loads(line) for line in lines]


def picture(seed=0):
    return np.random.default_rng(seed).integers(60, 160, (24, 24, 3), np.uint8)

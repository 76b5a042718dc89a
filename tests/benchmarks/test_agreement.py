"""The benchmark of agreement: good parts agree, pictures without one do not."""

import json

from benchmarks.quality import agreement


def test_good_parts_agree_more_than_what_shows_none(tiny_set, tmp_path):
    output = tmp_path / "agreement.md"
    agreement.main(
        [str(tiny_set), "--size", "48", "--images", "8", "--threads", "1", "--output", str(output)]
    )
    cases = json.loads(output.with_suffix(".json").read_text())["cases"]
    screws = cases["screws, turn"]
    assert screws["limit"] <= screws["least"] <= screws["median"]
    assert set(screws["others"]) == {"plate", "noise", "empty"}
    assert max(screws["others"].values()) < screws["limit"]
    assert "| screws, turn |" in output.read_text()

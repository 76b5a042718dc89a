"""The benchmark of what each comparison costs."""

import json

from benchmarks.model import contrast
from pyramidflow.spec import ContrastRule
from pyramidflow.validated import described
from tests.support.backends import require_backend


def test_every_way_to_compare_is_measured(tmp_path):
    require_backend("cpu")
    output = tmp_path / "contrast.md"
    contrast.main(["--size", "32", "--images", "4", "--rounds", "1", "--output", str(output)])
    cases = json.loads(output.with_suffix(".json").read_text())["cases"]
    assert list(cases) == list(contrast.WAYS)
    for row in cases.values():
        assert 0 < row["comparison"] < row["inspection"]
        assert row["ratio"] > 0
    changed = {name for settings in contrast.WAYS.values() for name in settings}
    # Without positions and with images left out nothing is computed that a template does not take.
    assert changed == set(described(ContrastRule)) - {"position", "robust"}

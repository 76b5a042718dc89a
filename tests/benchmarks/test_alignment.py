"""The benchmark of alignment: what it draws, and what it writes."""

import json

import numpy as np

from benchmarks.quality import alignment
from benchmarks.quality.screws import DEFECTS, screw, write_screws
from pyramidflow.alignment import Pose
from pyramidflow.data import open_dataset


def test_a_screw_is_drawn_in_its_pose():
    def ink(pose):
        return 200.0 - screw(np.random.default_rng(0), 64, pose)[0][..., 0]

    still, moved = ink(Pose()), ink(Pose(0.125, -0.0625, 0))
    assert np.corrcoef(still[8:, :-8].ravel(), moved[4:-4, 8:].ravel())[0, 1] > 0.9
    turned = np.rot90(ink(Pose(angle=90)))  # clockwise and back
    assert np.corrcoef(still.ravel(), turned.ravel())[0, 1] > 0.95


def test_each_defect_is_marked_where_the_picture_changes(tmp_path):
    for kind in DEFECTS:
        good, nothing = screw(np.random.default_rng(1), 96, Pose(angle=30))
        bad, mask = screw(np.random.default_rng(1), 96, Pose(angle=30), kind)
        changed = np.abs(good.astype(int) - bad)[..., 0]
        assert not nothing.any()
        assert changed[mask].mean() > 10 * changed[~mask].mean()
    data = open_dataset(write_screws(tmp_path / "screws", 32, 3, 1))
    assert len(data.train) == 3
    assert {sample.kind for sample in data.test} == {"good", *DEFECTS}


def test_poses_are_measured():
    found = alignment.poses(64, 8)
    assert 0 < found["pixels"] <= found["most_pixels"] < 0.5
    assert 0 < found["degrees"] <= found["most_degrees"] < 0.5


def test_detectors_are_measured_as_parts_lie_and_aligned(tmp_path):
    output = tmp_path / "alignment.md"
    small = ["--size", "32", "--images", "8", "--epochs", "1", "--poses", "1"]
    alignment.main([*small, "--output", str(output)])
    cases = json.loads(output.with_suffix(".json").read_text())["cases"]
    assert sum("align turn" in name for name in cases) == 2
    assert sum("align none" in name for name in cases) == 2
    assert "| screws, align turn, template alone |" in output.read_text()

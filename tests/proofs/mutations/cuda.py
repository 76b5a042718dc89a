"""Mutants of the CUDA kernels: one sign or one index changed, each must fail a test.

``python -m tests.proofs.mutations.cuda`` changes one line of ``csrc/cuda`` at a time, compiles the
sources for the host, runs the tests that concern the line, and writes ``cuda_mutants.md`` beside
this file. A mutant that no test notices makes the exit code 1. Takes some minutes.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.proofs.mutations.places import changed
from tests.support.places import ROOT

RESULT = Path(__file__).with_name("cuda_mutants.md")
PYRAMID_DOWN, PYRAMID_UP = "test_pyramid_down", "test_pyramid_residual"
COUPLING, MIXED = "test_affine_coupling_and", "test_coupling_conv1x1"
CONV, MAP, IMAGE = "test_invertible_conv1x1", "test_anomaly_map", "test_normalize_image"
MEANS = "test_pixel_means or test_channel_means or test_affine_coupling_and"


@dataclass(frozen=True)
class Mutant:
    """One change: in ``file``, the one place where ``old`` stands becomes ``new``."""

    kernel: str
    file: str
    old: str
    new: str
    tests: str


MUTANTS = (
    Mutant(
        "pyramid_down_forward",
        "pyramid_down.cu",
        "tap == 2 ? 6.0f : tap % 2 == 1 ? 4.0f : 1.0f",
        "tap == 2 ? 6.0f : tap % 2 == 1 ? 4.0f : -1.0f",
        PYRAMID_DOWN,
    ),
    Mutant(
        "pyramid_down_backward",
        "pyramid_down.cu",
        "return o / 2 - 1 + o % 2;",
        "return o / 2 - 1;",
        PYRAMID_DOWN,
    ),
    Mutant(
        "pyramid_down_backward",
        "pyramid_down.cu",
        "return TAPS - o % 2;",
        "return TAPS;",
        PYRAMID_DOWN,
    ),
    Mutant(
        "pyramid_down_max_forward",
        "pyramid_down.cu",
        "value > best || isnan(value)",
        "value >= best || isnan(value)",
        PYRAMID_DOWN,
    ),
    Mutant(
        "pyramid_down_max_forward",
        "pyramid_down.cu",
        "value > best || isnan(value)",
        "value > best",
        PYRAMID_DOWN,
    ),
    Mutant(
        "pyramid_down_max_forward",
        "pyramid_down.cu",
        "fine_row + dy >= sizes.fine_height",
        "fine_row + dy > sizes.fine_height",
        PYRAMID_DOWN,
    ),
    Mutant(
        "pyramid_down_max_backward",
        "pyramid_down.cu",
        "binomial_weight(2 * cell_row + cell / 2 - row)",
        "binomial_weight(2 * cell_row + cell % 2 - row)",
        PYRAMID_DOWN,
    ),
    Mutant(
        "pyramid_down_max_backward",
        "pyramid_down.cu",
        "reach == 2 ? 1.0f : 0.0f",
        "reach == 2 ? 0.0f : 0.0f",
        PYRAMID_DOWN,
    ),
    Mutant(
        "pyramid_residual_forward",
        "pyramid_up.cu",
        "(coarse, fine, -1.0f, out, sizes)",
        "(coarse, fine, 1.0f, out, sizes)",
        PYRAMID_UP,
    ),
    Mutant(
        "pyramid_merge_forward",
        "pyramid_up.cu",
        "(coarse, residual, 1.0f, out, sizes)",
        "(coarse, residual, -1.0f, out, sizes)",
        PYRAMID_UP,
    ),
    Mutant(
        "pyramid_residual and pyramid_merge",
        "pyramid_up.cu",
        "(cut && !odd ? 6.0f : 10.0f) / 16.0f",
        "(10.0f) / 16.0f",
        PYRAMID_UP,
    ),
    Mutant(
        "pyramid_residual and pyramid_merge",
        "pyramid_up.cu",
        "o + 1 + o % 2 >= fine_size",
        "o + 1 >= fine_size",
        PYRAMID_UP,
    ),
    Mutant(
        "pyramid_up_backward",
        "pyramid_up.cu",
        "cut ? 0.0f : reach_odd",
        "cut ? reach_odd : reach_odd",
        PYRAMID_UP,
    ),
    Mutant(
        "pyramid_up_backward",
        "pyramid_up.cu",
        "tap == 1 || tap == 3 ? 4.0f",
        "tap == 1 || tap == 4 ? 4.0f",
        PYRAMID_UP,
    ),
    Mutant(
        "every pyramid kernel: the tile's left edge",
        "pyramid.cuh",
        "CHANNELS_LAST || c > 0 ? 0 : -c",
        "CHANNELS_LAST || c > 0 ? 0 : 1 - c",
        PYRAMID_DOWN,
    ),
    Mutant(
        "every pyramid kernel: the rows of a tile",
        "pyramid.cuh",
        "if (r < 0 || r >= sizes.in_height",
        "if (r < 0 || r > sizes.in_height",
        PYRAMID_DOWN,
    ),
    Mutant(
        "every pyramid kernel: the barrier between rows and columns",
        "pyramid.cuh",
        "      filtered[i] = sum;\n    }\n    __syncthreads();",
        "      filtered[i] = sum;\n    }",
        PYRAMID_DOWN,
    ),
    Mutant(
        "affine_coupling_forward",
        "coupling.cuh",
        "scale * values[i] + t[i] : scale",
        "scale * values[i] - t[i] : scale",
        COUPLING,
    ),
    Mutant(
        "affine_coupling_forward, inverse",
        "coupling.cuh",
        "scale * (values[i] - t[i])",
        "scale * (values[i] + t[i])",
        COUPLING,
    ),
    Mutant(
        "affine_coupling_forward, log-determinant",
        "coupling.cuh",
        "log_scale += direction * s[i];",
        "log_scale += s[i];",
        COUPLING,
    ),
    Mutant(
        "affine_coupling_forward, mean of the block",
        "coupling.cuh",
        "- means[at.pixel_of(i)] * sizes.share",
        "- means[at.pixel] * sizes.share",
        COUPLING,
    ),
    Mutant(
        "affine_coupling_forward, given mean",
        "coupling.cuh",
        "data[b * sample + c * channel + p * pixel]",
        "data[b * sample + c * channel]",
        COUPLING,
    ),
    Mutant(
        "affine_coupling_forward, resize",
        "coupling.cuh",
        "nearest(pixel % width, scale_x, params_width)",
        "nearest(pixel % width, scale_y, params_width)",
        COUPLING,
    ),
    Mutant(
        "affine_coupling_backward",
        "coupling.cu",
        "direction * (grad_input * (input - t) + grad_log_det)",
        "direction * (grad_input * (input - t) - grad_log_det)",
        COUPLING,
    ),
    Mutant(
        "affine_coupling_backward, inverse",
        "coupling.cu",
        "direction == FORWARD ? grad : -grad_input",
        "direction == FORWARD ? grad : grad_input",
        COUPLING,
    ),
    Mutant(
        "affine_coupling_backward, mean of the block",
        "coupling.cu",
        "(tile[at.tile_index(i)] - means[at.pixel_of(i)] * sizes.share)",
        "(tile[at.tile_index(i)] + means[at.pixel_of(i)] * sizes.share)",
        COUPLING,
    ),
    Mutant(
        "affine_coupling_backward, slope of the clamp",
        "coupling.cuh",
        "1.0f + ratio * ratio",
        "1.0f - ratio * ratio",
        COUPLING,
    ),
    Mutant(
        "affine_coupling_backward, resize",
        "coupling.cu",
        "nearest(low, scale, source_size) < position",
        "nearest(low, scale, source_size) <= position",
        COUPLING,
    ),
    Mutant(
        "channel_mean",
        "coupling_mean.cuh",
        "place.sample = group * samples + sample;",
        "place.sample = group * samples;",
        MEANS,
    ),
    Mutant(
        "channel_mean",
        "coupling_mean.cuh",
        "if (threadIdx.x < PIXELS) total += sums[threadIdx.x];",
        "if (threadIdx.x < PIXELS) total = sums[threadIdx.x];",
        MEANS,
    ),
    Mutant(
        "pixel_sum",
        "coupling_mean.cuh",
        "for (int t = part; t < tiles; t += parts)",
        "for (int t = part; t < tiles - 1; t += parts)",
        MEANS,
    ),
    Mutant(
        "pixel_sum",
        "coupling_mean.cuh",
        "p += THREADS / MEAN_CHANNELS) sum +=",
        "p += THREADS / MEAN_CHANNELS) sum -=",
        MEANS,
    ),
    Mutant(
        "sum_partials",
        "reduction.cu",
        "o * partials.outer_stride + i",
        "o + i",
        MEANS,
    ),
    Mutant(
        "sum_partials",
        "reduction.cu",
        "int64_t i = lane; i <",
        "int64_t i = lane + 1; i <",
        COUPLING,
    ),
    Mutant(
        "sums over a block",
        "common.cuh",
        "warp < static_cast<int>(blockDim.x) / WARP",
        "warp < static_cast<int>(blockDim.x) / WARP - 1",
        COUPLING,
    ),
    Mutant(
        "sums over channels",
        "pixels.cuh",
        "part < THREADS / PIXELS; ++part",
        "part < THREADS / PIXELS - 1; ++part",
        COUPLING,
    ),
    Mutant(
        "coupling_conv1x1_forward",
        "conv1x1.cuh",
        "sums[i][j] += weights[i] * value",
        "sums[i][j] -= weights[i] * value",
        MIXED,
    ),
    Mutant(
        "coupling_conv1x1_forward",
        "coupling_conv1x1.cu",
        "accumulate_mix(tile, weight_transposed, 0, channels, first,",
        "accumulate_mix(tile, weight_transposed, 0, channels, 0,",
        MIXED,
    ),
    Mutant(
        "invertible_conv1x1_forward",
        "conv1x1.cu",
        "if (channels > MIX_CHANNELS || first == 0) {",
        "if (first == 0) {",
        CONV,
    ),
    Mutant(
        "invertible_conv1x1_forward",
        "conv1x1.cuh",
        "(begin + c) * channels + row",
        "(c) * channels + row",
        CONV,
    ),
    Mutant(
        "invertible_conv1x1_backward",
        "conv1x1.cu",
        "sums[i][j] += grad * values[j]",
        "sums[i][j] += grad * values[i]",
        CONV,
    ),
    Mutant(
        "invertible_conv1x1_backward",
        "conv1x1.cu",
        "for (int t = split; t < tiles; t += splits)",
        "for (int t = split + 1; t < tiles; t += splits)",
        CONV,
    ),
    Mutant(
        "anomaly_map_forward",
        "anomaly_map.cu",
        "float difference = z[i] - normal[i];\n                if",
        "float difference = z[i] + normal[i];\n                if",
        MAP,
    ),
    Mutant(
        "anomaly_map_forward",
        "anomaly_map.cu",
        "difference -= operands.shift",
        "difference += operands.shift",
        MAP,
    ),
    Mutant(
        "anomaly_map_forward",
        "anomaly_map.cu",
        "contrast *= weight[i]",
        "contrast += weight[i]",
        MAP,
    ),
    Mutant(
        "anomaly_map_forward",
        "anomaly_map.cu",
        "row_weights[dy] * column_weights[dx]",
        "row_weights[dx] * column_weights[dy]",
        MAP,
    ),
    Mutant(
        "anomaly_map_forward",
        "anomaly_map.cu",
        "odd ? (cut ? 4.0f : 5.0f) : 1.0f",
        "odd ? 5.0f : 1.0f",
        MAP,
    ),
    *(
        Mutant("anomaly_map_tolerant_forward", "anomaly_map.cu", old, new, MAP)
        for old, new in (
            ("max(row - tolerance, 0)", "max(row - tolerance + 1, 0)"),
            ("min(row + tolerance, sizes.height - 1)", "min(row + tolerance, sizes.height - 2)"),
            ("max(column - tolerance, 0)", "max(column - tolerance + 1, 0)"),
            ("min(column + tolerance, sizes.width", "min(column + tolerance - 1, sizes.width"),
            ("0, channel, other, sizes.channels", "0, channel, pixel, sizes.channels"),
            ("template_sample, channel, other,", "template_sample, channel, pixel,"),
            ("sum < least || sum != sum", "sum > least || sum != sum"),
            ("float value = least * sizes.share", "float value = least"),
        )
    ),
    Mutant(
        "anomaly_map_backward",
        "anomaly_map.cu",
        "difference < 0.0f ? -1.0f : 0.0f",
        "difference <= 0.0f ? -1.0f : 0.0f",
        MAP,
    ),
    Mutant(
        "anomaly_map_backward",
        "anomaly_map.cu",
        "sign * sizes.share * grad[first + at.pixel_of(i)]",
        "sign * sizes.share * grad[first + at.pixel]",
        MAP,
    ),
    Mutant(
        "normalize_image_forward",
        "normalize.cu",
        "(begin + i) * COLOURS + colour",
        "(begin + i) * COLOURS + COLOURS - 1 - colour",
        IMAGE,
    ),
    Mutant(
        "normalize_image_forward",
        "normalize.cu",
        "* scale_of_one - centre",
        "* scale_of_one + centre",
        IMAGE,
    ),
    Mutant(
        "128-bit loads of misaligned memory",
        "common.cuh",
        "return length % VECTOR<T> == 0 && (on_16_bytes(pointers) && ...);",
        "return (on_16_bytes(pointers) && ...);",
        PYRAMID_DOWN,
    ),
    Mutant(
        "invertible_conv1x1_backward",
        "conv1x1.cu",
        "const int across = divide_up(channels, GRAD_TILE);",
        "const int across = divide_up(channels + 2, GRAD_TILE);",
        CONV,
    ),
    Mutant(
        "normalize_image_forward",
        "normalize.cu",
        "divide_up(divide_up(pixels, COUNT), THREADS)",
        "divide_up(divide_up(pixels + 2, COUNT), THREADS)",
        IMAGE,
    ),
    Mutant(
        "pixel_sum",
        "coupling_mean.cuh",
        "const int groups = divide_up(sizes.channels, MEAN_CHANNELS);",
        "const int groups = divide_up(sizes.channels + 2, MEAN_CHANNELS);",
        MEANS,
    ),
)


def compile_objects(folder: Path, sources: Path, only: set[str]) -> bool:
    """Compile the named translation units of ``sources`` into ``folder``."""
    running = []
    for name in sorted(only):
        source = ROOT / "csrc" / "host" / name if name == "launcher.cpp" else sources / name
        command = [
            *("g++", "-std=c++17", "-O1", "-fPIC", "-fvisibility=hidden", "-fno-strict-aliasing"),
            *("-U_FORTIFY_SOURCE", "-w", "-I", str(ROOT / "csrc" / "host"), "-I", str(sources)),
            *("-c", "-x", "c++", str(source), "-o", str(folder / f"{name}.o")),
        ]
        running.append(subprocess.Popen(command, stderr=subprocess.PIPE))
    return all([process.wait() == 0 for process in running])


def users_of(header: str) -> set[str]:
    """Translation units that include a file, directly or not."""
    sources = ROOT / "csrc" / "cuda"
    if header.endswith(".cu"):
        return {header}
    found: set[str] = set()
    for file in sources.iterdir():
        if f'#include "{header}"' in file.read_text():
            found |= users_of(file.name)
    return found


def survives(mutant: Mutant, folder: Path, everything: set[str]) -> str:
    """``killed``, ``survived``, or why the mutant cannot be judged."""
    original = (ROOT / "csrc" / "cuda" / mutant.file).read_text()
    mutated = changed(original, mutant.old, mutant.new, times=1)
    sources, objects = folder / "cuda", folder / "mutant"
    for path in (sources, objects):
        shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(ROOT / "csrc" / "cuda", sources)
    shutil.copytree(folder / "objects", objects)
    (sources / mutant.file).write_text(mutated)
    if not compile_objects(objects, sources, users_of(mutant.file)):
        return "does not compile"
    library = link(objects, everything)
    return "survived" if pass_tests(library, mutant.tests) else "killed"


def link(objects: Path, everything: set[str]) -> Path:
    """Make a library of a folder of objects; a new file each time, as a loaded one stays loaded."""
    handle, name = tempfile.mkstemp(suffix=".so", dir=objects)
    os.close(handle)
    files = [str(objects / f"{unit}.o") for unit in sorted(everything)]
    subprocess.run(["g++", "-shared", *files, "-o", name], check=True)
    return Path(name)


def pass_tests(library: Path, tests: str) -> bool:
    """Whether the tests that ``tests`` selects pass with that library, in another process."""
    pid = os.fork()
    if pid == 0:
        os._exit(run_tests(library, tests))
    _, status = os.waitpid(pid, 0)
    return status == 0


def run_tests(library: Path, tests: str) -> int:
    """Exit code of the tests that ``tests`` selects, with that library."""
    import pytest

    os.environ["PYRAMIDFLOW_HOST_LIBRARY"] = str(library)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
        file = str(ROOT / "tests" / "proofs" / "test_cuda_host.py")
        return int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-k", tests, file]))


def main() -> int:
    """Judge every mutant and write the list."""
    import torch

    torch.set_num_threads(1)
    everything = {file.name for file in (ROOT / "csrc" / "cuda").glob("*.cu")} | {"launcher.cpp"}
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    chosen = [mutant for mutant in MUTANTS if wanted in mutant.kernel]
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "objects").mkdir()
        if not compile_objects(folder / "objects", ROOT / "csrc" / "cuda", everything):
            print("the sources do not compile")
            return 2
        unchanged = link(folder / "objects", everything)
        for tests in sorted({mutant.tests for mutant in chosen}):
            if not pass_tests(unchanged, tests):
                print(f"the tests {tests!r} fail without any change")
                return 2
        for mutant in chosen:
            verdict = survives(mutant, folder, everything)
            print(f"{verdict:10} {mutant.kernel}: {mutant.new.splitlines()[0]}", flush=True)
            rows.append((mutant, verdict))
    if not wanted:
        RESULT.write_text(listing(rows))
    return int(any(verdict != "killed" for _, verdict in rows))


def listing(rows: list[tuple[Mutant, str]]) -> str:
    """The list as Markdown."""
    killed = sum(verdict == "killed" for _, verdict in rows)
    lines = [
        "# Mutants of the CUDA kernels",
        "",
        "Written by `python -m tests.proofs.mutations.cuda`: each change alone, host tests run.",
        f"{killed} of {len(rows)} killed.",
        "",
        "| kernel | file | from | to | verdict |",
        "| --- | --- | --- | --- | --- |",
    ]
    for mutant, verdict in rows:
        old, new = (" ".join(text.split()).replace("|", "\\|") for text in (mutant.old, mutant.new))
        lines.append(f"| {mutant.kernel} | {mutant.file} | `{old}` | `{new}` | {verdict} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())

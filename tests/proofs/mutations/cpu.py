"""Change one sign or one index in each CPU kernel and see that a test fails.

``python -m tests.proofs.mutations.cpu`` builds the library with each mutant in a temporary folder,
runs the tests of the library on it and writes ``cpu_mutants.md`` beside this file. It takes half an
hour and is run by hand after the kernels or their tests have changed. What is the same for every
instruction set is compiled for the oldest one; what AVX2 and AVX-512 have of their own, for these,
which the machine must have.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pyramidflow.ops.libraries.cpu import INTERFACE
from tests.proofs.mutations.places import changed
from tests.support.cpu_cases import TESTS
from tests.support.places import ROOT

SOURCES = ROOT / "csrc" / "cpu"
LEVELS = {
    "x86-64": [],
    "AVX2": ["-mavx2", "-mfma"],
    "AVX-512": ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma"],
}
FLAGS = [
    "-std=c++17",
    "-O1",
    "-fPIC",
    "-fno-exceptions",
    "-fno-rtti",
    "-fopenmp",
    "-w",
    "-DPYRAMIDFLOW_BASELINE_ONLY",
    f"-DPYRAMIDFLOW_INTERFACE={INTERFACE}",
]

MUTANTS = {}
"""By instruction set: file, text and what replaces it."""

MUTANTS["x86-64"] = [
    ("pyramid_columns", "6.0f / 16, 4.0f / 16, 1.0f / 16}", "6.0f / 16, 3.0f / 16, 1.0f / 16}"),
    ("pyramid_columns", "const int64_t r = top + k;", "const int64_t r = top + k + 1;"),
    ("pyramid", "return 2 * m + 1 >= size;", "return 2 * m + 1 > size;"),
    ("pyramid", "size % 2 == 1 ? larger(size - 3, 0) : size", "size"),
    ("pyramid", "OnLevel{fine_level, -1.0f}", "OnLevel{fine_level, 1.0f}"),
    ("pyramid", "q >= 0 && q < size) w[", "q >= 0) w["),
    ("pyramid", "w[2] = r % 2 == 0 ? BINOMIAL[0]", "w[2] = r % 2 == 0 ? BINOMIAL[1]"),
    ("pyramid_columns", "smaller(2 * count, width_ - j)", "smaller(2 * count, width_ - j - 1)"),
    ("pyramid_columns", "if (pixels > LANES) high", "if (pixels > 2 * LANES) high"),
    ("pyramid_columns", "m + 1 < width ? load(m + 1, c", "m + 2 < width ? load(m + 1, c"),
    ("pyramid_columns", "smaller(first + v * LANES, last)", "smaller(first, last)"),
    ("pyramid_columns", "from_last(before.of[k], here.of[k])", "from_last(here.of[k], here.of[k])"),
    (
        "pyramid_columns",
        "from_second(here.of[k], after.of[k])",
        "from_second(here.of[k], here.of[k])",
    ),
    ("vector", "_MM_SHUFFLE(2, 1, 2, 0)", "_MM_SHUFFLE(1, 1, 2, 0)"),
    ("vector", "_MM_SHUFFLE(2, 0, 2, 1)", "_MM_SHUFFLE(0, 0, 2, 1)"),
    ("vector", "_mm_cmpunord_ps((__m128)v, (__m128)v)", "_mm_cmplt_ps((__m128)v, (__m128)v)"),
    ("pyramid_max", "wins ? Integers{} + k :", "wins ? Integers{} + k - 1 :"),
    ("pyramid_max", "{ return a > b; }", "{ return a >= b; }"),
    ("pyramid_max", "last > whole ?", "last > whole + 1 ?"),
    (
        "pyramid_max",
        "binomial(r[1], r[2], r[3], r[4], r[5])",
        "binomial(r[1], r[2], r[3], r[5], r[4])",
    ),
    ("pyramid_max", "== 2 * (k % 2) + dx", "== 2 * dx + k % 2"),
    ("pyramid_max", "const int64_t q = row - 1 + k;", "const int64_t q = row + k;"),
    ("pyramid", "if (r >= rows_below) return;", "if (r >= 1) return;"),
    ("pyramid", "bool ODD_TAKES_BEFORE = false", "bool ODD_TAKES_BEFORE = true"),
    ("pyramid_columns", "c += 2 * LINE) walk(", "c += 4 * LINE) walk("),
    ("pyramid_columns", "if (pixels > LANES) write(", "if (pixels > 2 * LANES) write("),
    ("pyramid_columns", "write(to + channels, odd", "write(to + channels, even"),
    ("coupling", "(value - t) * exp_of(-s)", "(value + t) * exp_of(-s)"),
    ("coupling", "exp_of(s) * value + t", "exp_of(s) * value - t"),
    ("coupling", "inverse ? -sum_lanes(total)", "inverse ? sum_lanes(total)"),
    ("coupling", "static_cast<float>(members * C)", "static_cast<float>(C)"),
    ("coupling_gradient", "gt + j, -scaled, count)", "gt + j, scaled, count)"),
    (
        "coupling_gradient",
        "(x - load_apart<GAP>(tr, j, count)) - grad_log_det",
        "(x - load_apart<GAP>(tr, j, count)) + grad_log_det",
    ),
    (
        "coupling_gradient",
        "scale * x + load_apart<GAP>(tr, j, count)",
        "scale * x - load_apart<GAP>(tr, j, count)",
    ),
    (
        "coupling_gradient",
        "add_planes(chunk, buffer(0), pixels, y()",
        "add_planes(chunk, buffer(1), pixels, y()",
    ),
    ("coupling_gradient", "scaled * x + grad_log_det", "scaled * x"),
    ("coupling_gradient", "(1.0f + z * z)", "(1.0f - z * z)"),
    ("coupling_backward", "(load(s_gradient + k, count) - mean)", "load(s_gradient + k, count)"),
    ("coupling_backward", "target[k + coupling.half()] +=", "target[k + coupling.half()] ="),
    ("coupling_backward", "(members * shape.channels)", "(shape.channels)"),
    ("coupling_backward", "members * tiles, C", "tiles, C"),
    (
        "coupling_tile",
        "map[i] = smaller(source, from - 1)",
        "map[i] = smaller(source + 1, from - 1)",
    ),
    ("coupling_tile", "pixel += 2 * tile.column", "pixel += tile.column"),
    ("coupling_tile", "target[i] = source[map[i]]", "target[i] = source[i]"),
    ("vector", "lanes[k] = run[2 * (j + k)]", "lanes[k] = run[2 * (j + k) + 1]"),
    (
        "vector",
        "return every_second<0>(load(run + 2 * j)",
        "return every_second<1>(load(run + 2 * j)",
    ),
    ("vector", "(__m128)b, ODD ? 0xdd : 0x88)", "(__m128)b, ODD ? 0x88 : 0xdd)"),
    ("pyramid_columns", "high = alternate<true>", "high = alternate<false>"),
    ("vector", "_mm_stream_ps(p, (__m128)v)", "_mm_stream_ps(p, (__m128)(v + v))"),
    (
        "conv1x1_mix",
        "for (; p < pixels; ++p)\n        mix_pixels_block<1>",
        "for (; p < 0; ++p)\n        mix_pixels_block<1>",
    ),
    ("conv1x1_mix", "if (left > LANES) store(", "if (left > 2 * LANES) store("),
    ("conv1x1_mix", "store(out, sum[p], channels);", "store(out, sum[p], channels - 1);"),
    ("conv1x1_mix", "sum += transposed[i * stride + o] *", "sum += transposed[o * stride + i] *"),
    (
        "conv1x1_mix",
        "mix_planes_block<outputs>(y + p, y_stride, transposed + o,",
        "mix_planes_block<outputs>(y + p, y_stride, transposed,",
    ),
    (
        "conv1x1_outer",
        "for (int64_t q = p; q < pixels; ++q)\n                rest +=",
        "for (int64_t q = p; q < p; ++q)\n                rest +=",
    ),
    ("conv1x1_outer", "grad_z[p * channels + o + k]) * value", "grad_z[p * channels + k]) * value"),
    ("conv1x1_outer", "partial_.get()[chunk * entries + k]", "partial_.get()[k]"),
    ("anomaly_map", "value < 0.0f ? -1.0f", "value < 0.0f ? 1.0f"),
    ("anomaly_map", "load(z + c, count) - load(", "load(z + c, count) + load("),
    ("anomaly_map", "load(z + i, count) - load(", "load(z + i, count) + load("),
    ("anomaly_map", "difference -= load(taken + c, count)", "difference += load(taken + c, count)"),
    ("anomaly_map", "difference -= taken", "difference += taken"),
    ("anomaly_map", "contrast *= load(w + c, count)", "contrast += load(w + c, count)"),
    ("anomaly_map", "contrast *= load(w + i, count)", "contrast += load(w + i, count)"),
    ("anomaly_map", "w += channels", "w += 1"),
    ("anomaly_map", "larger(x + i - tolerance, 0)", "larger(x + i - tolerance + 1, 0)"),
    (
        "anomaly_map",
        "smaller(x + i + tolerance, width - 1)",
        "smaller(x + i + tolerance, width - 2)",
    ),
    ("anomaly_map", "larger(y - tolerance, 0)", "larger(y - tolerance + 1, 0)"),
    ("anomaly_map", "smaller(y + tolerance, height - 1)", "smaller(y + tolerance, height - 2)"),
    ("anomaly_map", "(row * width + column) * channels", "(row * width + x + i) * channels"),
    ("anomaly_map", "across = -tolerance", "across = 1 - tolerance"),
    ("anomaly_map", "row * width + begin + across", "row * width + begin"),
    ("anomaly_map", "a < b || a != a ? a : b", "a > b || a != a ? a : b"),
    ("anomaly_map", "a < b || a != a ? a : b", "a < b ? a : b"),
    ("anomaly_map", "(b * CHUNKS + k) * C + c", "(b * CHUNKS + k) * C"),
    ("normalize", "in[3 * i + 2]) * g2 + o2", "in[3 * i + 1]) * g2 + o2"),
    ("vector_math", "x > 89.0f ? splat(89.0f)", "x > 80.0f ? splat(80.0f)"),
    ("vector_math", "9.96852964e-2f", "9.97852964e-2f"),
    ("vector_math", "8.36885e-3f + 4.16684e-2f", "8.36885e-3f + 4.16784e-2f"),
    ("vector_math", "low + high * (z2 * z2)", "low + high * (z2 * z)"),
    ("convolution_fft", "re[1] = br + di;", "re[1] = br - di;"),
    ("convolution_fft", "re[2] = mr - di;", "re[2] = mr + di;"),
    (
        "convolution_fft",
        "const Vector hr = cr * s2 - dr * s1",
        "const Vector hr = cr * s2 + dr * s1",
    ),
    ("convolution_fft", "im = b * c - a * s;", "im = b * c + a * s;"),
    ("convolution_fft", "re[k1 + F * k2] = tr", "re[k1 * M + k2] = tr"),
    ("convolution_spectral", "column(index % layout.columns", "column(index % layout.rows"),
    ("convolution_spectral", "tile / 2 + 1 + (fx - 1) * tile;", "tile / 2 + (fx - 1) * tile;"),
    ("convolution_spectral", "workspace + own * layout.spectrum_size(),", "workspace,"),
    ("convolution_forward", "a.column - margin, extent", "a.column, extent"),
    (
        "convolution_forward",
        "store(target + row + layout.slot, -load(",
        "store(target + row + layout.slot, load(",
    ),
    ("convolution_forward", "position / 2 : position * 2", "position / 2 : position * 2 + 1"),
    ("convolution_product", "s[r] - p[r] - q[r]", "s[r] - p[r] + q[r]"),
    ("convolution_product", "rest -= rows;", "rest -= rows + 2;"),
    ("convolution_output", "width = ceil_div(shape.width, stride)", "width = shape.width / stride"),
    ("convolution_output", "place.column / stride;", "place.column / 2;"),
    ("convolution_output", "phase % 2) *", "phase / 2) *"),
    (
        "convolution_output",
        "Vector value = load(values + x * LANES) + bias;",
        "Vector value = load(values + x * LANES);",
    ),
    (
        "convolution",
        "im += a * s + b * c;\n                }\n                const int64_t f",
        "im += a * s - b * c;\n                }\n                const int64_t f",
    ),
    ("convolution", "own_mirror ? 0.5f : 1.0f", "own_mirror ? 1.0f : 1.0f"),
    ("convolution", "(r[i] - p[i] + q[i])", "(r[i] - p[i] - q[i])"),
    ("convolution", "shape.channels0 + i - padded", "i - padded"),
    ("convolution_coupling", "- mean -", "+ mean -"),
    ("convolution_coupling", "x += stride) {", "x += 1) {"),
    ("stem", "-mean[c] / std[c]", "mean[c] / std[c]"),
    ("stem", "rows[u] + 2 * x * 3", "rows[u] + x * 3"),
    ("stem", "larger(2 * x - 1, 0)", "larger(2 * x, 0)"),
]
MUTANTS["AVX2"] = [
    ("vector", "_mm256_extractf128_ps((__m256)v, 1)", "_mm256_extractf128_ps((__m256)v, 0)"),
    ("vector", "_mm_movehl_ps(quarter, quarter)", "_mm_movelh_ps(quarter, quarter)"),
    ("vector", "(__m256)b, ODD ? 0xdd : 0x88)", "(__m256)b, ODD ? 0x88 : 0xdd)"),
    ("vector", "_mm256_castps_pd(halves), 0xd8", "_mm256_castps_pd(halves), 0xe4"),
    ("vector", "(__m256i)b, middle, 12)", "(__m256i)b, middle, 8)"),
    ("vector", "middle, (__m256i)a, 4)", "middle, (__m256i)a, 8)"),
    ("vector", "(low, high, UPPER ? 0x31 : 0x20)", "(low, high, UPPER ? 0x20 : 0x31)"),
    ("vector", "((__m256i)values, 1);", "((__m256i)values, 0);"),
    ("vector", "(__m256)v, _CMP_UNORD_Q)", "(__m256)v, _CMP_LT_OQ)"),
    ("vector", "_mm256_stream_ps(p, (__m256)v)", "_mm256_stream_ps(p, (__m256)(v + v))"),
    ("vector_math", "_mm256_set1_ps(89.0f)", "_mm256_set1_ps(80.0f)"),
    ("vector_math", "_mm256_set1_ps(-104.0f)", "_mm256_set1_ps(-80.0f)"),
]
MUTANTS["AVX-512"] = [
    ("vector", "_mm512_reduce_add_ps((__m512)v)", "_mm512_reduce_max_ps((__m512)v)"),
    ("vector", "_mm512_set1_epi32(ODD)", "_mm512_set1_epi32(1 - ODD)"),
    ("vector", "(__m512i)a, LANES - 1)", "(__m512i)a, LANES - 2)"),
    ("vector", "(__m512i)b, (__m512i)a, 1)", "(__m512i)b, (__m512i)a, 2)"),
    ("vector", "_mm512_set1_epi32(UPPER ? 8 : 0)", "_mm512_set1_epi32(UPPER ? 0 : 8)"),
    ("vector", "((1 << count) - 1), p)", "((1 << count) - 2), p)"),
    ("vector", "((1 << count) - 1), (__m512)v)", "((1 << count) - 2), (__m512)v)"),
    (
        "vector",
        "_mm512_mask_cvtepi32_storeu_epi8(p, lanes,",
        "_mm512_mask_cvtepi32_storeu_epi8(p, 1,",
    ),
    ("vector", "(__m512)v, _CMP_UNORD_Q)", "(__m512)v, _CMP_LT_OQ)"),
    ("vector", "_mm512_stream_ps(p, (__m512)v)", "_mm512_stream_ps(p, (__m512)(v + v))"),
    ("vector", "reinterpret_cast<uintptr_t>(p) % sizeof(Vector) == 0) {", "p) {"),
    ("vector_math", "_mm512_set1_ps(89.0f)", "_mm512_set1_ps(80.0f)"),
    ("vector_math", "_mm512_set1_ps(-104.0f)", "_mm512_set1_ps(-80.0f)"),
    ("vector_math", "((__m512)p, (__m512)n)", "((__m512)n, (__m512)p)"),
]


def compile_objects(folder: Path, stems: list[str], kernels: Path, level: str) -> None:
    """Compile kernel files for one instruction set."""
    flags = [*FLAGS, *LEVELS[level]]
    jobs = [
        subprocess.Popen(["g++", *flags, "-c", f"{kernels}/{stem}.cpp", "-o", f"{folder}/{stem}.o"])
        for stem in stems
    ]
    assert all(job.wait() == 0 for job in jobs), "a mutant does not compile"


def main() -> None:
    """Write the list of mutants, killed and survived."""
    lines = ["# Mutants of the CPU kernels", "", "`python -m tests.proofs.mutations.cpu`", ""]
    lines += ["| compiled for | file | change | result |", "|---|---|---|---|"]
    killed = 0
    for level, mutants in MUTANTS.items():
        with tempfile.TemporaryDirectory() as folder:
            for (name, old, new), result in zip(
                mutants, tried(mutants, level, Path(folder)), strict=True
            ):
                killed += result.startswith("killed")
                shown = [text.replace("|", "\\|").replace("\n", " ") for text in (old, new)]
                lines.append(f"| {level} | {name} | `{shown[0]}` → `{shown[1]}` | {result} |")
                print(lines[-1], flush=True)
    total = sum(len(mutants) for mutants in MUTANTS.values())
    lines += ["", f"{killed} of {total} killed."]
    (Path(__file__).parent / "cpu_mutants.md").write_text("\n".join(lines) + "\n")
    sys.exit(killed != total)


def tried(mutants: list[tuple[str, str, str]], level: str, build: Path) -> Iterator[str]:
    """What became of each mutant of an instruction set."""
    stems = sorted(file.stem for file in (SOURCES / "kernels").glob("*.cpp"))
    (build / "good").mkdir()
    compile_objects(build / "good", stems, SOURCES / "kernels", level)
    dispatch = ["g++", *FLAGS, "-c", f"{SOURCES}/dispatch.cpp", "-o", f"{build}/dispatch.o"]
    subprocess.run(dispatch, check=True)
    unchanged = ("common", "#pragma once", "#pragma once")
    assert try_mutant(build / "unchanged", build, stems, level, *unchanged) == "survived"
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(
            lambda number: try_mutant(build / str(number), build, stems, level, *mutants[number]),
            range(len(mutants)),
        )


def try_mutant(
    folder: Path, build: Path, stems: list[str], level: str, name: str, old: str, new: str
) -> str:
    """Build one mutant and run the tests on it."""
    kernels = folder / "cpu" / "kernels"
    kernels.mkdir(parents=True)
    for file in SOURCES.rglob("*.*"):
        (folder / "cpu" / file.relative_to(SOURCES)).write_text(file.read_text())
    (mutated,) = kernels.glob(f"{name}.*")
    mutated.write_text(changed(mutated.read_text(), old, new))
    affected = [stem for stem in stems if stem == name or includes(kernels / f"{stem}.cpp", name)]
    compile_objects(folder, affected, kernels, level)
    objects = [
        str((folder if stem in affected else build / "good") / f"{stem}.o") for stem in stems
    ]
    library = folder / "libpyramidflow_cpu.so"
    link = ["g++", "-shared", *objects, str(build / "dispatch.o"), "-o", str(library)]
    subprocess.run(link, check=True)
    script = (
        "import sys, pytest, pathlib\n"
        "from pyramidflow.ops.libraries import loading\n"
        f"loading.FOLDER = pathlib.Path({str(folder)!r})\n"
        "sys.exit(pytest.main(['-x', '-q', '-p', 'no:cacheprovider', '-k', 'not avx',"
        f" *{[str(file) for file in TESTS]!r}]))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    if run.returncode < 0:
        return "killed (crashed)"
    return "killed" if run.returncode == 1 else "survived" if run.returncode == 0 else "broken"


def includes(source: Path, header: str) -> bool:
    """Whether a kernel file includes a header, itself or through another."""
    names = re.findall(r'#include "(\w+)\.h"', source.read_text())
    return header in names or any(includes(source.parent / f"{name}.h", header) for name in names)


if __name__ == "__main__":
    main()

"""The benchmarks' harness: its facts, its two files, its turns and its processes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.harness import facts, options, process, pytest_results, results, turns


def git(folder, *arguments):
    identity = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org")
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    """A checkout with a source file and a result."""
    root = tmp_path / "checkout"
    for name in ("package/module.py", "benchmarks/results/numbers.md"):
        (root / name).parent.mkdir(parents=True)
        (root / name).write_text("first")
    git(tmp_path, "init", "-q", "checkout")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "first")
    return root


def test_commit_is_of_the_checkout_that_holds_the_code(checkout, tmp_path, monkeypatch):
    expected = git(checkout, "rev-parse", "HEAD")
    monkeypatch.chdir(tmp_path)  # no checkout
    assert facts.commit(checkout / "package" / "module.py") == expected


def test_commit_says_what_it_does_not_hold(checkout):
    module = checkout / "package" / "module.py"
    expected = git(checkout, "rev-parse", "HEAD")
    (checkout / "benchmarks" / "results" / "numbers.md").write_text("second")
    (checkout / "new.py").touch()
    assert facts.commit(module) == expected
    module.write_text("second")
    assert facts.commit(module) == f"{expected}, with changes"


def test_code_that_is_installed_within_a_checkout_has_no_commit(checkout):
    installed = checkout / "environment" / "module.py"
    installed.parent.mkdir()
    installed.touch()
    assert facts.commit(installed) == ""


def test_command_shows_no_path_of_this_machine(tmp_path):
    given = [str(tmp_path / "set"), f"{tmp_path}/other=640x256", "--rounds", "2", "spread=pixel"]
    given += ["--output=here/file.md", "stages=2,3"]
    assert facts.shown_command("python -m x", given) == (
        "python -m x …/set …/other=640x256 --rounds 2 spread=pixel --output=…/file.md stages=2,3"
    )


def test_options_keep_the_command(tmp_path):
    parser = options.parser("benchmarks.x", "What it does.", "x", rounds=3, small=True)
    found = options.parse(parser, ["--small", "--threads", "2", "--output", f"{tmp_path}/y.json"])
    assert (found.rounds, found.small, found.threads) == (3, True, 2)
    assert found.output == tmp_path / "y.md"
    assert found.command == "python -m benchmarks.x --small --threads 2 --output …/y.json"
    assert options.parse(parser, []).output == facts.RESULTS / "x.md"


def test_threads_are_those_that_the_environment_allows(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert options.available() == 3


def test_both_files_are_written(tmp_path):
    file = tmp_path / "results" / "x.md"
    cases = {"one": {"seconds": 1.5, "ratio": float("inf")}}
    results.write_files(file, "Title", {"processor": "P"}, ["text"], cases)
    assert file.read_text() == "# Title\n\n- processor: P\n\ntext\n"
    assert json.loads(file.with_suffix(".json").read_text()) == {
        "machine": {"processor": "P"},
        "cases": {"one": {"seconds": 1.5, "ratio": "inf"}},
    }
    assert sorted(path.name for path in file.parent.iterdir()) == ["x.json", "x.md"]


def test_table_fills_short_rows():
    assert results.table(["", "kind", "ms"], [["a", "b", "1"], ["c", "missing"]], texts=2) == [
        "|  | kind | ms |",
        "|---|---|---:|",
        "| a | b | 1 |",
        "| c | missing |  |",
    ]


def test_turns_are_taken_in_the_same_order():
    said, ticks = [], iter(range(100))
    candidates = {"a": lambda: said.append("a"), "b": lambda: said.append("b")}
    times = turns.in_turns(candidates, 2, lambda: next(ticks), before=lambda: said.append("-"))
    assert "".join(said) == "ab-a-b-a-b"
    assert times == {"a": [1, 1], "b": [1, 1]}


def test_medians_and_ratios():
    times = {"ours": [1.0, 2.0, 9.0], "theirs": [2.0, 8.0, 3.0]}
    assert turns.medians(times) == {"ours": 2.0, "theirs": 3.0}
    assert turns.median_ratio(times, "ours", "theirs") == 0.5  # of 0.5, 0.25 and 3


def test_a_process_returns_what_its_function_does():
    assert process.call("json:dumps", {"a": [1, 2]}, threads=1) == '{"a": [1, 2]}'
    with pytest.raises(subprocess.CalledProcessError):
        process.call("json:loads", "{", threads=1)


def test_a_process_imports_nothing_before_its_function(tmp_path):
    module = tmp_path / "looking.py"
    module.write_text("import sys\ndef torch():\n    return 'torch' in sys.modules\n")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
    code += "sys.argv = ['', 'looking:torch', '[]']\n"
    code += "import runpy; runpy.run_module('benchmarks.harness.process', run_name='__main__')"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=process.ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "false"


def test_what_pytest_benchmark_found_is_kept_in_the_form_of_all_results():
    stats = dict.fromkeys(pytest_results.SECONDS, 0.5) | {"iqr": 1.0, "rounds": 3, "data": [0.5]}
    recorded = {"backend": "cpu", "compared_seconds": [1.0, 3.0, 2.0], "times_faster": 4.0}
    found = {
        "machine_info": {"node": "name", "processor": "P", "commit": "c"},
        "datetime": "today",
        "benchmarks": [{"group": "conv2d", "extra_info": recorded, "stats": stats}],
    }
    facts_found = pytest_results.facts_of(found)
    assert facts_found == {"processor": "P", "commit": "c", "date": "today"}
    cases = pytest_results.cases_of(found)
    kept = {key: value for key, value in stats.items() if key != "iqr"}
    assert cases == {"conv2d, cpu": recorded | {"seconds": kept}}
    row = "| conv2d, cpu | 500 | 500 to 500 | 3 | 2000 | cpu | 4 |"
    assert pytest_results.table(cases)[-1] == row


def test_every_result_is_markdown_with_one_json():
    files = {path.name for path in facts.RESULTS.iterdir()}
    tables = {Path(name).stem for name in files if name.endswith(".md")}
    assert {Path(name).stem for name in files if name.endswith(".json")} == tables
    for name in tables:
        found = json.loads((facts.RESULTS / f"{name}.json").read_text(encoding="utf-8"))
        assert {"machine", "cases"} <= set(found), name
        assert found["machine"]["commit"], name
        assert found["machine"]["command"], name

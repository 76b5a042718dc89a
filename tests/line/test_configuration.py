"""The configuration: read from TOML, and refused by the name of the key."""

import json
import re
import sys

import pytest

from pyramidflow.errors import InputError
from pyramidflow.line.configuration import check_configuration, line_model, read_configuration
from pyramidflow.line.example import example, schema
from pyramidflow.line.registry import sink_kinds, source_kinds

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

STATION = {"detector": "part.safetensors", "source": {"kind": "folder", "path": "in"}}


def changed(**parts):
    return {"stations": [{**STATION, **parts}]}


def test_the_folders_of_pictures_are_those_of_their_sinks(tmp_path):
    sinks = [
        {"kind": "pictures", "folder": "first"},
        {"kind": "jsonl", "folder": "records"},
        {"kind": "pictures", "name": "second", "folder": tmp_path / "second"},
    ]
    settings = check_configuration({"stations": [STATION], "sinks": sinks}, tmp_path, "x")
    assert settings.picture_folders == [tmp_path / "first", tmp_path / "second"]
    assert [sink.kind for sink in settings.sinks] == ["pictures", "jsonl", "pictures"]
    assert settings.stations[0].source.kind == "folder"


def test_the_example_is_a_valid_configuration_and_names_every_kind(tmp_path):
    (tmp_path / "line.toml").write_text(example(), "utf-8")
    found = read_configuration(tmp_path / "line.toml")
    [station] = found.stations
    assert station.detector == tmp_path / "part.safetensors"
    assert station.source.path == tmp_path / "incoming"
    for kind in [*source_kinds(), *sink_kinds()]:
        assert f'kind = "{kind}"' in example()


@pytest.mark.parametrize("kind", sorted(sink_kinds()))
def test_every_sink_of_the_example_can_be_switched_on(tmp_path, kind):
    section = next(part for part in example().split("\n\n") if f'# kind = "{kind}"' in part)
    table = re.sub(r"^# (?=\[|\w+ = )", "", section, flags=re.M)
    given = tomllib.loads(table)["sinks"][0]
    needed = {key: value for key, value in given.items() if value not in ("…", "path")}
    model = sink_kinds()[kind].Settings
    assert set(given) == set(model.model_fields)
    assert set(needed) <= set(model.model_fields)


def test_the_schema_knows_every_key_and_kind():
    found = json.loads(schema())
    assert {"store", "stations", "sinks", "limits"} <= set(found["properties"])
    kinds = {
        definition["properties"]["kind"]["const"]
        for definition in found["$defs"].values()
        if "kind" in definition.get("properties", {})
    }
    assert kinds == {*source_kinds(), *sink_kinds()}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "stations is missing"),
        ({"stations": []}, "stations is empty"),
        ({"stations": 3}, "stations is 3"),
        (changed(threshold=-1), "stations[0].threshold is -1: it should be greater"),
        (changed(thresold=1), "stations[0].thresold is 1: no such key"),
        (changed(name="a b"), "stations[0].name is 'a b'"),
        (changed(detector=3), "stations[0].detector is 3: a path is expected"),
        (changed(when_full="drop"), "stations[0].when_full is 'drop': it should be 'block' or"),
        (changed(source={}), "stations[0].source.kind is missing"),
        (changed(source={"kind": "x"}), "stations[0].source.kind is 'x': choose one of camera"),
        (changed(source={"kind": "folder"}), "stations[0].source.path is missing"),
        (changed(source={"kind": "files", "paths": []}), "stations[0].source.paths is []"),
        (
            changed(source={"kind": "folder", "path": "in", "pattern": "("}),
            "stations[0].source.pattern is no regular expression",
        ),
        ({"stations": [STATION, STATION]}, "two stations are called 'line'"),
        (
            {**changed(), "sinks": [{"kind": "jsonl", "folder": "a"}] * 2},
            "two sinks are called 'jsonl'",
        ),
        (
            {**changed(), "sinks": [{"kind": "jsonl", "folder": "a", "stations": ["x"]}]},
            "sink jsonl names the station 'x': there is none; name one of line",
        ),
        ({**changed(), "sinks": [{"kind": "jsonl"}]}, "sinks[0].folder is missing"),
        ({**changed(), "limits": {"records": 0}}, "limits.records is 0"),
    ],
)
def test_what_is_wrong_is_said_with_its_key(tmp_path, given, said):
    with pytest.raises(InputError, match=f"^line.toml: {re.escape(said)}") as caught:
        check_configuration(given, tmp_path, "line.toml")
    assert "\n" not in str(caught.value)


def test_several_faults_are_said_at_once(tmp_path):
    given = changed(threshold=-1, name="a b", waiting=0)
    with pytest.raises(InputError) as caught:
        check_configuration(given, tmp_path, "line.toml")
    assert all(key in str(caught.value) for key in ("threshold", "name", "waiting"))


def test_a_file_that_is_none_or_no_toml_is_refused(tmp_path):
    with pytest.raises(InputError, match="run --example"):
        read_configuration(tmp_path / "missing.toml")
    (tmp_path / "line.toml").write_text("a = ")
    with pytest.raises(InputError, match="is no TOML"):
        read_configuration(tmp_path / "line.toml")
    (tmp_path / "line.toml").write_bytes(b"\xff")
    with pytest.raises(InputError, match="is no TOML"):
        read_configuration(tmp_path / "line.toml")


def test_every_setting_says_what_it_is():
    models = [
        line_model(),
        *(x.Settings for x in (*source_kinds().values(), *sink_kinds().values())),
    ]
    for model in models:
        for name, field in model.model_fields.items():
            assert field.description or name in ("stations", "sinks"), f"{model.__name__}.{name}"

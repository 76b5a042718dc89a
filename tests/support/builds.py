"""Libraries that tests build: what ``setup.py`` defines, and where builds are kept."""

import hashlib
import os
import runpy
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from unittest import mock

from tests.support.places import ROOT


def build_script() -> dict[str, object]:
    """What ``setup.py`` defines; setuptools, which only pip provides, takes no part."""
    modules = {
        "setuptools": ("Extension", "find_packages", "setup"),
        "setuptools.command.bdist_wheel": ("bdist_wheel",),
        "setuptools.command.build_ext": ("build_ext",),
    }
    stand_ins = {"setuptools.command": ModuleType("setuptools.command")}
    for name, contents in modules.items():
        stand_ins[name] = ModuleType(name)
        for content in contents:
            is_class = content in ("bdist_wheel", "build_ext")
            setattr(stand_ins[name], content, object if is_class else lambda *_, **__: [])
    with mock.patch.dict(sys.modules, stand_ins):
        return runpy.run_path(str(ROOT / "setup.py"))


def folder_of(name: str, sources: Iterable[Path], flags: Sequence[str]) -> Path:
    """Folder of a build: the same one for the same sources and flags."""
    digest = hashlib.sha256(" ".join(flags).encode())
    for source in sorted(sources):
        digest.update(source.read_bytes())
    builds = Path(tempfile.gettempdir()) / f"pyramidflow-builds-{os.getuid()}"
    folder = builds / f"{name}-{digest.hexdigest()[:16]}"
    builds.mkdir(exist_ok=True, mode=0o700)
    folder.mkdir(exist_ok=True)
    return folder

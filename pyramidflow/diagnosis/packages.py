"""The packages that results depend on: their versions, and whether they can be imported."""

import importlib
import re
import warnings
from importlib import metadata
from types import ModuleType
from typing import Any

from pyramidflow.diagnosis.finding import Finding

MODULES = {"pillow": "PIL", "scikit-image": "skimage", "opencv-python-headless": "cv2"}
"""Modules that have another name than their package."""

FURTHER = ("triton",)
"""Packages that are used where they are, and not asked for."""

PILLOW_FEATURES = {
    "libjpeg": "jpg",
    "libjpeg-turbo": "libjpeg_turbo",
    "zlib": "zlib",
    "zlib-ng": "zlib_ng",
    "openjpeg": "jpg_2000",
    "libtiff": "libtiff",
    "webp": "webp",
    "littlecms2": "littlecms2",
}
"""Libraries that Pillow decodes with, by its own names for them."""

IMAGECODECS_LIBRARIES = ("libpng", "openjpeg")
"""Libraries of imagecodecs that images are decoded with."""


def probe_packages() -> Finding:
    """Import every package that this one is installed with."""
    details: dict[str, Any] = {}
    wrong = []
    for package in (*_required(), *FURTHER):
        try:
            module = importlib.import_module(MODULES.get(package, package.replace("-", "_")))
            details[package] = _version(package, module)
        except ImportError as error:
            details[package] = None
            if package not in FURTHER or _is_installed(package):
                wrong.append(f"{package} ({str(error).splitlines()[0] if str(error) else 'empty'})")
    if details.get("pillow"):
        details["pillow_libraries"] = _pillow_libraries()
    if details.get("imagecodecs"):
        details["imagecodecs_libraries"] = _imagecodecs_libraries()
    if wrong:
        return Finding("broken", f"these do not import: {', '.join(wrong)}.", details)
    return Finding("ok", f"{len(details)} packages import.", details)


def _required() -> list[str]:
    lines = [line for line in metadata.requires("pyramidflow") or [] if "extra ==" not in line]
    names = [re.match(r"[\w.-]+", line) for line in lines]
    return sorted(name[0].lower() for name in names if name)


def _version(package: str, module: ModuleType) -> str:
    # PyTorch's and its kind's own word tells the build, too: "2.11.0+cu130".
    return str(getattr(module, "__version__", None) or metadata.version(package))


def _is_installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def _pillow_libraries() -> dict[str, str | None]:
    from PIL import features

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an older Pillow does not know every name
        return {name: features.version(feature) for name, feature in PILLOW_FEATURES.items()}


def _imagecodecs_libraries() -> dict[str, str | None]:
    import imagecodecs

    versions = imagecodecs.version(dict)
    return {name: versions.get(name) for name in IMAGECODECS_LIBRARIES}

"""Which GPUs a build has code for, and which drivers can run it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """One architecture of a build.

    Attributes:
        major: of the compute capability.
        minor: of the compute capability.
        suffix: ``"a"``: code for this very capability; ``"f"`` or nothing: for later minors too.
        portable: whether it is kept as PTX too, which a driver compiles for every later GPU.
    """

    major: int
    minor: int
    suffix: str
    portable: bool

    def runs_on(self, capability: tuple[int, int]) -> bool:
        """Whether a GPU of this compute capability can run it."""
        own = (self.major, self.minor)
        if self.suffix == "a":
            return capability == own
        if self.portable and not self.suffix and capability >= own:
            return True
        return capability[0] == self.major and capability >= own


def targets(architectures: str) -> Iterator[Target]:
    """Architectures as the build wrote them: ``"75_80_120PTX"``."""
    for name in filter(None, architectures.split("_")):
        found = re.fullmatch(r"(\d+)(\d)([af]?)(PTX)?", name)
        if found:
            yield Target(int(found[1]), int(found[2]), found[3], bool(found[4]))


def readable(architectures: str) -> str:
    """The same list for people: ``"7.5, 8.0, 12.0+PTX"``."""
    return ", ".join(
        f"{target.major}.{target.minor}{target.suffix}{'+PTX' if target.portable else ''}"
        for target in targets(architectures)
    )


def version(number: int) -> str:
    """A CUDA version: ``12040`` is 12.4."""
    return f"{number // 1000}.{number % 1000 // 10}" if number else "none"


def reason_against(name: str, capability: tuple[int, int], architectures: str) -> str:
    """Why a build has no code for a GPU; empty if it has.

    Args:
        name: of the GPU.
        capability: its compute capability.
        architectures: of the build; nothing is known of an empty list.
    """
    known = list(targets(architectures))
    if not known or any(target.runs_on(capability) for target in known):
        return ""
    major, minor = capability
    return (
        f"the compiled cuda library has no code for {name} (compute capability {major}.{minor}, "
        f"built for {readable(architectures)}): install again from source with "
        f"PYRAMIDFLOW_CUDA_ARCHITECTURES={major}{minor}."
    )


def reason_against_driver(driver: int, runtime: int) -> str:
    """Why a driver cannot run a build; empty if it can.

    Within a major version of CUDA older drivers run newer builds.

    Args:
        driver: newest CUDA version that the driver knows, ``12040`` for 12.4; 0 without a driver.
        runtime: CUDA version of the build.
    """
    if driver // 1000 >= runtime // 1000:
        return ""
    return (
        f"the driver knows CUDA {version(driver)}, but the compiled cuda library was built with "
        f"{version(runtime)}: update the driver, or install again from source with an older nvcc."
    )

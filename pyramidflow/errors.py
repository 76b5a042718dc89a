"""The one error that bad input raises, wherever it enters, and the warnings."""

LONGEST_SHOWN = 60
"""Characters of a refused value that its sentence repeats."""


class InputError(ValueError):
    """Input that cannot be used, said in one sentence.

    The message names what was given, what was expected and what to do. The command line prints it
    without a traceback and exits with code 2; from Python it is an ordinary ``ValueError``.
    """


class CheckpointError(InputError):
    """A checkpoint that a training cannot go on from: it is missing, damaged or another's."""


class LostProcessError(InputError):
    """Another process of a training has ended, or does not answer."""


class LineStoppedError(InputError):
    """A picture that was put into a line which is stopped."""


class StationEndedError(InputError):
    """A picture that was put into a station which ended before its time, or cannot begin."""


class IdentityWaitsError(InputError):
    """A picture with the identity of another one that waits for its record."""


class PyramidFlowWarning(UserWarning):
    """What a person should know although the work goes on, in one sentence.

    The command line prints it as one line on standard error.
    """


class SlowOperationsWarning(PyramidFlowWarning, RuntimeWarning):
    """The operations run in plain PyTorch because no faster backend can run here, and why."""


class CalibrationWarning(PyramidFlowWarning):
    """The threshold was set with images that are not fit for it."""


class WeakStorageWarning(PyramidFlowWarning, RuntimeWarning):
    """A file system lacks a promise that written files rely on, and what follows from it."""


class ImagesWarning(PyramidFlowWarning):
    """Something about the images of a training, or the masks of an evaluation."""


def shown(value: object) -> str:
    """A refused value as a sentence repeats it: short, on one line."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested too deep, or a number of too many digits
        text = f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"

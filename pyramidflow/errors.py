"""The one error that bad input raises, wherever it enters, and the warnings."""


class InputError(ValueError):
    """Input that cannot be used, said in one sentence.

    The message names what was given, what was expected and what to do. The command line prints it
    without a traceback and exits with code 2; from Python it is an ordinary ``ValueError``.
    """


class SlowOperationsWarning(RuntimeWarning):
    """The operations run in plain PyTorch because no faster backend can run here, and why.

    The command line prints it as one line on standard error.
    """


class CalibrationWarning(UserWarning):
    """The threshold was set with images that are not fit for it.

    The command line prints it as one line on standard error.
    """


class WeakStorageWarning(RuntimeWarning):
    """A file system lacks a promise that the files written there rely on, and what follows from it.

    The command line prints it as one line on standard error.
    """


class ImagesWarning(UserWarning):
    """Something about the images of a training that a person should know.

    The command line prints it as one line on standard error.
    """

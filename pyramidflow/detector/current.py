"""The session that a detector inspects with, made anew when the detector has changed."""

import threading
from itertools import chain

import torch

from pyramidflow import ops
from pyramidflow.detector.artifact import Artifact
from pyramidflow.detector.calibration import Calibration
from pyramidflow.detector.session import Session
from pyramidflow.engine import Settings
from pyramidflow.errors import InputError
from pyramidflow.model import PyramidFlow


class CurrentSession:
    """Room for one session, for any number of threads.

    A thread keeps the session that it got; a new one replaces it whole.

    Attributes:
        settings: of the sessions that are made.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self._making = threading.Lock()
        self._made: tuple[Session, object] | None = None

    def get(self, artifact: Artifact, device: torch.device) -> Session:
        """The session of a detector as it is now.

        Raises:
            InputError: the detector is not trained, or the settings cannot be honoured.
        """
        state = _state(artifact.network, device)
        made = self._made
        if made is not None and made[1] == state:
            return made[0]
        with self._making:
            made = self._made
            if made is not None and made[1] == state:
                return made[0]
            return self._make(artifact, device, self.settings)

    def renew(self, artifact: Artifact, device: torch.device, settings: Settings) -> Session:
        """Make the session with other settings.

        Raises:
            InputError: the detector is not trained, or the settings cannot be honoured.
        """
        with self._making:
            session = self._make(artifact, device, settings)
            self.settings = settings
        return session

    def drop(self) -> None:
        """Forget the session: the detector is another one now."""
        self._made = None

    def calibrate(self, calibration: Calibration | None) -> None:
        """Give the session another threshold."""
        if self._made is not None:
            self._made = (self._made[0].calibrated(calibration), self._made[1])

    def _make(self, artifact: Artifact, device: torch.device, settings: Settings) -> Session:
        if not artifact.template:
            raise InputError("this detector is not trained: call fit, or load a trained one.")
        self._made = None  # first its memory, then the next one's
        session = Session(artifact, device, settings)
        self._made = (session, _state(artifact.network, device))
        return session


def _state(network: PyramidFlow, device: torch.device) -> object:
    """What a session depends on and somebody may have changed in place: backend and weights."""
    tensors = chain(network.parameters(), network.buffers())
    versions = tuple((id(x), -1 if x.is_inference() else x._version) for x in tensors)
    return ops.active_backend(device.type), versions

"""The session that a detector inspects with, made anew when the detector has changed."""

import os
import threading
from dataclasses import dataclass
from itertools import chain

import torch

from pyramidflow import ops
from pyramidflow.detector.artifact import Artifact
from pyramidflow.detector.session import Session
from pyramidflow.errors import InputError
from pyramidflow.runtime import InspectionSettings


@dataclass(frozen=True, eq=False)
class _Made:
    """A session with what it was made from."""

    session: Session
    artifact: Artifact
    state: object

    def inspects(self, artifact: Artifact, state: object) -> bool:
        """Whether its maps are those of a detector; the threshold may be another one."""
        ours = self.artifact
        return (
            ours.network is artifact.network
            and ours.template is artifact.template
            and ours.spec == artifact.spec
            and ours.masks is artifact.masks
            and self.state == state
        )


class CurrentSession:
    """Room for one session, for any number of threads.

    A thread keeps the session that it got; a new one replaces it whole. Which session fits is seen
    from what it was made from, so that a session which another thread makes meanwhile of the
    detector as it was can do no harm.

    Attributes:
        settings: of the sessions that are made.
    """

    def __init__(self, settings: InspectionSettings | None = None) -> None:
        self.settings = settings or InspectionSettings()
        self._locks = {os.getpid(): threading.Lock()}
        self._made: _Made | None = None

    def get(self, artifact: Artifact, device: torch.device) -> Session:
        """The session of a detector as it is now.

        Raises:
            InputError: the detector is not trained, or the settings cannot be honoured.
        """
        state = _state(artifact, device)
        made = self._made
        if made is not None and made.artifact is artifact and made.state == state:
            return made.session
        with self._making():
            made = self._made
            if made is None or not made.inspects(artifact, state):
                return self._make(artifact, device, self.settings)
            session = made.session
            if made.artifact.calibration is not artifact.calibration:
                session = session.calibrated(artifact.calibration)
            self._made = _Made(session, artifact, state)
        return session

    def renew(
        self, artifact: Artifact, device: torch.device, settings: InspectionSettings
    ) -> Session:
        """Make the session with other settings.

        Raises:
            InputError: the detector is not trained, or the settings cannot be honoured.
        """
        with self._making():
            session = self._make(artifact, device, settings)
            self.settings = settings
        return session

    def _making(self) -> threading.Lock:
        # In a forked process the thread that holds the lock may be missing.
        return self._locks.setdefault(os.getpid(), threading.Lock())

    def _make(
        self, artifact: Artifact, device: torch.device, settings: InspectionSettings
    ) -> Session:
        if not artifact.template:
            raise InputError("this detector is not trained: call fit, or load a trained one.")
        self._made = None  # first its memory, then the next one's
        session = Session(artifact, device, settings)
        self._made = _Made(session, artifact, _state(artifact, device))
        return session


def _state(artifact: Artifact, device: torch.device) -> object:
    """What a session depends on and may change: process, backend, mode and tensors."""
    network = artifact.network
    codebook = {} if artifact.codebook is None else artifact.codebook.tensors
    compared = [*artifact.template, *(artifact.inverse_spread or ()), *codebook.values()]
    if artifact.reference is not None:
        compared += artifact.reference.tensors.values()
    tensors = chain(network.parameters(), network.buffers(), compared)
    versions = tuple((id(x), x.data_ptr(), -1 if x.is_inference() else x._version) for x in tensors)
    is_training = any(module.training for module in network.modules())
    return os.getpid(), ops.active_backend(device.type), is_training, versions

"""The reference: the oracle in plain PyTorch, which runs wherever PyTorch does."""

import torch

from pyramidflow.ops.backend import Backend, Status


class Everything:
    """A set that holds whatever it is asked for."""

    def __contains__(self, item: object) -> bool:
        return True


class ReferenceBackend(Backend):
    """Plain PyTorch."""

    name = "reference"
    devices = Everything()
    dtypes = Everything()

    def status(self) -> Status:
        """Always there."""
        return Status(True, f"plain PyTorch {torch.__version__}, every device and floating type.")


BACKEND = ReferenceBackend()

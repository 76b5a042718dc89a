"""Where random weights are drawn."""

import torch


def drawing_device() -> torch.device:
    """The CPU, so that a seed gives the same weights on every device.

    Under ``torch.device("meta")`` it is meta: a network that is only described costs no
    decomposition of its matrices, however large, and no random numbers.
    """
    default = torch.get_default_device()
    return default if default.type == "meta" else torch.device("cpu")

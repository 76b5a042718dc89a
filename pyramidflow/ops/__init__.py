"""Stateless operations: what the model computes with, a folder for each family.

A family's ``__init__.py`` holds its public functions, ``schema.py`` what PyTorch knows of them,
``reference.py`` the oracle in plain PyTorch, ``cpu.py``, ``cuda.py`` and ``triton.py`` the faster
implementations. ``dispatch.py`` chooses among these. A family lists in ``__all__`` what is public.
"""

from pyramidflow.ops import anomaly_map as _anomaly_map
from pyramidflow.ops import conv1x1, convolution, coupling, normalize, pyramid
from pyramidflow.ops.anomaly_map import *  # noqa: F403
from pyramidflow.ops.conv1x1 import *  # noqa: F403
from pyramidflow.ops.convolution import *  # noqa: F403
from pyramidflow.ops.coupling import *  # noqa: F403
from pyramidflow.ops.dispatch import BackendRecord, active_backend, backends, use_backend
from pyramidflow.ops.normalize import *  # noqa: F403
from pyramidflow.ops.pyramid import *  # noqa: F403

__all__ = ["BackendRecord", "active_backend", "backends", "use_backend"]
__all__ += _anomaly_map.__all__
__all__ += conv1x1.__all__
__all__ += convolution.__all__
__all__ += coupling.__all__
__all__ += normalize.__all__
__all__ += pyramid.__all__

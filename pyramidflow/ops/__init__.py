"""Stateless operations: what the model computes with, a folder for each family.

A family's ``__init__.py`` holds its public functions, ``schema.py`` what PyTorch knows of them,
``reference.py`` the oracle in plain PyTorch, ``cpu.py``, ``cuda.py`` and ``triton.py`` the faster
implementations, ``compiled.py`` what is alike on the CPU and with CUDA. ``dispatch.py`` chooses
among these. A family lists in ``__all__`` what is public. Every folder here is looked through: a
new family is found, and its functions are here, too.
"""

from importlib import import_module
from pkgutil import iter_modules

from pyramidflow.ops.anomaly_map import *  # noqa: F403
from pyramidflow.ops.conv1x1 import *  # noqa: F403
from pyramidflow.ops.convolution import *  # noqa: F403
from pyramidflow.ops.coupling import *  # noqa: F403
from pyramidflow.ops.dispatch import BackendRecord, active_backend, backends, use_backend
from pyramidflow.ops.nearest import *  # noqa: F403
from pyramidflow.ops.normalize import *  # noqa: F403
from pyramidflow.ops.pyramid import *  # noqa: F403

__all__ = ["BackendRecord", "active_backend", "backends", "use_backend"]

# A checker of types reads the imports above; what it need not know is found.
for _family in iter_modules(__path__):  # noqa: F405
    if _family.ispkg:
        _module = import_module(f"{__name__}.{_family.name}")
        _public = getattr(_module, "__all__", [])
        globals().update({name: getattr(_module, name) for name in _public})
        __all__ += _public

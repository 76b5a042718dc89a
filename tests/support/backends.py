"""Backends that tests need: a skip where one cannot run, or a failure where it must."""

import os

import pytest


def require_backend(name):
    """Skip the tests of a file where a backend cannot run; fail where its library must be there.

    ``PYRAMIDFLOW_CPU=1``, which asks a build for the compiled library, asks the tests for it too.
    """
    from pyramidflow.ops import dispatch

    state = dispatch.status(name)
    if not state.available:
        unproven(state.reason)


def unproven(reason):
    """Skip a proof; fail where ``PYRAMIDFLOW_CPU=1`` says that all it needs must be there."""
    if os.environ.get("PYRAMIDFLOW_CPU") == "1":
        pytest.fail(f"PYRAMIDFLOW_CPU=1, but {reason}", pytrace=False)
    pytest.skip(reason, allow_module_level=True)

"""One service for the tests that change nothing for one another."""

import pytest


@pytest.fixture(scope="session")
def shared(detector_file, tmp_path_factory):
    from tests.service.served import configuration, served

    folder = tmp_path_factory.mktemp("served")
    limits = {"requests_per_minute": 100_000, "most_upload_bytes": 100_000}
    with served(configuration(folder, detector_file), **limits) as found:
        yield found

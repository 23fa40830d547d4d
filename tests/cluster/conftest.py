"""What the tests of the cluster share."""

import pytest

from detox_sim.cluster import connect


@pytest.fixture(scope="module")
def client():
    """A client of one embedded cluster of three processes, where nothing is killed."""
    with connect(processes=3) as client:
        yield client

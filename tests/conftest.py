"""Options and fixtures shared by all tests."""

import numpy as np
import pytest
from hypothesis import settings

# One profile for everyone: reproducible, and no deadline because machines differ.
settings.register_profile("nucseg", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("nucseg")


def pytest_addoption(parser):
    parser.addoption("--runslow", action="store_true", help="also run tests marked slow")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--runslow"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="slow; use --runslow"))


@pytest.fixture
def rng():
    """A seeded generator, the same in every test."""
    return np.random.default_rng(0)

"""The oracle as servers serve it."""

from pathlib import Path

import pytest
from conftest import Oracle

from harness.backend import deployment


@pytest.fixture(scope="session")
def exported_oracle(oracle: Oracle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the oracle's deployed graph, a file."""
    path = tmp_path_factory.mktemp("exported") / "model.xml"
    deployment.write(oracle.card, path)
    return path

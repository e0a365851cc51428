"""What the tests of plans share."""

from collections.abc import Iterator

import pytest
from plans.helpers_plan import Project


@pytest.fixture
def project(tmp_path) -> Iterator[Project]:
    """A folder for a plan, and whatever boots in it ends with the test."""
    found = Project(tmp_path)
    yield found
    found.close()

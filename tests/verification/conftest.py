"""The slow suite takes its time: no test of it is ended after the ten minutes that a hang of the others may last."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.timeout(0))

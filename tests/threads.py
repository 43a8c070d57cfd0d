"""A fixture for tests of small networks; a conftest or test file that imports it has it for all its tests."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """In a network this small threads wait for each other; on a busy machine that is 7 times slower (measured)."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

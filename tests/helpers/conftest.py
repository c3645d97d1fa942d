"""Tests of the helpers compute with one thread, as where trainings run."""

import pytest
import torch


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """One thread, before any other fixture of the module, and then as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

"""Tests of the helpers compute with one thread, as where trainings run."""

from types import SimpleNamespace

import pytest


@pytest.fixture(scope="module", autouse=True)
def first_of_all(one_thread):
    """One thread, before any other fixture of the module."""


@pytest.fixture
def drawn_from(monkeypatch):
    """The makers, with other photographs: a function of an array (512, 512)."""
    import skimage.data  # not in the process that only hands out the tests

    from helpers import data, probes

    kept = data.photograph, probes._coins, probes._horse

    def load(**pictures):
        for name in data.PHOTOGRAPHS:
            picture = pictures.get(name, pictures.get("all"))
            if picture is not None:
                monkeypatch.setattr(skimage.data, name, lambda p=picture: p)
        for cached in kept:
            cached.cache_clear()
        return SimpleNamespace(**vars(data) | vars(probes))

    yield load
    for cached in kept:
        cached.cache_clear()

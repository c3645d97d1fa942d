import pandas
import pytest
from bs4 import BeautifulSoup

from helpers import survival, verdicts

DRAWN = dict(chapter="02_unet", claim="A beats B.", trial="a", better="A", worse="B")
PART = dict(when="the pictures are nuclei")
REAL = DRAWN | dict(chapter="09_real", drawn="drawn", parts=[PART])


class Recorded:
    """Stands for a trial with a gain at each budget."""

    def __init__(self, **gains):
        rows = []
        for steps, gain in gains.items():
            for seed, noise in enumerate((-0.01, 0, 0.01, 0.005)):
                for name, score in (("A", 0.5 + gain + noise), ("B", 0.5)):
                    keys = dict(steps=int(steps[1:]), variant=name, seed=seed)
                    rows.append(keys | dict(iou=score))
        columns = ["steps", "variant", "seed", "iou"]
        table = pandas.DataFrame(rows, columns=columns)
        self.rows = table.set_index(columns[:3])

    def recorded(self):
        return self.rows


@pytest.fixture
def fields(monkeypatch):
    """A function: the texts of the row's fields, for what is on record."""

    def table(drawn, real):
        monkeypatch.setattr(verdicts, "claims", lambda: dict(drawn=DRAWN, real=REAL))
        tried = {"02_unet": dict(a=drawn), "09_real": dict(a=real)}
        page = BeautifulSoup(survival.drawn_and_real(tried).data, "html.parser")
        assert page.tbody.th.text == DRAWN["claim"]
        return [field.get_text(" ") for field in page.tbody.find_all("td")]

    return table


def test_a_claim_drawn_longer_and_real(fields):
    found = fields(Recorded(s250=0.1, s1000=-0.1), Recorded(s250=0, s600=0.2))
    assert "holds (250 steps)" in found[0]
    assert "gone by 1,000 steps" in found[1]
    assert found[2].startswith("nuclei") and "appears by 600 steps" in found[2]


def test_what_is_not_recorded_says_so(fields):
    found = fields(Recorded(s250=0.1), Recorded())
    assert "holds" in found[0]
    assert found[1:] == ["not recorded yet"] * 2

"""The table of seconds and memory that the run of the chapters ends with."""

from tests import timings

MIB = 2**20


def test_what_is_over_the_budget_is_marked():
    runs = [("02_unet", 169.0, 700 * MIB), ("01_fcn", 121.0, 650 * MIB)]
    runs += [("06_u2net", 171.0, 900 * MIB), ("00_segmentation", 119.0, 500 * MIB)]
    heading, names, *rows = timings.table(runs, ("total", 800.0, 2000 * MIB))
    assert "120 s (02, 06, 08: 170 s)" in heading
    assert "alone on an idle machine" in heading
    assert names.split() == ["chapter", "seconds", "MiB", "peak"]
    assert [row.split() for row in rows] == [
        ["00_segmentation", "119.0", "500"],
        ["01_fcn", "121.0", "650", "over"],
        ["02_unet", "169.0", "700"],
        ["06_u2net", "171.0", "900", "over"],
        ["total", "800.0", "2000"],
    ]


def test_a_peak_over_the_budget_has_a_line_of_its_own():
    *_, within = timings.table([], ("total", 1.0, 2.5e9))
    assert within.startswith("total")
    *_, total, over = timings.table([], ("total", 1.0, 2.62e9))
    assert total.startswith("total")
    assert over == "over: all at a time held 2.62 GB, more than 2.5 GB"

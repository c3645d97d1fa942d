"""Chapter 09: which of the given cells a module's neighbours are."""

from helpers import chapters, real

chapter = chapters.load("09_real_pictures")


def test_a_given_part_is_divided_by_the_tested_modules():
    given = real.divided("pv_el_cells", "given")

    def modules(pairs):
        return {real.group("pv_el_cells", pair) for pair in pairs}

    tested = modules(given["test"])
    for part in ("train", "validation", "test"):
        theirs, others = chapter.by_test(part)
        assert sorted([*theirs, *others]) == sorted(given[part])
        assert modules(theirs) <= tested and not modules(others) & tested
    assert all(chapter.by_test("train"))

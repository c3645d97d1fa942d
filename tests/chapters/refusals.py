"""What the chapters' tests share: a size that does not fit is refused with others."""

import re

import pytest


def names_sizes_that_work(call, size):
    """What `call(size)` says when it refuses a size, and {other size: its answer}.

    Fails unless the refusal names two other sizes, which `call` takes.
    """
    with pytest.raises(ValueError, match=rf"cannot take {size} (px|voxels): ") as no:
        call(size)
    said, answers = str(no.value), {}
    for other in re.search(r"; (\d+) and (\d+) work$", said).groups():
        answers[int(other)] = call(int(other))
    assert len(answers) == 2
    return said, answers

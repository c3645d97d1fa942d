"""Memory that was freed, given back to the system."""

import ctypes
import sys


def give_back():
    """Return freed memory to the system, which Linux's C library keeps for later.

    After a training that is a third of what a chapter seems to need.
    """
    if sys.platform == "linux":
        ctypes.CDLL("libc.so.6").malloc_trim(0)

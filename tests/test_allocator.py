"""The process reuses freed memory: page faults of repeated allocations, counted by the kernel."""

import platform
import subprocess
import sys

import pytest

SIZE = 64 * 2**20
COUNT = f"""
import resource, sys
import numpy as np
from fer_id.allocator import reuse_freed_memory
if "reuse" in sys.argv:
    reuse_freed_memory()
np.ones({SIZE}, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    np.ones({SIZE}, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(*arguments: str) -> int:
    command = [sys.executable, "-c", COUNT, *arguments]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_pages_of_large_arrays_come_from_the_kernel_once() -> None:
    assert 10 * page_faults("reuse") < page_faults()

"""Work shared out to processes, with the results in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

from fer_id.allocator import reuse_freed_memory

Call = TypeVar("Call")
Result = TypeVar("Result")


def in_processes(
    function: Callable[[Call], Result], calls: Iterable[Call], count: int | None, workers: int
) -> Iterator[Result]:
    """Yield results of ``function`` in the order of the ``count`` calls (None: unknown), of ``workers`` processes (0:
    one per core).

    Few calls are made ahead, so that memory stays flat where the results are used more slowly.
    """
    workers = workers or os.cpu_count() or 1
    if count is not None:
        workers = min(workers, count)
    if workers <= 1:
        yield from map(function, calls)
        return
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=reuse_freed_memory)
    pending: deque[Future[Result]] = deque()
    try:
        for call in calls:
            if len(pending) == 4 * workers:
                yield pending.popleft().result()
            pending.append(pool.submit(function, call))
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)

"""Work done by threads before its results are asked for."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


def made_ahead(
    make: Callable[[Item], Made], items: Iterable[Item], count: int = 1
) -> Iterator[Made]:
    """make(item) of each item in turn; threads make the next ones while one is in use.

    Args:
      make: called by threads. What it raises is raised here, in its item's turn.
      items: taken no earlier than they are worked on.
      count: of the threads, and of the results that they make ahead.
    """
    pool = ThreadPoolExecutor(count)
    waiting: deque[Future[Made]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(make, item))
            if len(waiting) > count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # An error must not wait for what is being made, which nobody will take.
        pool.shutdown(wait=False, cancel_futures=True)

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from greennode_airflow.waiting.per_loop import PerLoop


class Made:
    pass


def test_each_event_loop_has_one_of_its_own_which_goes_with_it():
    per_loop = PerLoop(Made)

    async def twice() -> tuple[Made, Made]:
        return per_loop.get(), per_loop.get()

    first, again = asyncio.run(twice())
    other = asyncio.run(twice())[0]
    assert first is again
    assert other is not first
    orphaned = weakref.ref(first), weakref.ref(other)
    del first, again, other
    gc.collect()
    assert [one() for one in orphaned] == [None, None]


def test_outside_of_an_event_loop_there_is_none():
    with pytest.raises(RuntimeError, match="no running event loop"):
        PerLoop(Made).get()

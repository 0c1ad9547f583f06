"""Pieces of a batch on threads of their own."""

from __future__ import annotations

import threading

import pytest
import torch

from zellige.nn.precision import full_precision
from zellige.nn.threads import side_by_side


@pytest.fixture(autouse=True)
def three_threads() -> object:
    """Torch with three threads, as many as pieces below may run at once."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_results_come_in_order_and_from_single_threads() -> None:
    together = threading.Barrier(3, timeout=60)

    def work(item: int) -> tuple[int, int]:
        together.wait()  # passes only where all three run at the same time
        return 10 * item, torch.get_num_threads()

    assert side_by_side(work, range(3)) == [(0, 1), (10, 1), (20, 1)]
    assert torch.get_num_threads() == 3


def test_few_pieces_share_the_threads() -> None:
    assert side_by_side(lambda _: torch.get_num_threads(), range(1)) == [3]
    assert side_by_side(lambda _: torch.get_num_threads(), range(2)) == [1, 1]
    assert side_by_side(lambda _: torch.get_num_threads(), range(4)) == [1, 1, 1, 1]
    assert side_by_side(lambda _: torch.get_num_threads(), ()) == []


def test_an_error_reaches_the_caller_and_leaves_the_threads_as_they_were() -> None:
    def fail(_: int) -> None:
        raise ValueError("a piece")

    with pytest.raises(ValueError, match="a piece"):
        side_by_side(fail, range(2))
    assert torch.get_num_threads() == 3


def test_full_precision_ends_with_the_last_thread_that_is_in_it() -> None:
    backend = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = backend.fp32_precision
    backend.fp32_precision = "bf16"
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with full_precision(torch.zeros(1)):
            inside.set()
            leave.wait(60)

    thread = threading.Thread(target=other)
    try:
        with full_precision(torch.zeros(1)):
            thread.start()
            assert inside.wait(60)
        assert backend.fp32_precision == "ieee"  # the other is still inside
        leave.set()
        thread.join()
        assert backend.fp32_precision == "bf16"
    finally:
        backend.fp32_precision = before

"""Maps from coarse to fine: what each is predicted from."""

from __future__ import annotations

import torch
from torch import Tensor

from zellige.generate.scales import enlarge, halvings, next_scales, scale_positions, shrink, views
from zellige.nn.conv import to_grid

SCALES = ((1, 1), (2, 2), (4, 4))


def test_grids_are_halved_down_to_one_cell() -> None:
    assert halvings((16, 16)) == ((1, 1), (2, 2), (4, 4), (8, 8), (16, 16))
    assert halvings((6, 4)) == ((1, 1), (2, 1), (3, 2), (6, 4))
    assert halvings((1, 1)) == ((1, 1),)


def test_maps_lie_over_one_another() -> None:
    positions = scale_positions(((1, 1), (2, 2), (4, 2)))
    assert positions.tolist()[:5] == [[0, 0], [0, 0], [0, 1], [2, 0], [2, 1]]
    assert positions.tolist()[5:] == [[r, c] for r in range(4) for c in range(2)]
    assert scale_positions(((2, 2),), span=16).tolist() == [[0, 0], [0, 8], [8, 0], [8, 8]]


def test_a_map_that_is_enlarged_and_shrunk_keeps_its_mean() -> None:
    tokens = torch.randn(2, 4, 3)
    assert torch.equal(enlarge(tokens, (2, 2), (2, 2)), to_grid(tokens, (2, 2)))
    canvas = enlarge(tokens[:, :1], (1, 1), (4, 4))
    torch.testing.assert_close(shrink(canvas, (2, 2)), tokens[:, :1].expand(-1, 4, -1))


def test_each_scale_is_drawn_from_the_canvas_before_it() -> None:
    seen: list[tuple[Tensor | None, int, float]] = []

    def draw(view: Tensor | None, index: int, progress: float) -> Tensor:
        seen.append((view, index, progress))
        return torch.full((2, SCALES[index][0] ** 2, 1), float(index + 1))

    def paint(tokens: Tensor, index: int) -> Tensor:
        return enlarge(tokens, SCALES[index], SCALES[-1])

    drawn = next_scales(draw, paint, SCALES)
    assert drawn.shape == (2, 21, 1)
    assert [(index, progress) for _, index, progress in seen] == [(0, 0.0), (1, 0.5), (2, 1.0)]
    assert seen[0][0] is None
    parts = drawn.split([1, 4, 16], dim=1)
    whole = views([paint(part, index) for index, part in enumerate(parts[:2])], SCALES)
    torch.testing.assert_close(torch.cat([view for view, _, _ in seen if view is not None], dim=1), whole)

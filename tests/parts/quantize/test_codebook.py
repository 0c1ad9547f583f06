"""Starting, moving and reviving the codes of a learned codebook."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from zellige.core.errors import UsageError
from zellige.quantize import VectorQuantizer
from zellige.quantize.codebook import Codebook, kmeans


def blobs(count: int, dim: int = 3, each: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    """Tight clusters far from each other, and their means."""
    places = torch.eye(dim).repeat(-(-count // dim), 1)[:count] * torch.arange(1, count + 1)[:, None] * 10
    z = places[:, None] + torch.randn(count, each, dim) * 0.01
    return z.flatten(0, 1), z.mean(1)


def test_kmeans_start_puts_codes_inside_the_data() -> None:
    torch.manual_seed(0)
    z = torch.randn(1, 400, 3) + 4
    quantizer = VectorQuantizer(3, 16, kmeans_start=True).train()
    error = (quantizer(z).z_q - z).square().mean()
    samples = VectorQuantizer(3, 16).eval()
    with torch.no_grad():
        samples.embedding.weight.copy_(z[0, :16])
    assert error < (samples(z).z_q - z).square().mean() * 0.9  # better than codes that are samples
    codes = quantizer.embedding.weight.detach().clone()
    quantizer(torch.randn(1, 120, 3))
    assert torch.equal(quantizer.embedding.weight, codes)  # once only


def test_kmeans_finds_clusters_it_has_a_sample_of() -> None:
    torch.manual_seed(0)
    z, means = blobs(3)
    centres = kmeans(z, 30, lambda x: x)
    assert torch.cdist(means, centres).min(1).values.max() < 0.05
    ids = torch.cdist(z, centres).argmin(1)
    for code in ids.unique():
        torch.testing.assert_close(centres[code], z[ids == code].mean(0), rtol=0, atol=0.05)


def test_kmeans_start_waits_until_it_has_a_vector_a_code() -> None:
    quantizer = VectorQuantizer(2, 50, kmeans_start=True).train()
    before = quantizer.embedding.weight.detach().clone()
    batches = [torch.randn(1, 20, 2) + 5 for _ in range(3)]
    for batch in batches[:2]:
        quantizer(batch)
        assert torch.equal(quantizer.embedding.weight, before)
    quantizer(batches[2])
    assert bool(quantizer.embedding.started)
    assert torch.cdist(quantizer.embedding.weight.detach(), torch.cat(batches, 1)[0]).min(1).values.max() < 2


def test_moving_average_is_the_running_mean_of_a_codes_vectors() -> None:
    """Against the definition with one-hot vectors."""
    torch.manual_seed(0)
    book = Codebook(5, 3, decay=0.8).train()
    with torch.no_grad():
        book.weight.normal_()
        book.sums.copy_(book.weight)
    uses, sums = torch.ones(5), book.weight.detach().clone()
    for _ in range(4):
        z = torch.randn(40, 3)
        ids = book.nearest(z)
        one_hot = F.one_hot(ids, 5).float()
        uses = 0.8 * uses + 0.2 * one_hot.sum(0) * 5 / 40
        sums = 0.8 * sums + 0.2 * one_hot.T @ z * 5 / 40
        book.observe(z, ids)
        torch.testing.assert_close(book.uses, uses)
        torch.testing.assert_close(book.weight.detach(), sums / uses[:, None])


def test_moving_average_finds_the_means_of_clusters() -> None:
    torch.manual_seed(0)
    z, means = blobs(4)
    quantizer = VectorQuantizer.ema(3, 4, decay=0.5, kmeans_start=False).train()
    with torch.no_grad():
        quantizer.embedding.weight.copy_(means + torch.randn(4, 3))
        quantizer.embedding.sums.copy_(quantizer.embedding.weight)
    for _ in range(30):
        quantizer(z[None])
    torch.testing.assert_close(quantizer.embedding.weight.detach(), means, rtol=0, atol=1e-3)


def test_code_that_nobody_chooses_keeps_its_place() -> None:
    quantizer = VectorQuantizer.ema(2, 3, decay=0.1, kmeans_start=False, revive_below=0.0).train()
    far = torch.tensor([100.0, 100.0])
    with torch.no_grad():
        quantizer.embedding.weight[2] = far
        quantizer.embedding.sums[2] = far
    for _ in range(60):
        quantizer(torch.randn(1, 30, 2))
    torch.testing.assert_close(quantizer.embedding.weight[2].detach(), far)


@pytest.mark.parametrize("decay", [None, 0.9])
@pytest.mark.parametrize("normalize", [False, True])
def test_dead_codes_are_revived_and_stay_revived(decay: float | None, normalize: bool) -> None:
    """All codes start at one place; with revival they spread, and no stale average pulls them back."""
    torch.manual_seed(0)
    z, _ = blobs(3)
    quantizer = VectorQuantizer(3, 24, decay=decay, normalize=normalize, revive_below=0.2).train()
    with torch.no_grad():
        quantizer.embedding.weight.copy_(quantizer.embedding.project(torch.full((24, 3), -5.0)))
        if decay is not None:
            quantizer.embedding.sums.copy_(quantizer.embedding.weight)
    steps = 400 if decay is None else 60
    for _ in range(steps):
        out = quantizer(z[None])
    assert out.stats["usage"] > 0.5
    error = (out.z_q - quantizer.embedding.project(z)).square().mean()
    assert error < 0.01


def test_revived_code_forgets_its_statistics() -> None:
    book = Codebook(4, 2, decay=0.99, revive_below=0.5)
    book.uses[1], book.sums[1] = 0.1, torch.tensor([900.0, 900.0])
    z = torch.randn(30, 2)
    book.prepare(z)
    assert torch.cdist(book.weight[1:2].detach(), z).min() < 1e-6
    assert book.uses[1] == 1
    assert torch.equal(book.sums[1], book.weight[1])
    revived = book.weight[1].detach().clone()
    book.observe(z + 3, torch.zeros(30, dtype=torch.long))  # a step without hits
    torch.testing.assert_close(book.weight[1].detach(), revived)


def test_gradient_survives_a_revival_in_the_same_step() -> None:
    quantizer = VectorQuantizer(3, 8, normalize=True, revive_below=0.9).train()
    for _ in range(30):
        out = quantizer(torch.randn(1, 6, 3, requires_grad=True))
        sum(out.losses.values()).backward()
    assert torch.isfinite(quantizer.embedding.weight.grad).all()


def test_clustering_moves_unused_codes_and_leaves_the_others() -> None:
    """Codes far from all vectors come to them in the first step; those of average use stay where they are."""
    torch.manual_seed(0)
    z, means = blobs(4)
    quantizer = VectorQuantizer(3, 8, clustering=True).train()
    book = quantizer.embedding
    with torch.no_grad():
        book.weight.copy_(torch.cat([means, torch.full((4, 3), 50.0)]))
        book.uses[:4] = 1.0
    quantizer(z[None])
    torch.testing.assert_close(book.weight[:4].detach(), means)
    assert torch.cdist(book.weight[4:].detach(), z).min(1).values.max() < 0.1


def test_clustering_changes_no_gradient_of_its_step() -> None:
    torch.manual_seed(0)
    z, _ = blobs(3)
    gradients = []
    for clustering in (False, True):
        torch.manual_seed(1)
        quantizer = VectorQuantizer(3, 24, clustering=clustering).train()
        sum(quantizer(z[None]).losses.values()).backward()
        gradients.append(quantizer.embedding.weight.grad)
    assert gradients[0].any()
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0, atol=0)


def test_clustering_goes_without_what_moves_codes_too() -> None:
    with pytest.raises(UsageError, match="leave out decay and revive_below"):
        Codebook(4, 2, clustering=True, decay=0.9)


def test_plain_codebook_has_only_its_weight() -> None:
    """So that released checkpoints, which hold nothing else, fill it completely."""
    assert list(VectorQuantizer(4, 8, normalize=True).state_dict()) == ["embedding.weight"]


@pytest.mark.parametrize("settings", [{"decay": 1.0}, {"decay": -0.1}, {"revive_below": 1.0}, {"size": 0}])
def test_settings_out_of_range_are_clear_errors(settings: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=r"codebook|revive_below|decay"):
        Codebook(**{"size": 4, "dim": 2, **settings})

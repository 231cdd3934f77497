"""The gradient of an embedding from rows is that of torch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from test_step import build
from torch import Tensor, nn

from assay.model.reward_model import RewardModel
from assay.train.embedding_rows import EmbeddingRows, numbered

IDS = [torch.tensor([[5, 7, 5, 2]]), torch.tensor([[7, 9]])]


@pytest.fixture(params=[None, 2, 7], ids=["no padding", "padding", "padding seen twice"])
def model(tiny_base: Path, request: pytest.FixtureRequest) -> RewardModel:
    model = build(tiny_base)
    plain = nn.Embedding(12, 3, padding_idx=request.param)
    model.classifier.set_input_embeddings(plain)
    return model


def loss_of(embedding: nn.Module, ids: Tensor) -> Tensor:
    output: Tensor = embedding(ids)
    return (output.square() * torch.arange(1.0, 1 + ids.numel())[:, None]).sum()


def gradient(embedding: nn.Module, batches: list[Tensor]) -> Tensor:
    embedding.zero_grad()
    for ids in batches:
        loss_of(embedding, ids).backward()  # type: ignore[no-untyped-call]
    assert isinstance(embedding.weight, Tensor)
    assert embedding.weight.grad is not None
    return embedding.weight.grad.clone()


def test_it_is_torchs(model: RewardModel) -> None:
    embedding = model.classifier.get_input_embeddings()
    rows = EmbeddingRows(model)
    for batches in (IDS, IDS[:1], IDS[::-1]):  # Rows of the step before are gone.
        expected = gradient(embedding, batches)
        embedding.zero_grad()
        for ids in batches:  # A round each.
            before = embedding.weight.grad
            with rows.gathered():
                loss_of(embedding, ids).backward()  # type: ignore[no-untyped-call]
                assert embedding.weight.grad is before
        torch.testing.assert_close(embedding.weight.grad, expected)
    assert "forward" not in vars(embedding)


def test_the_order_in_which_packs_end_changes_no_bit(model: RewardModel) -> None:
    embedding = model.classifier.get_input_embeddings()
    scales = (1.0, 1e-4, 0.3)  # Of packs with the same tokens.
    found = []
    for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0)):
        rows = EmbeddingRows(model)
        embedding.zero_grad()
        with rows.gathered():
            for pack in order:
                with numbered(pack):
                    (loss_of(embedding, IDS[0]) * scales[pack]).backward()  # type: ignore[no-untyped-call]
        found.append(embedding.weight.grad)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_what_came_another_way_is_kept(model: RewardModel) -> None:
    embedding = model.classifier.get_input_embeddings()
    expected = gradient(embedding, IDS[:1]) + 1
    embedding.zero_grad()
    with EmbeddingRows(model).gathered():
        loss_of(embedding, IDS[0]).backward()  # type: ignore[no-untyped-call]
        embedding.weight.sum().backward()
    torch.testing.assert_close(embedding.weight.grad, expected)


def test_a_step_that_fails_leaves_all_as_it_was(model: RewardModel) -> None:
    embedding = model.classifier.get_input_embeddings()
    embedding.zero_grad()

    def step() -> None:
        with EmbeddingRows(model).gathered():
            loss_of(embedding, IDS[0]).backward()  # type: ignore[no-untyped-call]
            raise ValueError("fails")

    with pytest.raises(ValueError, match="fails"):
        step()
    assert embedding.weight.grad is None
    assert "forward" not in vars(embedding)


def test_other_embeddings_are_torchs_own(model: RewardModel) -> None:
    class Scaled(nn.Embedding):
        def forward(self, ids: Tensor) -> Tensor:
            return 2 * super().forward(ids)

    for embedding in (Scaled(12, 3), nn.Embedding(12, 3, max_norm=1.0)):
        model.classifier.set_input_embeddings(embedding)
        expected = gradient(embedding, IDS)
        embedding.zero_grad()
        with EmbeddingRows(model).gathered():
            assert "forward" not in vars(embedding)
            for ids in IDS:
                loss_of(embedding, ids).backward()  # type: ignore[no-untyped-call]
        assert embedding.weight.grad is not None
        torch.testing.assert_close(embedding.weight.grad, expected)


def test_a_frozen_embedding_stays_without(model: RewardModel) -> None:
    embedding = model.classifier.get_input_embeddings()
    embedding.weight.requires_grad_(False)
    with EmbeddingRows(model).gathered(), torch.no_grad():
        assert loss_of(embedding, IDS[0]) > 0
    assert embedding.weight.grad is None

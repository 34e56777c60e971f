from __future__ import annotations

import copy

import pytest
import torch
from helpers.model_cases import quick_model, random_batch, small_encoder, snapshot
from helpers.ranks import on_ranks
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mammorisk.models.base import freeze
from mammorisk.models.encoders import ResNetEncoder
from mammorisk.models.gradient_checkpointing import checkpointed, keeps_graph

SIZE = (64, 52)


def two_encoders(**settings: object) -> tuple[ResNetEncoder, ResNetEncoder]:
    """The same weights, plain and recomputing."""
    torch.manual_seed(0)
    plain = small_encoder(**settings)
    for module in plain.modules():  # blocks that start as their shortcut would hide half of the gradients
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
    again = copy.deepcopy(plain)
    again.gradient_checkpointing = True
    return plain, again


def backward(module: nn.Module, images: Tensor, steps: int = 3) -> dict[str, Tensor]:
    """Gradients after some passes, and all parameters and buffers."""
    for step in range(steps):
        module(images + 0.1 * step).square().mean().backward()
    found = {f"gradient of {name}": p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}
    return found | snapshot(module)


def kept_bytes(encoder: nn.Module, images: Tensor) -> int:
    """What the graph of a forward pass keeps of storage, parameters left out."""
    own = {p.untyped_storage().data_ptr() for p in [*encoder.parameters(), *encoder.buffers()]}
    seen: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = encoder(images)
    assert output.requires_grad
    return sum(seen.values())


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_gradients_and_running_statistics_are_the_same_to_the_bit(mode):
    plain, again = (getattr(encoder, mode)() for encoder in two_encoders())
    images = torch.rand(3, 1, *SIZE)
    expected, found = backward(plain, images), backward(again, images)
    assert found.keys() == expected.keys()
    assert sum(name.startswith("gradient") for name in found) == len(list(plain.parameters()))
    assert [name for name, value in expected.items() if not torch.equal(found[name], value)] == []
    assert int(again.bn1.num_batches_tracked) == (3 if mode == "train" else 0)


def test_the_graph_keeps_a_fraction():
    plain, again = two_encoders()
    images = torch.rand(2, 1, 128, 104)
    assert kept_bytes(again, images) < 0.35 * kept_bytes(plain, images)


def test_under_autocast_it_is_computed_again_in_the_same_precision():
    plain, again = two_encoders()
    images, found = torch.rand(3, 1, *SIZE), []
    for encoder in (plain, again):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = encoder(images).float().square().mean()
        loss.backward()
        found.append(encoder.layer1[0].conv1.weight.grad)
    assert torch.equal(*found)


def test_a_model_learns_the_same():
    losses = []
    for overrides in ((), ("model.encoder.gradient_checkpointing=true",)):
        model = quick_model("lmv_net", *overrides).train()
        assert model.encoder.gradient_checkpointing == bool(overrides)
        batch, optimizer = random_batch(model.inputs), torch.optim.SGD(model.parameters(), lr=0.1)
        torch.manual_seed(1)  # dropout
        for _ in range(3):
            optimizer.zero_grad()
            loss = model.loss(model(batch), batch)
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
    assert losses[:3] == losses[3:]
    assert len(set(losses[:3])) == 3


def test_nothing_is_recomputed_where_no_graph_is_kept():
    encoder = small_encoder()
    assert keeps_graph(encoder)
    with torch.no_grad():
        assert not keeps_graph(encoder)
    assert not keeps_graph(freeze(encoder))


def test_an_error_in_the_second_pass_leaves_batchnorm_as_it_was():
    norm, passes = nn.BatchNorm1d(2), []
    own = norm.running_mean

    def second_fails(x: Tensor) -> Tensor:
        passes.append(norm.running_mean is own)
        if len(passes) == 2:
            raise RuntimeError("no memory")
        return norm(x).square()

    x = torch.rand(4, 2, requires_grad=True)
    with pytest.raises(RuntimeError, match="no memory"):
        checkpointed(second_fails, x, norm).sum().backward()
    assert passes == [True, False]
    assert norm.running_mean is own
    assert int(norm.num_batches_tracked) == 1


def gradients_of_a_rank() -> tuple[list[float], list[float]]:
    """A gradient that DDP leaves on this rank, and how all values differ between plain and recomputing encoder."""
    torch.set_num_threads(1)
    images = torch.rand(2, 1, *SIZE, generator=torch.Generator().manual_seed(torch.distributed.get_rank()))
    plain, again = (backward(DistributedDataParallel(encoder), images, steps=2) for encoder in two_encoders())
    differences = [float((again[name].double() - value).abs().max()) for name, value in plain.items()]
    return again["gradient of module.conv1.weight"].flatten().tolist(), differences


def test_several_processes_agree_and_have_the_same_gradients():
    (one, differences), (other, others) = on_ranks(gradients_of_a_rank)
    assert one == other
    assert max(map(abs, one)) > 0
    assert len(differences) > 50
    assert max(differences + others) == 0

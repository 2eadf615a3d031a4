"""Module: what is found by walking attributes, state_dict, moving, printing."""

import copy
import gc
import weakref
from typing import Any, Self

import numpy as np
import pytest

from tinygrad_cupy import Tensor, nn
from tinygrad_cupy.nn import optim


class Net(nn.Module):
    """One of everything that walking must find."""

    def __init__(self) -> None:
        self.first = nn.Linear(3, 2)
        self.norm = nn.BatchNorm1d(2)
        self.scale = nn.Parameter(Tensor.ones(2))
        self.blocks = [nn.Linear(2, 2), (nn.ReLU(), nn.Linear(2, 2, bias=False))]
        self.heads = {"a": nn.Linear(2, 1), "b": nn.Linear(2, 1)}
        self.mean = nn.Buffer([0.5, 0.5])
        self.name, self.nothing = "net", None

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.heads["a"](self.norm(self.first(x - 1)) * self.scale)
        return result


NAMES = [
    "scale",
    "mean",
    "first.weight",
    "first.bias",
    "norm.weight",
    "norm.bias",
    "norm.running_mean",
    "norm.running_var",
    "norm.num_batches_tracked",
    "blocks.0.weight",
    "blocks.0.bias",
    "blocks.1.1.weight",
    "heads.a.weight",
    "heads.a.bias",
    "heads.b.weight",
    "heads.b.bias",
]
BUFFERS = ["mean", "norm.running_mean", "norm.running_var", "norm.num_batches_tracked"]


def test_walking_finds_parameters_buffers_and_children_in_every_container() -> None:
    net = Net()
    assert list(net.state_dict()) == NAMES
    assert [name for name, _ in net.named_buffers()] == BUFFERS
    assert [name for name, _ in net.named_parameters()] == [n for n in NAMES if n not in BUFFERS]
    assert all(isinstance(parameter, nn.Parameter) for parameter in net.parameters())
    assert [id(buffer) for buffer in net.buffers()] == [id(b) for _, b in net.named_buffers()]
    modules = dict(net.named_modules())
    assert modules[""] is net
    assert modules["blocks.1.1"] is net.blocks[1][1]  # type: ignore[index]


def test_tensors_with_a_graph_are_not_buffers() -> None:
    net = Net()
    net.cached = net(Tensor.ones(4, 3))
    assert "cached" not in net.state_dict()


def test_shared_parameters_and_modules_come_once() -> None:
    layer = nn.Linear(2, 2)
    net = nn.Sequential(layer, nn.ReLU(), layer)
    assert [name for name, _ in net.named_parameters()] == ["0.weight", "0.bias"]
    assert [name for name, _ in net.named_modules()] == ["", "0", "1"]
    # PyTorch saves both names of a shared parameter too.
    assert list(net.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]


def test_a_child_that_points_back_at_its_parent_ends_no_walk() -> None:
    parent, child = nn.Module(), nn.Linear(1, 1)
    parent.child = child
    child.parent = parent
    assert list(parent.state_dict()) == ["child.weight", "child.bias"]


def test_train_and_eval_reach_every_module() -> None:
    net = Net()
    assert all(module.training for _, module in net.named_modules())
    assert net.eval() is net
    assert not any(module.training for _, module in net.named_modules())
    net.train()
    assert net.heads["b"].training


class Frozen(nn.Module):
    """A pretrained part whose batch norm is never trained, whatever the model around it does."""

    def __init__(self) -> None:
        self.norm = nn.Sequential(nn.BatchNorm1d(2))
        self.drop = nn.Dropout(0.5)
        self.modes: list[bool] = []

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.modes.append(mode)
        self.norm.eval()
        return self


def test_train_and_eval_go_by_what_children_make_of_it() -> None:
    part = Frozen()
    net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(part))
    assert net.train() is net
    assert (part.training, part.drop.training) == (True, True)
    assert not any(module.training for module in part.norm.modules())
    net.eval()
    assert not any(module.training for module in net.modules())
    assert part.modes == [True, False]


def test_train_reaches_shared_and_circular_modules() -> None:
    part = Frozen()
    parent = nn.Module()
    parent.one = parent.other = part
    parent.listed = [part]
    part.parent = parent
    part.drop.itself = part.drop
    parent.eval()
    assert not any(module.training for module in parent.modules())
    part.train()
    assert (part.training, parent.training, part.drop.training) == (True, True, True)
    assert not any(module.training for module in part.norm.modules())
    assert part.modes == [False, True]


def test_a_module_without_forward_says_so() -> None:
    with pytest.raises(NotImplementedError, match=r"\[Module\] defines no forward\(\)"):
        nn.Module()(Tensor(1.0))


def test_a_parameter_stays_one_when_frozen_and_its_results_are_plain_tensors() -> None:
    parameter = nn.Parameter(np.ones(3, np.float32), requires_grad=False)
    assert not parameter.requires_grad
    assert type(parameter * 2) is Tensor
    layer = nn.Linear(2, 2)
    layer.weight.requires_grad = False
    assert [name for name, _ in layer.named_parameters()] == ["weight", "bias"]


# State -------------------------------------------------------------------------------------------


def test_state_dict_is_a_copy(device: str) -> None:
    layer = nn.Linear(2, 2).to(device)
    state = layer.state_dict()
    state["weight"][:] = 7
    assert not (layer.weight.numpy() == 7).any()
    assert all(array.flags.c_contiguous for array in state.values())


def test_num_batches_tracked_is_an_int64_scalar_that_counts(device: str) -> None:
    layer = nn.BatchNorm1d(3).to(device)
    for _ in range(2):
        layer(Tensor.randn(4, 3, device=device))
    layer.eval()(Tensor.randn(4, 3, device=device))
    count = layer.state_dict()["num_batches_tracked"]
    assert count.dtype == np.int64
    assert count.shape == ()
    assert count == 2


def test_a_state_of_old_files_counts_no_batches() -> None:
    """PyTorch's norms count since version 0.4.1; statistics have to be there nevertheless."""
    net = nn.Sequential(nn.Linear(2, 3), nn.ModuleDict({"norm": nn.BatchNorm1d(3)}))
    saved = net.state_dict()
    del saved["1.norm.num_batches_tracked"]
    saved["1.norm.running_mean"][:] = 5
    assert not any(net.load_state_dict(saved))
    norm = net[1]["norm"]  # type: ignore[index]
    assert norm.running_mean.tolist() == [5, 5, 5]
    assert norm.num_batches_tracked.item() == 0
    del saved["1.norm.running_mean"]
    with pytest.raises(ValueError, match=r"missing: 1\.norm\.running_mean \(3,\)$"):
        net.load_state_dict(saved)


def test_loading_writes_into_the_same_memory(device: str) -> None:
    source, target = Net().to(device), Net().to(device)
    arrays = {name: tensor.data for name, tensor in target.named_parameters()}
    mismatch = target.load_state_dict(source.state_dict())
    assert mismatch == ((), (), ())
    for name, array in source.state_dict().items():
        np.testing.assert_array_equal(array, target.state_dict()[name])
    for name, tensor in target.named_parameters():
        assert tensor.data is arrays[name]


def test_loading_converts_to_the_dtype_of_the_module() -> None:
    layer = nn.Linear(2, 1)
    layer.load_state_dict({"weight": [[1, 2]], "bias": Tensor(np.array([3.0]))})
    assert layer.weight.dtype == np.float32
    assert layer(Tensor([[1.0, 1.0]])).item() == 6


def test_a_state_that_does_not_fit_is_one_error_that_lists_all_and_changes_nothing() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    before = model.state_dict()
    state = {name: array + 1 for name, array in before.items()}
    del state["0.bias"], state["1.running_var"]
    state |= {"conv.weight": np.zeros(3), "extra": np.zeros(1)}
    state["0.weight"] = np.zeros((2, 4), np.float32)
    state["1.bias"] = np.array(["a", "b"])
    with pytest.raises(ValueError, match="does not fit") as caught:
        model.load_state_dict(state)
    assert str(caught.value).splitlines() == [
        "[Sequential] the state_dict does not fit, nothing was loaded",
        "  missing: 0.bias (2,); 1.running_var (2,)",
        "  unexpected: conv.weight; extra",
        "  mis-shaped: 0.weight: expected (2, 3), got (2, 4); "
        "1.bias: expected (2,), got an object of type ndarray",
    ]
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_without_strict_what_fits_is_loaded() -> None:
    model = nn.Linear(3, 2)
    before = model.state_dict()
    state = {"weight": np.zeros((5, 5)), "bias": np.array([1.0, 2.0]), "other": np.zeros(1)}
    mismatch = model.load_state_dict(state, strict=False)
    assert mismatch.missing == ()
    assert mismatch.unexpected == ("other",)
    assert mismatch.misshaped == ("weight: expected (2, 3), got (5, 5)",)
    np.testing.assert_array_equal(model.state_dict()["bias"], [1, 2])
    np.testing.assert_array_equal(model.state_dict()["weight"], before["weight"])


def test_loading_after_a_forward_pass_is_noticed_by_its_backward() -> None:
    layer = nn.Linear(2, 2)
    loss = layer(Tensor.ones(1, 2, requires_grad=True)).sum()
    layer.load_state_dict(layer.state_dict())
    with pytest.raises(RuntimeError, match="in place"):
        loss.backward()


# Moving ------------------------------------------------------------------------------------------


def test_to_keeps_the_parameter_objects_and_their_gradients(device: str) -> None:
    net = Net()
    optimizer = optim.Adam(net.parameters())
    before = {name: id(tensor) for name, tensor in net.named_parameters()}
    net(Tensor.rand(4, 3)).sum().backward()
    grad = net.scale.grad
    assert grad is not None
    expected = grad.numpy()
    assert net.to(device) is net
    assert {name: id(tensor) for name, tensor in net.named_parameters()} == before
    assert {tensor.device for tensor in net.buffers()} == {device}
    assert net.scale.grad is not None
    assert net.scale.grad.device == device
    np.testing.assert_allclose(net.scale.grad.numpy(), expected)
    old = net.scale.numpy()
    optimizer.step()
    assert not np.array_equal(net.scale.numpy(), old)


@pytest.mark.gpu
def test_an_optimizer_follows_its_model_to_the_gpu_and_back() -> None:
    models = [nn.Linear(3, 2).to("cpu"), nn.Linear(3, 2).to("cpu")]
    models[1].load_state_dict(models[0].state_dict())
    optimizers = [optim.Adam(model.parameters(), lr=0.1) for model in models]
    x = np.random.default_rng(0).random((4, 3), np.float32)
    for here in ("cpu", "cuda", "cpu"):
        models[1].to(here)
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.zero_grad()
            (model(Tensor(x, device=model.weight.device)) ** 2).sum().backward()
            optimizer.step()
    np.testing.assert_allclose(models[0].weight.numpy(), models[1].weight.numpy(), rtol=1e-5)


def test_moving_to_where_it_is_disturbs_nothing() -> None:
    layer = nn.Linear(2, 2)
    loss = layer(Tensor.ones(1, 2, requires_grad=True)).sum()
    layer.to(layer.weight.device)
    loss.backward()


def test_a_copy_is_independent() -> None:
    net = Net()
    other = copy.deepcopy(net)
    other.scale.assign_(np.zeros(2, np.float32))
    assert net.scale.numpy().all()
    assert list(other.state_dict()) == NAMES


def test_moving_to_an_unknown_device_is_an_error_that_names_it() -> None:
    with pytest.raises(ValueError, match="gpu"):
        nn.Linear(1, 1).to("gpu")


def test_a_model_goes_without_the_garbage_collector() -> None:
    def build() -> weakref.ref[Any]:
        net = Net()
        net(Tensor.ones(4, 3)).sum().backward()
        return weakref.ref(net.scale)

    gc.collect()
    gc.disable()
    try:
        assert build()() is None
    finally:
        gc.enable()


# Sequential and printing -------------------------------------------------------------------------


def test_sequential_is_indexable_and_slices_share_layers() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    assert len(model) == 3
    assert isinstance(model[-1], nn.Linear)
    part = model[:2]
    assert isinstance(part, nn.Sequential)
    assert part[0] is model[0]
    assert [type(layer).__name__ for layer in model] == ["Linear", "ReLU", "Linear"]


def test_attributes_of_a_sequential_subclass_are_found_too() -> None:
    class Scaled(nn.Sequential):
        def __init__(self) -> None:
            super().__init__(nn.Linear(1, 1))
            self.scale = nn.Parameter(np.ones(1, np.float32))

    assert set(Scaled().state_dict()) == {"0.weight", "0.bias", "scale"}


def test_sequential_of_something_else_is_an_error() -> None:
    with pytest.raises(TypeError, match=r"\[Sequential\] expected Modules, got str at position 1"):
        nn.Sequential(nn.ReLU(), "relu")  # type: ignore[arg-type]


def test_repr_shows_the_tree() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Sequential(nn.Linear(4, 2, bias=False))
    )
    assert repr(model) == (
        "Sequential(\n"
        "  (0): Conv2d(1, 8, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))\n"
        "  (1): ReLU()\n"
        "  (2): Sequential(\n"
        "    (0): Linear(4, 2, bias=False)\n"
        "  )\n"
        ")"
    )

"""What several ranks do together, each checking its own part: run by test_collectives.py."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor, datasets, distributed, nn, random
from tinygrad_cupy.backend.ranks import Share, ranks

os.environ["OMP_NUM_THREADS"] = "1"
assert distributed.init()
RANK, SIZE = distributed.rank(), distributed.size()
EVERY = range(SIZE)


def of(rank: int, *shape: int) -> Any:
    """Numbers of a rank, which all know."""
    return np.random.default_rng(rank).standard_normal(shape)


def close(found: Tensor, expected: object, rtol: float = 1e-12) -> None:
    np.testing.assert_allclose(found.numpy(), np.asarray(expected), rtol=rtol, atol=1e-13)


def gradient(x: Tensor, y: Tensor, weights: Callable[[int], np.ndarray]) -> np.ndarray:
    """Of the sum over ranks of Σ weights · y."""
    (y * Tensor(weights(RANK))).sum().backward()
    assert x.grad is not None
    return x.grad.numpy()


def reductions() -> None:
    parts = [of(r, 3, 5) for r in EVERY]
    weights = [of(10 + r, 3, 5) for r in EVERY]
    for op, expected in (("sum", sum(parts)), ("mean", sum(parts) / SIZE)):
        x = Tensor(parts[RANK], requires_grad=True)
        y = distributed.all_reduce(x, op)
        close(y, expected)
        slope = sum(weights) / (SIZE if op == "mean" else 1)
        close(Tensor(gradient(x, y, lambda r: weights[r])), slope)
    for op, ufunc in (("max", np.maximum), ("min", np.minimum)):
        x = Tensor(parts[RANK], requires_grad=True)
        y = distributed.all_reduce(x, op)
        best = ufunc.reduce(parts)
        close(y, best)
        here = parts[RANK] == best
        close(Tensor(gradient(x, y, lambda r: weights[r])), sum(weights) * here)
    large = Tensor(of(RANK, 70_001))  # in parts, and not even
    close(distributed.all_reduce(large), sum(of(r, 70_001) for r in EVERY))
    bits = distributed.exchange(distributed.all_reduce(large).numpy())
    assert all((one == bits[0]).all() for one in bits)
    narrow = Tensor(np.full(3, 1 + 2.0**-7), "bfloat16")
    assert distributed.all_reduce(narrow).dtype.name == "bfloat16"
    assert distributed.all_reduce(Tensor(np.array([True, RANK == 0]))).tolist() == [SIZE, 1]
    assert distributed.all_reduce(Tensor([2 + RANK])).tolist() == [sum(2 + r for r in EVERY)]
    double = Tensor(of(0, 2), requires_grad=True)
    y = distributed.all_reduce(double * double)
    (slope,) = tg.grad((y * y).sum(), [double], create_graph=True)
    assert slope.requires_grad


def gathering() -> None:
    counts = tuple(2 + r for r in EVERY)
    parts, weights = (
        [of(r, n, 4) for r, n in enumerate(counts)],
        [of(20 + r, sum(counts), 4) for r in EVERY],
    )
    x = Tensor(parts[RANK], requires_grad=True)
    y = distributed.all_gather(x, counts)
    close(y, np.concatenate(parts))
    ends = np.cumsum(counts)
    mine = slice(ends[RANK] - counts[RANK], ends[RANK])
    close(Tensor(gradient(x, y, lambda r: weights[r])), sum(weights)[mine])
    x = Tensor(weights[RANK], requires_grad=True)
    y = distributed.reduce_scatter(x, counts)
    close(y, sum(weights)[mine])
    close(Tensor(gradient(x, y, lambda r: parts[r])), np.concatenate(parts))
    even = Tensor(of(RANK, 2 * SIZE))
    close(
        distributed.reduce_scatter(even),
        sum(of(r, 2 * SIZE) for r in EVERY)[2 * RANK : 2 * RANK + 2],
    )
    last = SIZE - 1
    x = Tensor(of(RANK, 3), requires_grad=True)
    y = distributed.broadcast(x, last)
    close(y, of(last, 3))
    found = gradient(x, y, lambda r: of(30 + r, 3))
    close(Tensor(found), sum(of(30 + r, 3) for r in EVERY) if last == RANK else np.zeros(3))
    assert distributed.exchange({"rank": RANK, "a": np.arange(RANK)})[last]["rank"] == last
    distributed.barrier()


def draws() -> None:
    """Each element of the whole batch has its word, from any place inside of a block of four."""
    for total in (1, 2, 7, 8):
        for offset in range(3):
            for draw in DRAWS:
                tg.manual_seed(5)
                Tensor.rand(4 * offset + 1, replicated=True)
                Tensor.ones(4 * offset + 1).dropout(0.5)
                state = random.get_state()
                whole = draw(total)
                after = random.get_state()
                random.set_state(state)
                share = ranks.share = Share.even(total, SIZE, RANK)
                mine = draw(share.samples)
                ranks.share = None
                assert random.get_state() == after
                for axis, one, part in zip(AXES[draw], whole, mine, strict=True):
                    expected = (
                        one
                        if axis is None
                        else np.take(one, range(*share.rows.indices(total)), axis)
                    )
                    np.testing.assert_array_equal(expected, part)
    ranks.share = Share.even(9, SIZE, RANK)
    with pytest.raises(ValueError, match="batch_axis="):
        Tensor.rand(ranks.share.samples * 2 + 1)
    ranks.share = None


def _arrays(*tensors: Tensor) -> list[np.ndarray]:
    return [one.numpy() for one in tensors]


def _plain(n: int) -> list[np.ndarray]:
    return _arrays(Tensor.rand(n, 3), Tensor.randn(n), Tensor.ones(n, 5).dropout(0.4))


def _images(n: int) -> list[np.ndarray]:
    x = Tensor.ones(n, 2, 6, 6)
    return _arrays(x.dropout(0.3), x.dropout2d(0.5), Tensor.ones(n, 3, 5).dropout(0.5))


def _elsewhere(n: int) -> list[np.ndarray]:
    late = Tensor.ones(3, n, 5).dropout(0.4, batch_axis=1)
    return _arrays(
        Tensor.rand(3, n, 2, batch_axis=1), Tensor.randn(2, n, batch_axis=-1), late,
        Tensor.rand(4, replicated=True), Tensor.ones(5).dropout(0.5, batch_axis=None),
    )  # fmt: skip


def _chapter(n: int) -> list[np.ndarray]:
    draws = tg.numpy.random
    return _arrays(draws.uniform(size=(n, 2)), draws.integers(9, size=n), draws.normal(size=(n, 3)))


def _pictures(n: int) -> list[np.ndarray]:
    a = nn.augment
    x = Tensor.ones(n, 3, 6, 6)
    layers = a.RandomCrop(6, 2), a.RandomHorizontalFlip(), a.Cutout(2), a.ColorJitter(0.4, 0.4)
    return _arrays(*[layer(x) for layer in layers])


DRAWS = (_plain, _images, _elsewhere, _chapter, _pictures)
AXES: dict[object, tuple[int | None, ...]] = {
    _plain: (0, 0, 0),
    _images: (0, 0, 0),
    _elsewhere: (1, 1, 1, None, None),
    _chapter: (0, 0, 0),
    _pictures: (0, 0, 0, 0),
}


def losses() -> None:
    """Values and gradients of the whole batch, whatever counts in the divisor."""
    classes, rows = 4, 7
    logits, target = of(1, rows, classes), np.array([0, -100, 3, 1, -100, -100, 2])
    shares = np.abs(of(2, rows, classes))
    for reduction in ("mean", "sum"):
        for case in (ignored, weighted, of_log, shared, squares):
            for total in (rows, 2):  # two: there may be a rank without samples
                y = shares if case in (shared, squares) else target
                scale = Tensor(np.array(1.5), requires_grad=True)
                whole = case(Tensor(logits[:total]) * scale, Tensor(y[:total]), reduction)
                whole.backward()
                model = Scaled()
                optimizer = nn.optim.SGD(model.parameters(), lr=1.0)
                distributed.data_parallel(model, optimizer, reduction)
                share = ranks.share = Share.even(total, SIZE, RANK)
                mine = share.rows
                value = case(model(Tensor(logits[mine])), Tensor(y[mine]), reduction)
                value.backward()
                optimizer.step()
                ranks.share = None
                assert scale.grad is not None
                close(model.scale.detach(), 1.5 - scale.grad.item())
                counts = share.weight if reduction == "mean" else float(share.present)
                close(distributed.all_reduce(value.detach() * counts), whole.item())


WEIGHT = np.array([1.0, 2.0, 0.5, 3.0])


def ignored(x: Tensor, y: Tensor, reduction: str) -> Tensor:
    return x.cross_entropy(y, reduction=reduction)


def weighted(x: Tensor, y: Tensor, reduction: str) -> Tensor:
    return x.cross_entropy(y, reduction=reduction, weight=Tensor(WEIGHT))


def of_log(x: Tensor, y: Tensor, reduction: str) -> Tensor:
    return x.log_softmax(1).nll_loss(y, Tensor(WEIGHT), reduction=reduction)


def shared(x: Tensor, y: Tensor, reduction: str) -> Tensor:
    return x.cross_entropy(y, reduction=reduction)


def squares(x: Tensor, y: Tensor, reduction: str) -> Tensor:
    return x.mse_loss(y, reduction)


class Scaled(nn.Module):
    def __init__(self) -> None:
        self.scale = nn.Parameter(Tensor(np.array(1.5)))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


def gradients() -> None:
    """Unused, frozen, accumulated, of several dtypes and groups; clipped by the norm of all."""
    tg.manual_seed(1)
    x = [of(r, 2, 3) for r in EVERY]
    used, rarely, never, frozen = (nn.Linear(3, 3) for _ in range(4))
    wide = nn.Parameter(Tensor(np.ones(3)))
    frozen.weight.requires_grad_(False)
    model = nn.ModuleList([used, rarely, never, frozen, nn.ParameterList([wide])])
    before = [p.numpy().copy() for p in model.parameters()]
    groups: list[dict[str, Any]] = [{"params": [*list(used.parameters()), wide]}, {"params": [
        *rarely.parameters(), *never.parameters(), *frozen.parameters()], "lr": 0.1}]  # fmt: skip
    optimizer = nn.optim.SGD(groups, lr=1.0)
    distributed.data_parallel(model, optimizer)
    reference: Any = nn.ModuleList([nn.Linear(3, 3) for _ in range(2)])
    expected = Tensor(np.ones(3), requires_grad=True)
    for one, other in zip(
        reference.parameters(), [*used.parameters(), *rarely.parameters()], strict=True
    ):
        one.assign_(other.detach()) if hasattr(one, "assign_") else None

    def value(layers: Any, scale: Tensor, rank: int) -> Any:
        y = layers[0](Tensor(x[rank], "float32"))
        if rank == 0:
            y = y + layers[1](y)
        return (y.astype(np.float64) * scale).sum()

    for _ in range(2):  # two passes before one step
        value(model, wide, RANK).backward()
        total: Any = sum(value(reference, expected, r) for r in EVERY)
        (total / SIZE).backward()
    params: list[Tensor] = [*used.parameters(), *rarely.parameters(), wide]
    others: list[Tensor] = [*reference.parameters(), expected]
    norm = nn.optim.clip_grad_norm(model.parameters(), 0.5)
    close(norm, nn.optim.clip_grad_norm(others, 0.5).numpy(), 1e-6)
    for param, same in zip(params, others, strict=True):
        assert param.grad is not None
        assert same.grad is not None
        np.testing.assert_allclose(param.grad.numpy(), same.grad.numpy(), rtol=1e-5, atol=1e-7)
    optimizer.step()
    assert all(p.grad is None for p in never.parameters())
    after = [p.numpy() for p in model.parameters()]
    for mine, first in zip(after, distributed.exchange(after)[0], strict=True):
        np.testing.assert_array_equal(mine, first)
    still = [*never.parameters(), *frozen.parameters()]
    for p, old in zip(model.parameters(), before, strict=True):
        if any(p is one for one in still):
            np.testing.assert_array_equal(p.numpy(), old)
        else:
            assert (p.numpy() != old).any()
    scaled = nn.Linear(3, 1)
    steps = nn.optim.SGD(scaled.parameters(), lr=1.0)
    distributed.data_parallel(scaled, steps)
    scaler = tg.GradScaler(init_scale=4.0)
    y = scaled(Tensor(x[RANK], "float32")).mean()
    with np.errstate(invalid="ignore"):
        scaler.scale(y * (np.inf if RANK == SIZE - 1 else 1.0)).backward()
        scaler.step(steps)
    scaler.update()
    assert steps.steps == [0, 0]
    assert scaler.get_scale() == 2.0


def searching() -> None:
    """L-BFGS goes by the loss of the whole batch, in its line search, too."""
    x, y = of(6, 7, 3), of(7, 7, 2)

    def found(rows: slice) -> tuple[np.ndarray, int]:
        tg.manual_seed(1)
        model = nn.Linear(3, 2)
        for p in model.parameters():
            p.replace_data(p.data.astype(np.float64))
        optimizer = nn.optim.LBFGS(model.parameters(), line_search_fn="strong_wolfe")
        if ranks.share is not None:
            distributed.data_parallel(model, optimizer)

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss: Tensor = ((model(Tensor(x[rows])) - Tensor(y[rows])) ** 2).mean()
            loss.backward()
            return loss

        optimizer.step(closure)
        return model.weight.numpy(), optimizer.evaluations

    expected = found(slice(None))
    share = ranks.share = Share.even(7, SIZE, RANK)
    mine = found(share.rows)
    ranks.share = None
    np.testing.assert_allclose(mine[0], expected[0], rtol=1e-6)
    assert mine[1] == expected[1]


def mixing() -> None:
    """MixUp finds its partners on other ranks."""
    for total in (2, 5, 9):
        x, y = Tensor(of(3, total, 1, 2, 2).astype(np.float32)), Tensor(np.arange(total) % 3)
        mix = nn.augment.MixUp(classes=3)
        tg.manual_seed(2)
        whole = mix(x, y)
        tg.manual_seed(2)
        mine = mix(*distributed.split((x, y)))
        assert ranks.share is not None
        for one, part in zip(whole, mine, strict=True):
            np.testing.assert_array_equal(one.numpy()[ranks.share.rows], part.numpy())
        distributed.no_batch()


def loaders() -> None:
    """The shares of all ranks are the batches of one process, uneven ones at the end, too."""
    data = datasets.ArrayDataset(np.arange(23.0)[:, None], np.arange(23))
    for options in ({}, {"drop_last": True}, {"resident": False}, {"seed": 4}):
        tg.manual_seed(3)
        state = random.get_state()
        one = datasets.DataLoader(data, 6, shuffle=True, split=False, **options)
        whole = [y.numpy() for _ in range(2) for _, y in one]
        random.set_state(state)
        shared = datasets.DataLoader(data, 6, shuffle=True, **options)
        parts = [(y.numpy(), ranks.share) for _ in range(2) for _, y in shared]
        assert ranks.share is None
        assert len(parts) == len(whole)
        for batch, (part, share) in zip(whole, parts, strict=True):
            assert share is not None
            assert share.total == len(batch)
            np.testing.assert_array_equal(batch[share.rows], part)


NORM_CASES: tuple[dict[str, Any], ...] = (
    {"dtype": "float64"},
    {"dtype": "float64", "relu": True},
    {"dtype": "float64", "relu": True, "pool": True, "momentum": None},
    {"dtype": "float64", "relu6": True, "steep": 9.0},
    {"dtype": "float32", "relu": True, "far": 1000.0},
    {"dtype": "float32", "pool": True, "last": True},
    {"dtype": "bfloat16", "relu": True, "pool": True},
    {"dtype": "bfloat16", "relu6": True, "pool": True, "steep": 9.0},
)
NORM_BOUNDS = {"float64": 1e-12, "float32": 1e-5, "bfloat16": 2e-3}


def synchronized() -> None:
    """SyncBatchNorm of parts is BatchNorm of the whole: values, gradients, running statistics."""
    for case in NORM_CASES:
        for total in (7, 2):  # two: there may be a rank without samples
            synchronized_case(total, **case)


def synchronized_case(
    total: int, dtype: str, momentum: float | None = 0.3, far: float = 1.0, last: bool = False,
    steep: float = 1.0, **fused: bool,
) -> None:  # fmt: skip
    beside = np.float64 if dtype == "float64" else np.float32
    x = Tensor((of(4, 7, 3, 5, 4) + far)[:total].astype(beside)).astype(dtype)
    if last:
        x = Tensor(np.moveaxis(np.moveaxis(x.data, 1, -1).copy(), -1, 1))
    share = Share.even(total, SIZE, RANK)
    found = []
    for kind, rows in ((nn.BatchNorm2d, slice(None)), (nn.SyncBatchNorm, share.rows)):
        tg.manual_seed(1)
        layer: Any = kind(3, momentum=momentum)
        for name in ("weight", "bias", "running_mean", "running_var"):
            tensor = getattr(layer, name)
            tensor.replace_data(of(6, 3).astype(beside))
        layer.weight.replace_data(layer.weight.data * beside(steep))
        ranks.share = None if kind is nn.BatchNorm2d else share
        part = x[rows].detach().requires_grad_()
        y = layer(part, **fused)
        if kind is nn.BatchNorm2d and "relu6" in fused:
            assert (y.numpy() == 6).any()
        g = of(5, 7, *y.shape[1:]).astype(beside)[:total][rows]
        g = g * g.dtype.type(kind is nn.BatchNorm2d or share.present)
        (y * Tensor(g).astype(dtype)).sum().backward()
        ranks.share = None
        assert part.grad is not None
        rowwise = [y.data, part.grad.data]
        by = [layer.weight.grad, layer.bias.grad]
        if kind is nn.SyncBatchNorm:
            by = [distributed.all_reduce(one) for one in by]
        else:
            rowwise = [one[share.rows] for one in rowwise]
            rowwise[1] = rowwise[1] * rowwise[1].dtype.type(share.present)
        moved = [layer.running_mean, layer.running_var, layer.num_batches_tracked]
        found.append([*rowwise, *[tensor.data for tensor in (*by, *moved)]])
    for mine, expected in zip(found[1], found[0], strict=True):
        assert mine.dtype == expected.dtype
        apart = np.abs(mine.astype(np.float64) - expected.astype(np.float64)).max()
        assert apart <= NORM_BOUNDS[dtype] * max(np.abs(expected.astype(np.float64)).max(), 1)


def synchronized_sizes() -> None:
    """Images of another size on each rank, and more of them than `batch` said: values count."""
    lengths, channels = [5 + 2 * r for r in EVERY], 3
    widths = [4 + 4 * (r % 2) for r in EVERY]
    parts = [of(20 + r, n, channels, w) + r for r, (n, w) in enumerate(zip(lengths, widths,
        strict=True))]  # fmt: skip
    grads = [of(40 + r, *part.shape) for r, part in enumerate(parts)]
    for momentum in (0.3, None):
        found = []
        for kind in (nn.BatchNorm1d, nn.SyncBatchNorm):
            whole = kind is nn.BatchNorm1d
            layer: Any = kind(channels, momentum=momentum)
            for name in ("weight", "bias", "running_mean", "running_var"):
                tensor = getattr(layer, name)
                tensor.replace_data(of(6, channels))
            if not whole:
                distributed.batch(2 + RANK)
            x, g = (
                np.concatenate([np.moveaxis(one, 1, 2).reshape(-1, channels) for one in listed])
                if whole
                else listed[RANK]
                for listed in (parts, grads)
            )
            given = Tensor(x, requires_grad=True)
            (slope,) = tg.grad((layer(given) * Tensor(g)).sum(), [given], create_graph=True)
            (slope**3).sum().backward()
            distributed.no_batch()
            assert given.grad is not None
            rowwise = [slope.detach().numpy(), given.grad.numpy()]
            if whole:
                ends = np.cumsum([n * w for n, w in zip(lengths, widths, strict=True)])
                mine = slice(ends[RANK] - lengths[RANK] * widths[RANK], ends[RANK])
                there = (lengths[RANK], widths[RANK], channels)
                rowwise = [np.moveaxis(one[mine].reshape(there), 2, 1) for one in rowwise]
            moved = (layer.running_mean, layer.running_var, layer.num_batches_tracked)
            found.append([*rowwise, *[tensor.numpy() for tensor in moved]])
        for mine_, expected in zip(found[1], found[0], strict=True):
            np.testing.assert_allclose(mine_, expected, rtol=1e-9, atol=1e-11 * abs(expected).max())


def synchronized_twice() -> None:
    """Gradients of gradients through the statistics of all ranks."""
    for total in (7, 2):
        for fused in ({"relu": True, "pool": True}, {"relu6": True}):
            twice_case(total, **fused)


def twice_case(total: int, **fused: bool) -> None:
    share, found = Share.even(total, SIZE, RANK), []
    for kind, rows in ((nn.BatchNorm2d, slice(None)), (nn.SyncBatchNorm, share.rows)):
        layer: Any = kind(3, track_running_stats=False)
        layer.weight.replace_data(np.array([1.0, -2.0, 5.0]))
        layer.bias.replace_data(np.array([0.0, 1.0, 2.0]))
        ranks.share = None if kind is nn.BatchNorm2d else share
        part = Tensor(of(4, 7, 3, 5, 4)[:total][rows], requires_grad=True)
        counts = 1.0 if kind is nn.BatchNorm2d else float(share.present)
        y = layer(part, **fused)
        (slope,) = tg.grad((y**3).sum() * counts, [part], create_graph=True)
        (slope * slope).sum().backward()
        ranks.share = None
        assert part.grad is not None
        grads = slope.detach().numpy(), part.grad.numpy()
        found.append([one if kind is nn.SyncBatchNorm else one[share.rows] for one in grads])
    for mine, expected in zip(found[1], found[0], strict=True):
        if share.present:
            np.testing.assert_allclose(mine, expected, rtol=1e-8, atol=1e-10 * abs(expected).max())
        else:
            assert not mine.any()


def collectives_of_a_norm() -> None:
    """One exchange forward, one backward, and none where nobody wants the gradient by x.

    In evaluation there is none, with running statistics or without.
    """
    ranks.share = Share.even(4, SIZE, RANK)
    x = Tensor(of(RANK, ranks.share.samples, 3, 2, 2).astype(np.float32))
    for momentum, tracked in ((0.1, True), (None, True), (0.1, False)):
        layer = nn.SyncBatchNorm(3, momentum=momentum, track_running_stats=tracked)
        for wanted, training, expected in ((False, True, 1), (True, True, 2), (True, False, 0)):
            layer.train(training)
            before = ranks.world.client.begun
            layer(x.detach().requires_grad_(wanted), relu=True).sum().backward()
            assert ranks.world.client.begun - before == expected
    ranks.share = None


for check in (
    reductions,
    gathering,
    draws,
    losses,
    gradients,
    searching,
    mixing,
    loaders,
    synchronized,
    synchronized_sizes,
    synchronized_twice,
    collectives_of_a_norm,
):
    check()
    if RANK == 0:
        print(check.__name__, "as expected")

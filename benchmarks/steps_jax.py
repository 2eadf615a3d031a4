"""JAX's train step: jitted, and scanned over an epoch in one call.

Channels last throughout, arguments donated. Batch norm uses the batch's statistics and leaves the
running averages out, dropout draws from XLA's own generator ("rbg"), pooling is a reshape and a
maximum (see `pool`): all in JAX's favour. In bf16 weights and activations are cast to bfloat16 as
Flax's ``dtype=bfloat16`` does, with float32 master weights, statistics and loss.
"""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_cupy.datasets import ArrayDataset

from .cells import LEARNING_RATE, SCAN_STEPS, Cell, batches_of, first_weights
from .nets import NETS

PRECISION = {"tf32": "tensorfloat32", "fp32": "float32", "bf16": None}
_data: dict[str, Any] = {}


def jax_data(dataset: ArrayDataset) -> tuple[Any, Any]:
    """(N, H, W, C) float32 images in [0, 1] and int32 labels; once per process."""
    import jax.numpy as jnp

    if not _data:
        images = np.moveaxis(dataset.images, 1, -1).astype(np.float32) / 255
        _data["images"], _data["labels"] = jnp.asarray(images), jnp.asarray(dataset.labels, "int32")
    return _data["images"], _data["labels"]


def jax_weights(net: str) -> dict[str, Any]:
    """The first weights in JAX's layouts: (KH, KW, C, O) and (in, out), features channels last."""
    weights = {name: np.asarray(value) for name, value in first_weights(net).items()}
    channels = 0  # of the last convolution, to turn the features of the first fc
    result = {}
    for i, layer in enumerate(NETS[net]):
        if f"{i}.weight" not in weights:
            continue
        weight, result[f"{i}.bias"] = weights[f"{i}.weight"], weights[f"{i}.bias"]
        if layer.kind == "conv":
            channels = len(weight)
            weight = weight.transpose(2, 3, 1, 0)
        elif layer.kind == "fc":
            if channels:  # (out, C*H*W) -> (out, H*W*C)
                planes = weight.reshape(len(weight), channels, -1)
                weight, channels = planes.swapaxes(1, 2).reshape(len(weight), -1), 0
            weight = weight.T
        result[f"{i}.weight"] = weight
    return result


def pool(x: Any) -> Any:
    """The maxima of 2x2 windows, stride 2, of (N, H, W, C) with H and W even.

    What `lax.reduce_window` gives, but with a gradient that XLA fuses, where that one's is a
    select-and-scatter. Equal maxima share the gradient; PyTorch and ours give it to the first of
    them.
    """
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).max((2, 4))


def forward(net: str, precision: str, weights: dict[str, Any], x: Any, key: Any) -> Any:
    """The logits of a batch in training, float32."""
    import jax
    from jax import lax
    from jax import numpy as jnp

    kept = x.dtype if precision != "bf16" else jnp.bfloat16
    x = x.astype(kept)
    for i, (kind, sizes) in enumerate(NETS[net]):
        weight: Any = weights.get(f"{i}.weight")
        bias: Any = weights.get(f"{i}.bias")
        if kind == "conv":
            x = lax.conv_general_dilated(
                x, weight.astype(kept), (1, 1), [(sizes[3], sizes[3])] * 2,
                dimension_numbers=("NHWC", "HWIO", "NHWC"), precision=PRECISION[precision],
            ) + bias.astype(kept)  # fmt: skip
        elif kind == "fc":
            x = jnp.dot(x, weight.astype(kept), precision=PRECISION[precision]) + bias.astype(kept)
        elif kind == "relu":
            x = jax.nn.relu(x)
        elif kind == "pool":
            x = pool(x)
        elif kind == "norm":
            wide = x.astype(jnp.float32)
            scale = lax.rsqrt(wide.var((0, 1, 2)) + 1e-5) * weight
            x = ((wide - wide.mean((0, 1, 2))) * scale + bias).astype(kept)
        elif kind == "dropout":
            keep = jax.random.bernoulli(jax.random.fold_in(key, i), 1 - sizes[0], x.shape)
            x = jnp.where(keep, x / (1 - sizes[0]), 0)
        else:
            x = x.reshape(len(x), -1)
    return x.astype(jnp.float32)


def train_step(net: str, precision: str) -> Callable[..., Any]:
    """(state, rows, images, labels) -> (new state, loss), with Adam written out."""
    import jax
    from jax import numpy as jnp

    def loss_of(weights: Any, x: Any, y: Any, key: Any) -> Any:
        scores = jax.nn.log_softmax(forward(net, precision, weights, x, key))
        return -jnp.take_along_axis(scores, y[:, None], 1).mean()

    def step(state: Any, rows: Any, images: Any, labels: Any) -> Any:
        weights, first, second, count, key = state
        key, dropout = jax.random.split(key)
        loss, grads = jax.value_and_grad(loss_of)(weights, images[rows], labels[rows], dropout)
        count = count + 1
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, grads)
        second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, grads)
        rate, root = LEARNING_RATE / (1 - 0.9**count), jnp.sqrt(1 - 0.999**count)
        weights = jax.tree.map(
            lambda w, m, v: w - rate * m / (jnp.sqrt(v) / root + 1e-8), weights, first, second
        )
        return (weights, first, second, count, key), loss

    return step


class Jax:
    """Gather a batch, forward, cross-entropy, backward, Adam. The constructor only compiles."""

    def __init__(self, cell: Cell, dataset: ArrayDataset, device: str) -> None:
        import jax

        backend = jax.default_backend()
        if (backend == "cpu") != (device == "cpu"):
            raise RuntimeError(f"[device] JAX computes on {backend!r}, asked for was {device!r}")
        self.data = jax_data(dataset)
        self.data_bytes = sum(array.nbytes for array in self.data)
        self.peak_bytes = None  # JAX's counter covers the whole process
        scan = cell.impl == "jax-scan"
        batches = batches_of(len(dataset), cell.batch, SCAN_STEPS if scan else None)
        self.steps_per_call = len(batches) if scan else 1
        self.arguments = [jax.numpy.asarray(rows) for rows in ([batches] if scan else batches)]
        step = train_step(cell.net, cell.precision)
        call = _scanned(step) if scan else step
        self.state = _first_state(cell.net)
        compiled = jax.jit(call, donate_argnums=0)
        self.step = compiled.lower(self.state, self.arguments[0], *self.data).compile()
        self.calls = 0

    def _call(self) -> Any:
        rows = self.arguments[self.calls % len(self.arguments)]
        self.calls += 1
        self.state, loss = self.step(self.state, rows, *self.data)
        return loss

    def run(self, steps: int) -> None:
        """Do so many steps (a multiple of `steps_per_call`) and wait until they are done."""
        for _ in range(steps // self.steps_per_call):
            loss = self._call()
        loss.block_until_ready()

    def losses(self, steps: int) -> list[float]:
        """The losses of the next steps."""
        values: list[float] = []
        while len(values) < steps:
            values.extend(np.ravel(np.asarray(self._call())).tolist())
        return values[:steps]


def _scanned(step: Callable[..., Any]) -> Callable[..., Any]:
    from jax import lax

    def epoch(state: Any, batches: Any, images: Any, labels: Any) -> Any:
        return lax.scan(lambda carry, rows: step(carry, rows, images, labels), state, batches)

    return epoch


def _first_state(net: str) -> Any:
    import jax
    from jax import numpy as jnp

    weights = {name: jnp.asarray(value) for name, value in jax_weights(net).items()}
    zeros = functools.partial(jax.tree.map, jnp.zeros_like, weights)
    return weights, zeros(), zeros(), jnp.zeros((), jnp.float32), jax.random.key(0, impl="rbg")


def release(device: str) -> None:
    """Give memory that nothing uses any more back to the device."""
    gc.collect()


def versions(device: str) -> dict[str, str]:
    import jax

    return {"jax": jax.__version__}

"""Trainings as one process and as several: `python training.py FILE` writes what they came to.

With FOLDER behind it a `Trainer` writes checkpoints there for two epochs, or goes on to four.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_cupy as tg
from tinygrad_cupy import Tensor, datasets, distributed, nn
from tinygrad_cupy.backend.ranks import ranks


def data(dtype: Any, count: int = 45) -> datasets.ArrayDataset:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, count)
    labels[rng.random(count) < 0.2] = -100  # left out
    return datasets.ArrayDataset(rng.standard_normal((count, 1, 6, 6)).astype(dtype), labels)


def net(dtype: Any) -> nn.Module:
    layers = [nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.3), nn.Flatten()]
    model: nn.Module = nn.SyncBatchNorm.convert(nn.Sequential(*layers, nn.Linear(48, 4)))
    for tensor in [*model.parameters(), *(buffer for _, buffer in model.named_buffers())]:
        if tensor.dtype.kind == "f":
            tensor.replace_data(tensor.data.astype(dtype))
    return model


def loop(dtype: Any, steps: int) -> dict[str, Any]:
    """A loop of one's own: batches of 10, the last of 5; masks, augmentation, clipping."""
    tg.manual_seed(3)
    model = net(dtype)
    optimizer = nn.optim.Adam(model.parameters(), lr=0.01)
    parallel = distributed.data_parallel(model, optimizer)
    augment = nn.augment.RandomCrop(6, padding=1)
    weight = Tensor(np.array([1.0, 2.0, 0.5, 1.5], dtype))
    loader = datasets.DataLoader(data(dtype), 10, shuffle=True)
    losses: list[float] = []
    while len(losses) < steps:
        for x, y in loader:
            optimizer.zero_grad()
            loss = parallel(augment(x)).cross_entropy(y, weight=weight)
            loss.backward()
            nn.optim.clip_grad_norm(model.parameters(), 1.0)
            optimizer.step()
            counts = 1.0 if ranks.split is None else ranks.split.weight
            losses.append(distributed.all_reduce(loss.detach() * counts).item())
    weights = [p.numpy().tobytes().hex() for p in model.parameters()]
    assert all(one == weights for one in distributed.exchange(weights))
    return {"losses": losses[:steps], "weights": weights}


class Ask(nn.Callback):
    """Only the last rank is asked to stop; all do, at one step."""

    def on_step_end(self, trainer: nn.Trainer, step: nn.Step) -> None:
        if (step.epoch, step.index) == (2, 2) and distributed.rank() == distributed.size() - 1:
            raise nn.StopTraining("asked")


def trained(folder: Path, *callbacks: nn.Callback) -> dict[str, Any]:
    """Two epochs and a bit with checkpoints, or, where there are some, on to four."""
    tg.manual_seed(4)
    model = net(np.float64)
    train, val = data(np.float64), data(np.float64, 23)
    metrics = {"mistakes": lambda output, y: (output.argmax(axis=1) != y).astype("float64").mean()}
    trainer = nn.Trainer(
        model,
        nn.optim.AdamW(model.parameters(), lr=0.01),
        nn.CrossEntropyLoss(label_smoothing=0.1),
        schedule=nn.schedules.Cosine(0.01, 20),
        augment=nn.augment.RandomHorizontalFlip(),
        callbacks=callbacks,
        checkpoint=nn.Checkpoints(folder, minutes=0, share=1.0),
        clip_norm=1.0,
        ema=0.9,
        metrics=metrics,
        progress=True,
    )
    loaders = datasets.DataLoader(train, 10, shuffle=True), datasets.DataLoader(val, 7)
    history = trainer.resume(*loaders, epochs=4)
    found = trainer.evaluate(loaders[1])
    return {
        "stopped": history.stopped,
        "epochs": [[r.train_loss, r.train_accuracy, r.val_loss, r.metrics] for r in history],
        "labels": found.labels.tolist(),
        "answers": trainer.predict(loaders[1]).tolist(),
        "loss": found.loss,
    }


if __name__ == "__main__":
    distributed.init()
    file, *rest = sys.argv[1:]
    result: dict[str, Any]
    if rest:
        callbacks = [Ask()] if rest[1:] else []
        result = trained(Path(rest[0]), *callbacks)
    else:
        result = {"float32": loop(np.float32, 10), "float64": loop(np.float64, 100)}
    if distributed.rank() == 0:
        Path(file).write_text(json.dumps(result), encoding="utf-8")

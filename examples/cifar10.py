"""A small net learns to tell the photographs of CIFAR-10 apart, in five minutes on two CPU cores.

FOLDER has train/CLASS/*.jpg and test/CLASS/*.jpg (.png will do, too), colour pictures of one size.
They are decoded once and kept in the cache; those of a batch are flipped and moved by up to two
pixels at random, on the device that trains.
"""

import argparse
import time
from pathlib import Path

import tinygrad_cupy as tg
from tinygrad_cupy import nn
from tinygrad_cupy.datasets import DataLoader, image_folder
from tinygrad_cupy.nn import augment

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("folder", type=Path)
parser.add_argument("--epochs", type=int, default=5)
parser.add_argument("--width", type=int, default=16)
parser.add_argument("--batch", type=int, default=128)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--device", default=tg.default_device())
options = parser.parse_args()


def block(inputs: int, outputs: int) -> list[nn.Module]:
    """A convolution of 3 x 3 pixels, and half the height and width."""
    conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]


class Progress(nn.Callback):
    """A line for each epoch."""

    def on_epoch_end(self, trainer: nn.Trainer, record: nn.EpochRecord) -> None:
        print(f"epoch {record.epoch}: loss {record.train_loss:.3f}, {record.seconds:.0f} s")


train, test = image_folder(options.folder)
tg.set_default_device(options.device)
tg.manual_seed(options.seed)
width, side = options.width, train.inputs.shape[-1] // 8
layers = [*block(3, width), *block(width, 2 * width), *block(2 * width, 4 * width), nn.Flatten()]
model = nn.Sequential(*layers, nn.Linear(4 * width * side**2, len(train.classes)))
optimizer = nn.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
loader = DataLoader(train, options.batch, shuffle=True, drop_last=True)
schedule = nn.schedules.OneCycle(0.1, options.epochs * len(loader), rise=0.25)
changes = nn.Sequential(
    augment.RandomHorizontalFlip(), augment.RandomCrop(train.inputs.shape[-2:], padding=2)
)
trainer = nn.Trainer(model, optimizer, None, schedule, [Progress()], augment=changes)
started = time.perf_counter()
trainer.fit(loader, epochs=options.epochs)
minutes = (time.perf_counter() - started) / 60
accuracy = trainer.evaluate(DataLoader(test, min(500, len(test)))).accuracy
print(f"accuracy {accuracy:.2%} after {minutes:.1f} minutes and {time.process_time():.0f} CPU-s")

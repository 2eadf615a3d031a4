"""The embedded digits: 1,797 real handwritten digits, there without a download.

"Optical Recognition of Handwritten Digits", E. Alpaydin and C. Kaynak, UCI Machine Learning
Repository (data set 80), 1998, CC BY 4.0 (see DIGITS-LICENSE.txt).

digits.png holds them on one sheet of 8 x 8 tiles, 43 to a row, digits-labels.txt a line of labels
for each row of tiles. Both were made from scikit-learn's copy, in its order:

    data = sklearn.datasets.load_digits()                          # images 0..16, (1797, 8, 8)
    tiles = np.zeros((42 * 43, 8, 8), np.uint8)
    tiles[:1797] = np.round(data.images * 255 / 16)
    sheet = tiles.reshape(42, 43, 8, 8).transpose(0, 2, 1, 3).reshape(42 * 8, 43 * 8)
    Image.fromarray(sheet).save("digits.png", optimize=True)
    text = "".join(map(str, data.target))
    Path("digits-labels.txt").write_text("\\n".join(textwrap.wrap(text, 43)) + "\\n")
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from .dataset import ArrayDataset
from .mnist_files import DIGIT_CLASSES

TILE = 8
MARGIN = 4  # black pixels around a tile before it is scaled, so that strokes end softly
SCALE = 2.5  # 8 pixels become 20, the height that MNIST gives its digits in 28 pixels
SIDE = 28
TEST_FRACTION = 0.2
SPLIT_SEED = 0


def digits() -> tuple[ArrayDataset, ArrayDataset]:
    """The embedded digits as (train, test): 1,438 and 359 images, uint8 (N, 1, 28, 28).

    They look like MNIST: white on black, 20 pixels high, in the middle of 28 x 28. The test part
    is a fixed 20 % of each class.

    >>> train, test = datasets.digits()
    >>> train.images.shape, len(test.classes)
    ((1438, 1, 28, 28), 10)
    """
    tiles, labels = read_sheet()
    images = np.stack([enlarge(tile) for tile in tiles])[:, None]
    whole = ArrayDataset(images, labels, DIGIT_CLASSES, "digits")
    return whole.split(TEST_FRACTION, seed=SPLIT_SEED, stratify=True)


def read_sheet() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """The digits as published, scaled from 0..16 to 0..255, (1797, 8, 8), and their labels."""
    folder = Path(__file__).parent
    rows = (folder / "digits-labels.txt").read_text(encoding="ascii").split()
    labels = np.array([int(label) for label in "".join(rows)], dtype=np.int64)
    with Image.open(folder / "digits.png", formats=("PNG",)) as image:
        sheet = np.asarray(image)
    down, across = sheet.shape[0] // TILE, sheet.shape[1] // TILE
    tiles = sheet.reshape(down, TILE, across, TILE).transpose(0, 2, 1, 3)  # (down, across, 8, 8)
    return tiles.reshape(-1, TILE, TILE)[: len(labels)], labels


def enlarge(tile: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """(8, 8) -> (28, 28), bicubic, the digit 20 pixels high in the middle."""
    side = int((TILE + 2 * MARGIN) * SCALE)
    large = Image.fromarray(np.pad(tile, MARGIN)).resize((side, side), Image.Resampling.BICUBIC)
    edge = (side - SIDE) // 2
    return np.asarray(large)[edge : edge + SIDE, edge : edge + SIDE]

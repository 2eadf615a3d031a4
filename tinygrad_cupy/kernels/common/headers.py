"""Files of CUDA that kernels share: they stand in front of a ``.cu`` file, as `CudaSource` says."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).parent

BITS = str(_HERE / "bits.cuh")
VECTOR = str(_HERE / "vector.cuh")  # of a macro WIDTH
TENSOR_CORES = str(_HERE / "tensor_cores.cuh")  # of a macro KIND
HOPPER = str(_HERE / "hopper.cuh")  # behind TENSOR_CORES
TURN = str(_HERE / "turn.cuh")
RING = str(_HERE / "ring.cuh")  # of STAGES and three more constants, behind HOPPER and TURN
LAST_BLOCK = str(_HERE / "last_block.cuh")
ORDER = str(_HERE / "order.cuh")
ROWS = str(_HERE / "rows.cuh")  # of a macro INDEX, if need be
COLUMNS = str(_HERE / "columns.cuh")  # of a macro TILE, behind LAST_BLOCK
ROW = str(_HERE / "row.cuh")  # of row_cuda.macros, behind VECTOR

"""What `import tinygrad_cupy` costs and what it leaves alone."""

import os
import subprocess
import sys

import pytest

HEAVY = ("nn", "datasets", "matplotlib", "cupy", "PIL", "typer", "rich", "torch", "safetensors")
LATER = ("ml_dtypes", "threadpoolctl", "subprocess", "logging", "concurrent.futures", "hashlib")
NO_BYTE_CODE = "PYTHONDONTWRITEBYTECODE"


def python(code: str) -> str:
    """The output of a fresh interpreter, allowed to write byte code as an installed one has it."""
    environment = {key: value for key, value in os.environ.items() if key != NO_BYTE_CODE}
    command = [sys.executable, "-W", "error", "-c", code]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_importing_the_engine_loads_nothing_that_it_does_not_need() -> None:
    loaded = python("import sys, tinygrad_cupy; print(*sys.modules)").split()
    unwanted = {f"tinygrad_cupy.{name}" for name in HEAVY} | set(HEAVY)
    unwanted |= set(LATER) - set(python("import sys, numpy; print(*sys.modules)").split())
    assert not unwanted & set(loaded)


def test_nn_and_datasets_load_on_first_use() -> None:
    code = "import tinygrad_cupy as tg; print(tg.nn.__name__, tg.datasets.__name__)"
    assert python(code) == "tinygrad_cupy.nn tinygrad_cupy.datasets"


def test_bfloat16_is_known_by_name_before_anybody_imported_it() -> None:
    code = (
        "import tinygrad_cupy as tg; x = tg.Tensor([1, 2], dtype='bfloat16', device='cpu');"
        "print(x.dtype, tg.Tensor([1.0], device='cpu').astype('bfloat16').dtype)"
    )
    assert python(code) == "bfloat16 bfloat16"


@pytest.mark.slow
def test_the_engine_has_only_the_names_it_exports() -> None:
    code = "import tinygrad_cupy as tg; print([n for n in tg.__all__ if not hasattr(tg, n)])"
    assert python(code) == "[]"


@pytest.mark.slow
def test_import_time_beyond_numpy() -> None:
    code = (
        "import numpy, time; start = time.process_time(); import tinygrad_cupy;"
        "print(time.process_time() - start)"
    )
    fastest = min(float(python(code)) for _ in range(5))
    assert fastest < 0.3, f"import tinygrad_cupy took {fastest:.3f} s beyond NumPy's own import"

"""The tests of functions of autograd and MyGrad, from checkouts of theirs, run on this library.

TINYGRAD_CUPY_AUTOGRAD=FOLDER TINYGRAD_CUPY_MYGRAD=FOLDER pytest -m slow tests/peers -s
"""

import pytest

from peers.suites import checkout, run

AUTOGRAD = (
    *("binary_ops", "dict", "direct", "graphs", "jacobian", "list", "logic", "misc", "numpy"),
    *("scalar_ops", "systematic", "truediv", "tuple", "ufunc_dispatch", "wrappers", "core"),
)
MYGRAD = (
    *("math", "linalg", "ufuncs", "tensor_ops", "nnet/activations", "test_tensor_manip.py"),
    *("test_tensor_joining.py", "test_indexing_routines.py", "test_where_mask.py"),
    *("test_tensor_creation.py", "test_numpy_overrides.py", "tensor_base/test_chainrule.py"),
    *("tensor_base/test_pow_special_cases.py", "tensor_base/test_augmented_updates.py"),
)
FLOORS = {"autograd": 345, "mygrad": 165}  # tests that pass


@pytest.mark.slow
def test_autograd() -> None:
    folder = checkout("TINYGRAD_CUPY_AUTOGRAD") / "tests"
    report = run("peers.autograd_shim", [folder / f"test_{name}.py" for name in AUTOGRAD])
    print(f"autograd: {report}")
    assert len(report.passed) >= FLOORS["autograd"]


@pytest.mark.slow
def test_mygrad() -> None:
    folder = checkout("TINYGRAD_CUPY_MYGRAD") / "tests"
    files = [folder / name for name in MYGRAD]
    report = run("peers.mygrad_shim", files, "--noconftest", f"--rootdir={folder.parent}")
    print(f"MyGrad: {report}")
    assert len(report.passed) >= FLOORS["mygrad"]

"""cuBLASLt by nvmath-python's bindings, where there is one."""

from __future__ import annotations

import functools

import numpy as np


class Library:
    """cuBLASLt, and the enumerations that it is spoken to in."""

    def __init__(self) -> None:
        import nvmath
        from nvmath.bindings import cublas, cublasLt

        self.lt, self.cublas, self.data = cublasLt, cublas, nvmath.CudaDataType
        cublasLt.get_version()  # loads it
        self.attributes = {
            "matmul_desc": cublasLt.MatmulDescAttribute,
            "matrix_layout": cublasLt.MatrixLayoutAttribute,
            "matmul_preference": cublasLt.MatmulPreferenceAttribute,
        }
        # alpha = 1 and beta = 0 are read from host memory, in the type that products are scaled in.
        names = ("float32", "float64", "complex64", "complex128")
        self.scales = {name: np.array([1, 0], name) for name in names}
        self.handles: dict[int, int] = {}

    def handle(self, device: int) -> int:
        """The handle of a device, which must be the current one."""
        if device not in self.handles:
            self.handles[device] = self.lt.create()
        return self.handles[device]

    def set(self, kind: str, target: int, name: str, value: int) -> None:
        """Set an attribute of a descriptor of that kind, in the type that the attribute has."""
        attribute = self.attributes[kind][name]
        dtype = getattr(self.lt, f"get_{kind}_attribute_dtype")(attribute)
        buffer = np.array([value], dtype)
        setter = getattr(self.lt, f"{kind}_set_attribute")
        setter(target, int(attribute), buffer.ctypes.data, buffer.nbytes)


def library() -> Library | None:
    """cuBLASLt; None where there is none, and `why_missing` says why."""
    return _loaded()[0]


def why_missing() -> str:
    """What went wrong when cuBLASLt was loaded; nothing where it is there."""
    return _loaded()[1]


@functools.cache
def _loaded() -> tuple[Library | None, str]:
    try:
        return Library(), ""
    except Exception as error:  # not installed, or none for this CUDA, which has errors of its own
        return None, f"{type(error).__name__}: {error}"

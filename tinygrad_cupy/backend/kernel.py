"""One callable for both kinds of arrays, and kernels that CuPy generates."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar

from .arrays import import_cupy, is_cuda

P = ParamSpec("P")
R = TypeVar("R")


class Kernel(Generic[P, R]):
    """One callable with a NumPy body and a CUDA body; the kind of the first array chooses.

    The bodies take the same arguments and give the same result. ``cuda`` is a Python function that
    launches a kernel, or an `Elementwise`.
    """

    def __init__(self, cpu: Callable[P, R], cuda: Callable[P, R]) -> None:
        self.cpu, self.cuda = cpu, cuda

    def __call__(self, *arguments: P.args, **named: P.kwargs) -> R:
        return (self.cuda if is_cuda(arguments[0]) else self.cpu)(*arguments, **named)


def kernel(cpu: Any, cuda: Any) -> Callable[[Callable[P, R]], Kernel[P, R]]:
    """Declare a `Kernel`: what the decorated function says of arguments and result, it keeps.

    Raises ``TypeError`` where the parameters of a body are called otherwise.
    """

    def declare(declaration: Callable[P, R]) -> Kernel[P, R]:
        expected = _parameters(declaration)
        for body in (cpu, cuda):
            if (found := _parameters(body)) not in (expected, None):
                raise TypeError(f"[{declaration.__name__}] declared with {expected}, got {found}")
        declared: Kernel[P, R] = Kernel(cpu, cuda)
        functools.update_wrapper(declared, declaration)
        return declared

    return declare


def _parameters(body: Any) -> tuple[str, ...] | None:
    """The names of a function's parameters; None for what is no Python function."""
    code = getattr(inspect.unwrap(body), "__code__", None)
    return None if code is None else code.co_varnames[: code.co_argcount]


class Elementwise:
    """A CUDA kernel applied element by element, compiled on first use (by CuPy, and cached).

    ``functions`` is C++ that the body calls.
    """

    def __init__(
        self, inputs: str, outputs: str, body: str, name: str, functions: str = ""
    ) -> None:
        self.source = (inputs, outputs, body, name)
        self.functions = functions

    @functools.cached_property
    def compiled(self) -> Any:
        return import_cupy().ElementwiseKernel(*self.source, preamble=self.functions)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self.compiled(*arguments, **options)


class Reduction:
    """A CUDA kernel that reduces over axes, compiled on first use (by CuPy, and cached).

    Nothing at all gives 0; ``inside`` is the C type that is computed in.
    """

    def __init__(
        self, given: str, made: str, each: str, pair: str, end: str, name: str, inside: str
    ) -> None:
        self.source = (given, made, each, pair, end, "0", name, inside)

    @functools.cached_property
    def compiled(self) -> Any:
        return import_cupy().ReductionKernel(*self.source)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self.compiled(*arguments, **options)

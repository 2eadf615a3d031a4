"""Kernels that are generated from a `Program`: each element's steps, loaded and stored in vectors.

    Compiled(program).launch([a, b], shape, order, [y])

A kernel is made for expressions, dtypes and the way the arrays lie: all alike (one index counts
through everything), or along axes that were joined where no array tells them apart. Sizes,
strides and constants are arguments. ``--fmad=false``: the compiler joins no step with the next, so
a chain has the bits of its steps launched one by one.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, ParamSpec

import numpy as np

from .arrays import Array, import_cupy, strides_of
from .cuda_source import int64s, number, uint32s
from .symbols import Program, Step, Symbol, trace

THREADS = 256
_BLOCK = (THREADS,)
MANY = 256  # launches that a program remembers
VECTOR = 16  # bytes that a thread loads at once


# --- how results lie ------------------------------------------------------------------------------


def layout_of(shape: tuple[int, ...], arrays: Sequence[Array]) -> tuple[int, ...] | None:
    """The axes in the order in which a result lies, outermost first; None where that is C order.

    It lies as the first of the arrays that has its shape and fills its memory without gaps: what
    is channels-last stays so through any number of elementwise operations.
    """
    for x in arrays:
        if x.shape != shape:
            continue
        if x._c_contiguous:
            return None
        strides = strides_of(x)
        order = sorted(range(len(shape)), key=[-step for step in strides].__getitem__)
        expected = x.dtype.itemsize
        for axis in reversed(order):
            if shape[axis] != 1:
                if strides[axis] != expected:
                    break
                expected *= shape[axis]
        else:
            return tuple(order)
    return None


def empty(shape: tuple[int, ...], dtype: Any, order: tuple[int, ...] | None) -> Array:
    """An array on the current device whose axes lie in this order."""
    cupy = import_cupy()
    if order is None:
        return cupy.ndarray(shape, dtype)
    strides, step = [0] * len(shape), np.dtype(dtype).itemsize
    for axis in reversed(order):
        strides[axis] = step
        step *= shape[axis]
    return cupy.ndarray(shape, dtype, cupy.cuda.alloc(step), strides)


# --- where elements lie ---------------------------------------------------------------------------


class Places(NamedTuple):
    """Where the elements of arrays lie, along axes that were joined as far as possible.

    ``strides`` in elements, a tuple for each array; the last axis is the innermost of the result.
    """

    sizes: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]


def places(
    shape: tuple[int, ...], order: tuple[int, ...] | None, arrays: Sequence[Array]
) -> Places:
    """Of arrays that broadcast to ``shape``, whose elements are counted in ``order``."""
    axes = range(len(shape)) if order is None else order
    kept = [axis for axis in axes if shape[axis] != 1]
    rows = []
    for x in arrays:
        ahead = len(shape) - len(x.shape)
        item, lying = x.dtype.itemsize, strides_of(x)
        rows.append(
            [
                0 if axis < ahead or x.shape[axis - ahead] == 1 else lying[axis - ahead] // item
                for axis in kept
            ]
        )
    sizes: list[int] = []
    joined: list[list[int]] = []  # by axis, the strides of each array
    for position, axis in enumerate(kept):
        size, steps = shape[axis], [row[position] for row in rows]
        if sizes and joined[-1] == [step * size for step in steps]:
            sizes[-1] *= size
            joined[-1] = steps
        else:
            sizes.append(size)
            joined.append(steps)
    if not sizes:
        sizes, joined = [1], [[1] * len(arrays)]
    return Places(tuple(sizes), tuple(zip(*joined, strict=True)))


# --- source ---------------------------------------------------------------------------------------


class Form(NamedTuple):
    """What a kernel is compiled for, beside its steps.

    ``modes``: for each load how its innermost axis is read: "v" as a vector, "s" by its stride,
    "0" where one element serves all of it. ``axes`` of index arithmetic: 1 where one index counts
    through everything.
    """

    width: int  # elements of a thread
    axes: int
    modes: str
    wide: bool  # indices of 64 bits


def source(program: Program, form: Form) -> str:
    """CUDA source of the kernel ``chain``."""
    cupy = import_cupy()
    typename = cupy._core._scalar.get_typename
    headers: set[Any] = set()

    def name_of(dtype: Any) -> str:
        return str(typename(np.dtype(dtype), headers))

    preambles = dict.fromkeys(s.preamble for s in program.steps if s.preamble.strip())
    spaces = {text: f"helpers{i}" for i, text in enumerate(preambles)}
    loads = [name_of(dtype) for dtype in program.inputs]
    stores = [name_of(program.dtype_of(n)) for n in program.results]
    constants = [name_of(_passed(dtype)) for dtype in program.constant_types]
    body = "".join(
        _step(program, len(program.inputs) + i, step, spaces, name_of)
        for i, step in enumerate(program.steps)
    )
    index = "long long" if form.wide else "unsigned int"
    parameters = [f"const {t}* __restrict__ source{i}" for i, t in enumerate(loads)]
    parameters += [f"{t}* __restrict__ target{i}" for i, t in enumerate(stores)]
    parameters += [f"const {t} constant{i + 1}" for i, t in enumerate(constants)]
    parameters.append(f"const {index} count")
    for axis in range(1, form.axes):
        parameters.append(f"const {index} size{axis}")
    for i in range(len(loads)):
        if form.axes > 1 or form.modes[i] == "s":
            parameters += [f"const long long stride{i}_{axis}" for axis in range(form.axes)]
    before = "".join(f"namespace {name} {{\n{text}\n}}\n" for text, name in spaces.items())
    storing = "".join(
        f"  *reinterpret_cast<Vector<{t}>*>(target{i} + first) = stored{i};\n"
        for i, t in enumerate(stores)
    )
    decls = cupy._core._scalar.format_type_decls(headers)
    includes = "".join(f"#include <{name}>\n" for name in cupy._core.core._cupy_header_list)
    return f"""{includes}{decls}{before}
template <typename T> struct alignas(sizeof(T) * {form.width}) Vector {{ T at[{form.width}]; }};

extern "C" __global__ void __launch_bounds__({THREADS}) chain({", ".join(parameters)}) {{
  const {index} first = (static_cast<{index}>(blockIdx.x) * {THREADS} + threadIdx.x) * {form.width};
  if (first >= count) return;
{_loads(form, loads, index)}{_stores(stores)}
#pragma unroll
  for (int k = 0; k < {form.width}; ++k) {{
{"".join(f"    const {t} value{i} = loaded{i}.at[k];{chr(10)}" for i, t in enumerate(loads))}{body}\
{"".join(f"    stored{i}.at[k] = value{n};{chr(10)}" for i, n in enumerate(program.results))}  }}
{storing}}}
"""


def _loads(form: Form, types: Sequence[str], index: str) -> str:
    """Declarations of loaded0, …: a thread's elements, which are neighbours on one axis."""
    lines = []
    if form.axes > 1:
        lines.append(f"  {index} rest = first;")
        for axis in range(form.axes - 1, 0, -1):
            lines.append(f"  const {index} index{axis} = rest % size{axis};")
            lines.append(f"  rest /= size{axis};")
        lines.append(f"  const {index} index0 = rest;")
    for i, (mode, kind) in enumerate(zip(form.modes, types, strict=True)):
        if form.axes > 1:
            place = " + ".join(f"index{axis} * stride{i}_{axis}" for axis in range(form.axes))
            step = f"stride{i}_{form.axes - 1}"
        else:
            place = {"v": "first", "0": "0", "s": f"first * stride{i}_0"}[mode]
            step = f"stride{i}_0"
        lines.append(f"  const {kind}* const place{i} = source{i} + ({place});")
        lines.append(f"  Vector<{kind}> loaded{i};")
        if mode == "v":
            lines.append(f"  loaded{i} = *reinterpret_cast<const Vector<{kind}>*>(place{i});")
        else:
            at = "0" if mode == "0" else f"k * {step}"
            lines.append(f"#pragma unroll\n  for (int k = 0; k < {form.width}; ++k)")
            lines.append(f"    loaded{i}.at[k] = place{i}[{at}];")
    return "\n".join(lines) + "\n"


def _stores(types: Sequence[str]) -> str:
    return "".join(f"  Vector<{kind}> stored{i};\n" for i, kind in enumerate(types))


def _step(program: Program, number: int, step: Step, spaces: Any, name_of: Any) -> str:
    """One step: value<number> of its arguments, in a block that has CuPy's names for them."""
    lines = [f"    {name_of(step.out_type)} value{number}; {{"]
    if step.preamble in spaces:
        lines.append(f"using namespace {spaces[step.preamble]};")
    lines += [f"using {alias} = {name_of(dtype)};" for alias, dtype in step.aliases]
    for name, dtype, argument in zip(step.names, step.types, step.arguments, strict=True):
        if argument < 0:
            value = f"constant{-argument}"
        else:
            value = _converted(program.dtype_of(argument), dtype, f"value{argument}", name_of)
        lines.append(f"const {name_of(dtype)} {name}({value});")
    lines.append(f"{name_of(step.out_type)} {step.out}; {step.code};")
    lines.append(f"value{number} = {step.out}; }}\n")
    return " ".join(lines)


def _converted(given: Any, wanted: Any, value: str, name_of: Any) -> str:
    """As CuPy converts what it loads."""
    if np.dtype(wanted).kind == "b" and np.dtype(given).kind != "b":
        return f"{value} != static_cast<{name_of(given)}>(0)"
    return value


def _passed(dtype: Any) -> Any:
    """What a constant of a dtype is handed to a kernel as: those of 16 bits as float, exactly."""
    dtype = np.dtype(dtype)
    return np.dtype(np.float32) if dtype.itemsize == 2 and dtype.kind in "fV" else dtype


@functools.lru_cache(4096)
def _kernel(key: Any, form: Form, device: int) -> Any:
    code = source(Program(*key), form)
    module = import_cupy().RawModule(code=code, options=("-std=c++17", "--fmad=false"))
    return module.get_function("chain")


# --- launching ------------------------------------------------------------------------------------


class Ready(NamedTuple):
    """A launch on arrays of some shapes, strides and alignments, but for the arrays themselves."""

    shape: tuple[int, ...]
    order: tuple[int, ...] | None  # of the results' axes, see `layout_of`
    kernel: Any
    grid: tuple[int]
    numbers: tuple[Any, ...]


class Compiled:
    """A program with what was found out about its launches."""

    __slots__ = ("constants", "dtypes", "key", "program", "ready")

    def __init__(self, program: Program) -> None:
        self.program = program
        self.key = _key_of(program.inputs, program.steps, program.constant_types, program.results)
        pairs = zip(program.constants, program.constant_types, strict=True)
        self.constants = tuple([number(value, _passed(dtype)) for value, dtype in pairs])
        self.dtypes = [program.dtype_of(n) for n in program.results]
        self.ready: dict[Any, Ready] = {}

    def made(self, arrays: Sequence[Array]) -> list[Array]:
        """The results of arrays that broadcast, new arrays on the current device."""
        key = tuple(
            [(x.shape, strides_of(x), x.data.ptr % VECTOR, x.data.device_id) for x in arrays]
        )
        ready = self.ready.get(key)
        if ready is None:
            ready = self._prepared(key, arrays)
        shape, order, kernel, grid, numbers = ready
        outs = [empty(shape, dtype, order) for dtype in self.dtypes]
        if grid[0]:
            kernel(grid, _BLOCK, (*arrays, *outs, *numbers))
        return outs

    def launch(
        self,
        arrays: Sequence[Array],
        shape: tuple[int, ...],
        order: tuple[int, ...] | None,
        outs: Sequence[Array],
    ) -> None:
        """Put the results into ``outs``, of this shape, which lie in ``order`` without gaps."""
        ready = self._launch_of(arrays, shape, order, outs)
        if ready.grid[0]:
            ready.kernel(ready.grid, _BLOCK, (*arrays, *outs, *ready.numbers))

    def _prepared(self, key: Any, arrays: Sequence[Array]) -> Ready:
        shape = np.broadcast_shapes(*[x.shape for x in arrays])
        order = layout_of(shape, arrays)
        outs = [empty(shape, dtype, order) for dtype in self.dtypes]
        if len(self.ready) >= MANY:
            self.ready.clear()
        found = self.ready[key] = self._launch_of(arrays, shape, order, outs)
        return found

    def _launch_of(
        self,
        arrays: Sequence[Array],
        shape: tuple[int, ...],
        order: tuple[int, ...] | None,
        outs: Sequence[Array],
    ) -> Ready:
        count = math.prod(shape)
        if count == 0:
            return Ready(shape, order, None, (0,), ())
        form, sizes, strides = form_of(arrays, outs, shape, order)
        kernel = _kernel(self.key, form, outs[0].data.device_id)
        numbers = (count, *sizes[1:])
        counts = int64s(*numbers) if form.wide else uint32s(*numbers)
        moving: list[int] = []
        for steps, mode in zip(strides, form.modes, strict=True):
            if form.axes > 1 or mode == "s":
                moving += steps
        grid = (-(-count // (THREADS * form.width)),)
        return Ready(shape, order, kernel, grid, (*self.constants, *counts, *int64s(*moving)))


P = ParamSpec("P")


def elementwise(body: Callable[P, Array]) -> Callable[P, Array]:
    """A function of arrays on a GPU, element by element, as one kernel.

    The body is written for CuPy's arrays; it is called on symbols, once for some dtypes.
    """
    programs: dict[tuple[Any, ...], Compiled] = {}

    @functools.wraps(body)
    def launched(*arrays: Any) -> Array:
        if any(type(x) is Symbol for x in arrays):
            return body(*arrays)  # type: ignore[call-arg]
        dtypes = tuple([x.dtype for x in arrays])
        compiled = programs.get(dtypes)
        if compiled is None:
            compiled = programs[dtypes] = Compiled(trace(body, dtypes))
        return compiled.made(arrays)[0]

    return launched  # type: ignore[return-value]


def form_of(
    arrays: Sequence[Array],
    outs: Sequence[Array],
    shape: tuple[int, ...],
    order: tuple[int, ...] | None,
) -> tuple[Form, tuple[int, ...], tuple[tuple[int, ...], ...]]:
    """The form of a launch, the sizes of its axes, and the strides of each array along them."""
    if order is None and all(x._c_contiguous and x.shape == shape for x in arrays):
        found = Places((math.prod(shape),), ((1,),) * len(arrays))
    else:
        found = places(shape, order, [*arrays, *outs])
    sizes, strides = found
    strides = strides[: len(arrays)]
    items = [x.dtype.itemsize for x in (*arrays, *outs)]
    width = max(1, VECTOR // max(items))
    while width > 1 and not _fits(width, sizes, strides, arrays, outs):
        width //= 2
    modes = "".join(
        "v" if steps[-1] == 1 and (width == 1 or _aligned(x, steps, width)) else
        "0" if steps[-1] == 0 else "s"
        for x, steps in zip(arrays, strides, strict=True)
    )  # fmt: skip
    wide = math.prod(shape) + THREADS * width >= 1 << 31
    return Form(width, len(sizes), modes, wide), sizes, strides


def _fits(
    width: int,
    sizes: tuple[int, ...],
    strides: Sequence[tuple[int, ...]],
    arrays: Sequence[Array],
    outs: Sequence[Array],
) -> bool:
    """Whether threads may take ``width`` elements, and some array is read faster so."""
    if sizes[-1] % width or any(x.data.ptr % (width * x.dtype.itemsize) for x in outs):
        return False
    pairs = zip(arrays, strides, strict=True)
    return not arrays or any(steps[-1] == 0 or _aligned(x, steps, width) for x, steps in pairs)


def _aligned(x: Array, steps: tuple[int, ...], width: int) -> bool:
    """Whether all vectors of an array lie at multiples of their size."""
    return (
        steps[-1] == 1
        and x.data.ptr % (width * x.dtype.itemsize) == 0
        and all(step % width == 0 for step in steps[:-1])
    )


@functools.lru_cache(4096)
def _key_of(inputs: Any, steps: Any, constant_types: Any, results: Any) -> Any:
    """A program without the values of its constants, which are arguments of its kernel."""
    return Key((inputs, steps, (), constant_types, results))


class Key(tuple[Any, ...]):
    """A tuple that is hashed once; equal ones are one object, of `_key_of`."""

    __slots__ = ()
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other

"""Kernels of a CUDA graph that are set up before those in front of them have ended.

As a rule a GPU begins to set up a kernel when the one in front has ended: between two short ones
that is a good part of the time. With programmatic dependent launch (CUDA C++ Programming Guide;
compute capability 9.0) the second's blocks are set up meanwhile, and wait in their first line
(`follow` in ``launch.cu``).
"""

from __future__ import annotations

from typing import Any

from .backend import CudaFile, import_cupy

LEAST_CAPABILITY, LEAST_DRIVER = 90, 12030

allowed = True  # switched off to see what each kernel takes by itself


def overlap(graph: int) -> int:
    """Let this package's kernels in ``graph`` (a ``cudaGraph_t``) start early; says how many do.

    Only a dependency on one other kernel is changed, and none of kernels that others wrote: those
    do not wait by themselves. Nothing is changed where GPU or driver do not know of it, or refuse.
    """
    cuda = import_cupy().cuda
    if not allowed or int(cuda.Device().compute_capability) < LEAST_CAPABILITY:
        return 0
    if cuda.runtime.driverGetVersion() < LEAST_DRIVER:
        return 0
    try:
        edges = _Edges(graph)
    except ImportError:
        return 0
    ours = CudaFile.handles()
    return edges.make_early([pair for pair in edges.plain() if edges.function(pair[1]) in ours])


class _Edges:
    """The dependencies of a graph, as the driver's interface has them."""

    def __init__(self, graph: int) -> None:
        from cuda.bindings import driver

        self.driver, self.graph = driver, driver.CUgraph(graph)

    def call(self, name: str, *arguments: Any) -> list[Any]:
        """A function's results. The one that knows of data on edges is "_v2" in CUDA 12."""
        function = getattr(self.driver, f"{name}_v2", None) or getattr(self.driver, name)
        results: list[Any]
        status, *results = function(*arguments)
        if status != self.driver.CUresult.CUDA_SUCCESS:
            raise _Refused(f"{name}: {status.name}")
        return results

    def function(self, node: Any) -> int:
        """The handle of a kernel node's function; 0 of another node."""
        kinds = self.driver.CUgraphNodeType
        if self.call("cuGraphNodeGetType", node)[0] != kinds.CU_GRAPH_NODE_TYPE_KERNEL:
            return 0
        return int(self.call("cuGraphKernelNodeGetParams", node)[0].func)

    def plain(self) -> list[tuple[Any, Any]]:
        """(from, to) of every ordinary dependency on a kernel."""
        *_, count = self.call("cuGraphGetEdges", self.graph)
        starts, ends, data, _ = self.call("cuGraphGetEdges", self.graph, count)
        return [
            (start, end)
            for start, end, how in zip(starts, ends, data, strict=True)
            if (how.from_port, how.to_port, how.type) == (0, 0, 0) and self.function(start)
        ]

    def make_early(self, pairs: list[tuple[Any, Any]]) -> int:
        """Have the second of each pair start once all of the first has; says how many do."""
        if not pairs:
            return 0
        driver, kinds = self.driver, self.driver.CUgraphDependencyType
        plain, early = driver.CUgraphEdgeData(), driver.CUgraphEdgeData()
        early.from_port = int(driver.CU_GRAPH_KERNEL_NODE_PORT_PROGRAMMATIC)
        early.type = int(kinds.CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC)
        ends: list[Any] = [list(nodes) for nodes in zip(*pairs, strict=True)]
        try:
            self.call(
                "cuGraphRemoveDependencies", self.graph, *ends, [plain] * len(pairs), len(pairs)
            )
        except _Refused:  # memory is allocated in the graph, say
            return 0
        try:
            self.call("cuGraphAddDependencies", self.graph, *ends, [early] * len(pairs), len(pairs))
        except _Refused:
            self.call("cuGraphAddDependencies", self.graph, *ends, [plain] * len(pairs), len(pairs))
            return 0
        return len(pairs)


class _Refused(RuntimeError):
    """The driver did not do it."""

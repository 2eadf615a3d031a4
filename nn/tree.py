"""The tree of modules, and how one finds one's way in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from tinygrad_cupy.tensor import Tensor

from .state import STATE, Buffer, Parameter, Path, dotted, flat, once, written

if TYPE_CHECKING:
    from .module import Module


class Tree:
    """What is below a Module, found by walking attributes: its children, its state, their names."""

    def _attributes(self) -> Iterable[tuple[object, object]]:
        """What is searched for parameters, buffers and children, under the names it gets."""
        return vars(self).items()

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The Modules directly below this one."""
        for keys, value in flat(self._attributes()):
            if isinstance(value, Tree):
                yield dotted([keys]), value  # type: ignore[misc]

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This Module (named "") and every Module below it, each once."""
        seen: set[int] = set()
        for path, module in self._tree(((prefix,),) if prefix else ()):
            if id(module) not in seen:
                seen.add(id(module))
                yield dotted(path), module

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Every Parameter with its dotted name; one that is shared comes once, first name first.

        ValueError when two different tensors have the same name.
        """
        for name, tensor in once(self._named_state()):
            if isinstance(tensor, Parameter):
                yield name, tensor

    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        """Every Buffer (running statistics), each once, also those with `persistent=False`."""
        for name, tensor in once(self._named_state()):
            if isinstance(tensor, Buffer):
                yield name, tensor

    def parameters(self) -> Iterator[Parameter]:
        """Every Parameter once, this Module's own first."""
        return (parameter for _, parameter in self.named_parameters())

    def buffers(self) -> Iterator[Buffer]:
        """Every Buffer once."""
        return (buffer for _, buffer in self.named_buffers())

    def _tree(self, path: Path, above: tuple[Tree, ...] = ()) -> Iterator[tuple[Path, Module]]:
        """All paths to all Modules; a child that points back at a Module above it is no child."""
        yield path, self  # type: ignore[misc]
        above = (*above, self)
        for keys, child in flat(self._attributes()):
            if isinstance(child, Tree) and not any(child is module for module in above):
                yield from child._tree((*path, keys), above)

    def _tensors(self) -> Iterator[tuple[Path, Tensor]]:
        """All paths to all tensors, also those that are no state."""
        for path, module in self._tree(()):
            for keys, value in flat(module._attributes()):
                if isinstance(value, Tensor):
                    yield (*path, keys), value

    def _named_state(self) -> Iterator[tuple[str, Parameter | Buffer]]:
        """All names of all parameters and buffers, also the second name of a shared one."""
        known: dict[str, tuple[Tensor, Path]] = {}
        for path, tensor in self._tensors():
            if isinstance(tensor, STATE):
                name = dotted(path)
                namesake, other = known.setdefault(name, (tensor, path))
                if namesake is not tensor:
                    raise ValueError(
                        f"[{type(self).__name__}] two tensors would be {name!r} in a state_dict: "
                        f"{written(other)} and {written(path)}; name one of them otherwise"
                    )
                yield name, tensor

    # By name -------------------------------------------------------------------------------------

    def children(self) -> Iterator[Module]:
        """The Modules directly below this one."""
        return (child for _, child in self.named_children())

    def modules(self) -> Iterator[Module]:
        """This Module and every Module below it, each once."""
        return (module for _, module in self.named_modules())

    def get_submodule(self, target: str) -> Any:
        """The Module of that dotted name, as in `named_modules`: "blocks.0.conv"; "" is this one.

        AttributeError where there is none.
        """
        return self._found(target, Tree, "Module")

    def get_parameter(self, target: str) -> Parameter:
        """The Parameter of that dotted name, as in a state_dict.

        AttributeError where there is none.
        """
        return self._found(target, Parameter, "Parameter")  # type: ignore[no-any-return]

    def get_buffer(self, target: str) -> Buffer:
        """The Buffer of that dotted name, persistent or not. AttributeError where there is none."""
        return self._found(target, Buffer, "Buffer")  # type: ignore[no-any-return]

    def _found(self, target: str, kind: type, what: str) -> Any:
        paths: Iterable[tuple[Path, Any]] = self._tree(()) if kind is Tree else self._tensors()
        for path, value in paths:
            if isinstance(value, kind) and dotted(path) == target:
                return value
        raise AttributeError(f"[{type(self).__name__}] there is no {what} named {target!r}")

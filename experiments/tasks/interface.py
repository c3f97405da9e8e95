"""What goes into a file and comes out of it, and whether a data set's samples go in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from experiments.data.base import Dataset
from spa.errors import InputError
from spa.graph.nodes import real_inputs

if TYPE_CHECKING:
    import onnx

# Of one sample, behind the batch axis; None: any size.
Sizes = tuple[int | None, ...]


@dataclass(frozen=True)
class Interface:
    """The inputs and outputs of a network's file.

    Attributes:
        name: of the network, for messages.
        inputs: sizes by name.
        outputs: sizes by name, in order.
    """

    name: str
    inputs: dict[str, Sizes]
    outputs: dict[str, Sizes]

    @staticmethod
    def of(name: str, model: onnx.ModelProto) -> Interface:
        """Read them off a file."""

        def sizes(values: list[onnx.ValueInfoProto]) -> dict[str, Sizes]:
            return {
                value.name: tuple(d.dim_value or None for d in value.type.tensor_type.shape.dim[1:])
                for value in values
            }

        graph = model.graph
        return Interface(name, sizes(real_inputs(graph)), sizes(list(graph.output)))

    def takes(self, data: Dataset) -> None:
        """Check that a data set's samples go in.

        Raises:
            InputError: an input is missing, or of other sizes.
        """
        alone = len(data.shapes) == len(self.inputs) == 1  # it goes by any name
        shapes = dict(zip(self.inputs, data.shapes.values(), strict=True)) if alone else data.shapes
        for name, sizes in self.inputs.items():
            if name not in shapes:
                raise InputError(
                    f"{self.name} takes the inputs {', '.join(self.inputs)}, but the data set "
                    f"{data.name} has {', '.join(data.shapes)}"
                )
            check(f"{self.name}: its input", name, sizes, shapes[name], data.name)

    def gives(self, sizes: Sizes, data: Dataset) -> None:
        """Check the first output.

        Args:
            sizes: what the task needs.
            data: for whose sake.

        Raises:
            InputError: it has other sizes.
        """
        name, have = next(iter(self.outputs.items()))
        check(f"{self.name}: its output", name, have, sizes, data.name)


def check(what: str, name: str, have: Sizes, want: Sizes, data: str) -> None:
    """Refuse sizes that cannot be those that are wanted.

    Raises:
        InputError: with both.
    """
    if len(have) != len(want) or any(
        None not in (a, b) and a != b for a, b in zip(have, want, strict=True)
    ):
        raise InputError(
            f"{what} {name!r} is {list(have)} after the batch axis, "
            f"but the data set {data} needs {list(want)}"
        )

"""Gradients of a loss by weights, through the PyTorch bridge, batch after batch.

What is kept is one array per weight, summed in float64, however many samples there are. Batches
are as large as `BUDGET` allows. Batch norms take each batch's own statistics, as in training, so
that a fresh network's signals stay in range, or the stored ones; the model itself is not changed.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx

from spa.errors import MissingExtra, SettingError
from spa.graph.model import Model
from spa.graph.nodes import name_of_read
from spa.graph.read import first_line
from spa.observe.data import SEEDS, Batch, Data
from spa.observe.losses import Loss, drawn_labels

if TYPE_CHECKING:
    import torch

    from spa.bridge import OnnxModule

# By name, one array of the weight's shape, in the ONNX layout.
Gradients: TypeAlias = "dict[str, npt.NDArray[np.float64]]"
Statistics: TypeAlias = Literal["batch", "stored"]

# Bytes that the activations of one batch may take, and samples in a batch at most.
BUDGET = 2**31
MOST = 256
# A second derivative holds the first one's graph too.
TWICE = 3


class Differentiated:
    """A model whose loss is differentiated.

    Args:
        model: the model.
        data: its samples.
        loss: summed over samples.
        statistics: what batch norms normalise by: each ``batch``'s statistics, or ``stored`` ones.
        temperature: what the outputs are divided by before the loss takes them.
        double: compute in double precision.
        absolute: parameters that are taken without their signs, and with them the stored
            statistics of batch norms (SynFlow).

    Raises:
        BridgeError: the graph has an operator that the bridge lacks.
        MissingExtra: PyTorch is not installed.
    """

    def __init__(
        self,
        model: Model,
        data: Data,
        loss: Loss,
        *,
        statistics: Statistics = "batch",
        temperature: float = 1.0,
        double: bool = False,
        absolute: Collection[str] = (),
    ) -> None:
        self._model, self._data, self._loss = model, data, loss
        self._temperature = temperature
        self._net = _open(model, statistics)
        self._double = double
        if double:
            self._net.double()
        if absolute:
            self._drop_signs(frozenset(absolute))
        self._weights = {
            name: weight for name, weight in self._net.weights.items() if weight.requires_grad
        }
        #: How many samples went into a result.
        self.samples = data.samples

    def mean(self) -> Gradients:
        """dL/dw of every weight, L the mean over samples."""
        return self._named({name: value / self.samples for name, value in self._sum().items()})

    def each(self, most: int | None = None) -> Iterator[tuple[Gradients, int]]:
        """The same of every batch, of so many samples at most, with the number of its samples."""
        for batch in self._batches(1, most):
            found = self._of(self._loss_of(batch) / batch.samples)
            yield self._named(_arrays(found, self._weights)), batch.samples

    def each_sample(self, *, seed: int | None = None) -> Iterator[Gradients]:
        """The same of every single sample; only one sample's gradients are held.

        Samples run one by one, or in batches of what the file fixes, where each is differentiated
        by itself.

        Args:
            seed: targets are drawn from the model's own class scores with it; None takes the
                data's.
        """
        import torch

        random = None if seed is None else torch.Generator().manual_seed(seed % SEEDS)
        for batch in self._data.batches(1):
            outputs = self._outputs_of(batch)
            for i in range(batch.samples):
                own = tuple(
                    y[i : i + 1] if y.ndim and len(y) == batch.samples else y for y in outputs
                )
                targets = batch.target(i) if random is None else drawn_labels(own[0], random)
                found = self._of(self._loss_at(own, targets), again=i + 1 < batch.samples)
                yield self._named(_arrays(found, self._weights))

    def flow(self) -> Gradients:
        """Gives w * (H g) + g * g: what gates on the weights change of g . g / 2.

        See `spa.importance.gates`; signed.
        """
        gradients, products = self.products()
        return {n: p + gradients[n] ** 2 for n, p in self.weighted(products).items()}

    def products(self) -> tuple[Gradients, Gradients]:
        """Gives g = dL/dw, and H g: the gradient of g's product with itself held still.

        Two passes: the first finds g over all samples, the second sums what each batch's own
        gradient gives with it.
        """
        import torch

        held = {name: value / self.samples for name, value in self._sum().items()}
        still = {
            name: torch.from_numpy(held[name]).to(weight) for name, weight in self._weights.items()
        }
        total = self._nothing()
        for batch in self._batches(TWICE):
            loss = self._loss_of(batch)
            names, weights = list(self._weights), list(self._weights.values())
            found = torch.autograd.grad(loss, weights, create_graph=True, allow_unused=True)
            parts = [
                (still[name] * value).sum()
                for name, value in zip(names, found, strict=True)
                if value is not None and value.requires_grad
            ]
            if parts:  # a loss that is linear in every weight has no curvature
                _add(total, self._of(torch.stack(parts).sum()))
        second = {name: value / self.samples for name, value in total.items()}
        return self._named(held), self._named(second)

    def weighted(self, gradients: Gradients) -> Gradients:
        """Every weight times its gradient."""
        result = {}
        for name, gradient in gradients.items():
            held = self._weights.get(name)
            weight = self._model.array(name) if held is None else held.detach().cpu().numpy()
            result[name] = weight.astype(np.float64) * gradient
        return result

    def _sum(self) -> Gradients:
        total = self._nothing()
        for batch in self._batches(1):
            _add(total, self._of(self._loss_of(batch)))
        return total

    def _nothing(self) -> Gradients:
        return {name: np.zeros(tuple(weight.shape)) for name, weight in self._weights.items()}

    def _of(self, value: torch.Tensor, *, again: bool = False) -> dict[str, torch.Tensor | None]:
        import torch

        if not value.requires_grad:
            return dict.fromkeys(self._weights)
        found = torch.autograd.grad(
            value, list(self._weights.values()), allow_unused=True, retain_graph=again
        )
        return dict(zip(self._weights, found, strict=True))

    def _batches(self, times: int, most: int | None = None) -> Iterator[Batch]:
        model = self._model
        made = [n for n, node in model.graph.producers.items() if node.op != "Constant"]
        each = sum(4 * math.prod(model.shapes.get(name, ())) for name in made)
        each //= max(1, model.batch_size)
        return self._data.batches(max(1, min(most or MOST, BUDGET // max(1, times * each))))

    def _drop_signs(self, names: frozenset[str]) -> None:
        import torch

        reads = self._model.private_reads
        own = {name_of_read(name, use) for name in names for use in reads.get(name, ())}
        with torch.no_grad():
            for name, weight in self._net.weights.items():
                if name in own or self._model.root(name) in names:
                    weight.abs_()
            for statistic in self._net.statistics.values():
                statistic.abs_()

    def _loss_of(self, batch: Batch) -> torch.Tensor:
        return self._loss_at(self._outputs_of(batch), batch.targets)

    def _outputs_of(self, batch: Batch) -> tuple[torch.Tensor, ...]:
        import torch

        inputs = [torch.from_numpy(np.array(batch.inputs[n])) for n in self._net.input_names]
        if self._double:
            inputs = [x.double() if x.is_floating_point() else x for x in inputs]
        try:
            found = self._net(*inputs)
        except RuntimeError as error:
            shapes = ", ".join(f"{n} {x.shape}" for n, x in batch.inputs.items())
            raise SettingError(
                f"The model does not run on data of these shapes: {shapes} ({first_line(error)})."
            ) from error
        outputs = found if isinstance(found, tuple) else (found,)
        return tuple(
            y / self._temperature if self._temperature != 1 and y.is_floating_point() else y
            for y in outputs
        )

    def _loss_at(self, outputs: tuple[torch.Tensor, ...], targets: Any) -> torch.Tensor:
        try:
            return self._loss(outputs, targets)
        except (RuntimeError, ValueError, IndexError) as error:
            shapes = ", ".join(str(tuple(y.shape)) for y in outputs)
            raise SettingError(
                f"The loss does not take outputs of shape {shapes} with these targets: "
                f"{first_line(error)}"
            ) from error

    def _named(self, values: Gradients) -> Gradients:
        """By name; what the bridge read through Identity nodes gets its readers' sum too."""
        result = dict(values)
        for name, value in values.items():
            root = self._model.root(name)
            if root != name and root not in self._weights:
                result[root] = result[root] + value if root in result else value
        return result


def _open(model: Model, statistics: Statistics) -> OnnxModule:
    if importlib.util.find_spec("torch") is None:
        raise MissingExtra("PyTorch", "torch", "A criterion with gradients")
    from spa.bridge import to_torch

    net = to_torch(_untied(model))
    net.eval()
    for step in net.steps if statistics == "batch" else ():
        if step.op == "BatchNormalization":
            step.run.train()
    return net


def _add(total: Gradients, found: dict[str, torch.Tensor | None]) -> None:
    for name, value in found.items():
        if value is not None:
            total[name] += value.detach().double().cpu().numpy()


def _arrays(
    found: dict[str, torch.Tensor | None], weights: dict[str, torch.nn.Parameter]
) -> Gradients:
    total: Gradients = {name: np.zeros(tuple(weight.shape)) for name, weight in weights.items()}
    _add(total, found)
    return total


def _untied(model: Model) -> onnx.ModelProto:
    """The file with a tensor of its own for every such read: gradients of one are not the other's.

    Exporters share equal tensors by coincidence; what is one parameter to the user stays one.
    """
    if not model.private_reads:
        return model.proto
    copy = onnx.ModelProto()
    copy.CopyFrom(model.proto)
    for name, uses in model.private_reads.items():
        for use in uses:
            own = name_of_read(name, use)
            copy.graph.initializer.append(onnx.numpy_helper.from_array(model.array(name), own))
            copy.graph.node[use.node].input[use.position] = own
    return copy

"""Whether what a criterion gives is scores of this model at all; users write criteria, too."""

from __future__ import annotations

from collections.abc import Iterator

from spa.coupling.groups import Groups
from spa.errors import SettingError
from spa.graph.model import Model
from spa.importance.values import Axes, Channels, EachTime, Elements, Scored, Tensors


def checked(model: Model, groups: Groups, scored: object, who: str) -> Scored:
    """The scores.

    Raises:
        SettingError: they are of no kind that is known, or of other shapes than what they score.
    """
    if not isinstance(scored, (Elements, Axes, Tensors, Channels)):
        raise SettingError(
            f"{who} must give Elements, Axes, Tensors or Channels (spa.importance.values); it gave "
            f"{type(scored).__name__}."
        )
    for what, has, wants in _shapes(model, groups, scored):
        if has != wants:
            raise SettingError(f"{who} gives scores of shape {has} for {what}; {wants} is needed.")
    return scored


def _shapes(
    model: Model, groups: Groups, scored: Scored
) -> Iterator[tuple[str, tuple[int, ...], tuple[int, ...]]]:
    """What is scored, the shape of its scores, and its own."""
    if isinstance(scored, Channels):
        yield "all components", scored.of.shape, groups.coupling.components.kept.shape
    elif isinstance(scored, Elements):
        if not isinstance(scored.of, EachTime):  # computed when asked for, from the parameter
            for name, values in scored.of.items():
                if name in model.shapes:
                    yield f'"{name}"', values.shape, tuple(model.shapes[name])
    else:
        for (name, axis), values in scored.of.items():
            shape = model.shapes.get(name)
            if shape is not None:
                wants = shape[axis : axis + 1] if axis >= 0 else ()
                yield f'axis {axis} of "{name}"', values.shape, tuple(wants)

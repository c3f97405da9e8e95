"""What operators do to sizes, by family; importing this fills the registries."""

from spa.graph.sizes.families import (
    elementwise as elementwise,
    making as making,
    movement as movement,
    numbers as numbers,
    products as products,
    reductions as reductions,
    selection as selection,
    sequences as sequences,
    windows as windows,
)

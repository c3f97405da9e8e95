"""What operators do to sizes, by family; importing this fills the registries."""

from spa.graph.sizes.families import (
    elementwise as elementwise,
)
from spa.graph.sizes.families import (
    making as making,
)
from spa.graph.sizes.families import (
    movement as movement,
)
from spa.graph.sizes.families import (
    numbers as numbers,
)
from spa.graph.sizes.families import (
    products as products,
)
from spa.graph.sizes.families import (
    reductions as reductions,
)
from spa.graph.sizes.families import (
    selection as selection,
)
from spa.graph.sizes.families import (
    sequences as sequences,
)
from spa.graph.sizes.families import (
    windows as windows,
)

"""One file per criterion; importing this package fills the registry."""

from spa.importance.criteria import bn_scale, grasp, l1, l2, random, snip

ALL = (bn_scale, grasp, l1, l2, random, snip)

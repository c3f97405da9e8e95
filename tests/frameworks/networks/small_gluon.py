"""A residual net with a depthwise convolution, and a norm whose scale is fixed."""

from mxnet.gluon import nn


class Small(nn.HybridBlock):
    def __init__(self, classes):
        super().__init__()
        with self.name_scope():
            self.stem = nn.Conv2D(16, 3, padding=1, use_bias=False)
            self.norm = nn.BatchNorm(scale=False)
            self.conv = nn.Conv2D(16, 3, strides=2, padding=1)
            self.depthwise = nn.Conv2D(16, 3, padding=1, groups=16)
            self.shortcut = nn.Conv2D(16, 1, strides=2)
            self.last = nn.BatchNorm()
            self.head = nn.Dense(classes)

    def hybrid_forward(self, F, x):
        x = F.relu(self.norm(self.stem(x)))
        y = self.depthwise(F.relu(self.conv(x)))
        x = F.relu(self.last(F.concat(y + self.shortcut(x), y, dim=1)))
        return self.head(F.Pooling(x, global_pool=True, pool_type="avg", kernel=(1, 1)))


def small(classes):
    return Small(classes)

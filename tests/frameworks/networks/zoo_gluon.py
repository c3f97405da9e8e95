"""The networks that Gluon itself has, with random weights."""

from mxnet.gluon.model_zoo import vision


def vision_model(name, classes):
    return vision.get_model(name, classes=classes)

"""The networks that Keras itself has, with random weights."""

import keras


def application(input_shape, name, classes):
    """Logits: a softmax of a fresh network is the same for all pictures."""
    return getattr(keras.applications, name)(
        weights=None, input_shape=input_shape, classes=classes, classifier_activation=None
    )

"""ImageNet classifiers by name: each owns its input size, its normalisation and its frozen network.

Not for training, not for choosing a target (`shared.targets`) and not for objectives (`compute_server.objectives`).
"""

from compute_server.classifiers.classifier import Classifier
from compute_server.classifiers.registry import available, find, load, loaded
from compute_server.classifiers.spec import ClassifierSpec
from compute_server.classifiers.torchvision_models import labels

__all__ = ["Classifier", "ClassifierSpec", "available", "find", "labels", "load", "loaded"]

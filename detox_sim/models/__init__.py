"""Real models; with `problem` the only place that knows the autodiff library.

A catalogue entry is a factory, ``factory(shape, classes, **options) -> torch.nn.Module``;
`Model` makes pure functions of one flat float32 vector out of the module.
"""

from detox_sim.models.dense import cnn, lenet5, mlp, softmax
from detox_sim.models.flat import (
    PRECISIONS,
    Evaluation,
    Gradients,
    Model,
    check,
    device_of,
    one_thread,
    sample_flops,
)
from detox_sim.models.residual import resnet8, resnet18, resnet20, vgg13_bn

__all__ = ["softmax", "mlp", "cnn", "lenet5", "resnet8", "resnet20", "resnet18", "vgg13_bn"]

# What others use besides the catalogue.
TOOLS = (PRECISIONS, Evaluation, Gradients, Model, check, device_of, one_thread, sample_flops)

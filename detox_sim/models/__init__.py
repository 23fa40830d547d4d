"""Real models; with `problem` the only place that knows the autodiff library.

A catalogue entry is a factory, ``factory(shape, classes, **options) -> torch.nn.Module``;
`Model` makes pure functions of one flat float32 vector out of the module. A factory of one's own
draws initial parameters with torch, which is seeded; with anything else runs do not repeat.
"""

from detox_sim.models.dense import cnn, lenet5, mlp, softmax
from detox_sim.models.facts import check as check
from detox_sim.models.facts import sample_flops as sample_flops
from detox_sim.models.flat import PRECISIONS as PRECISIONS
from detox_sim.models.flat import Evaluation as Evaluation
from detox_sim.models.flat import Gradients as Gradients
from detox_sim.models.flat import Model as Model
from detox_sim.models.flat import device_of as device_of
from detox_sim.models.flat import is_dense as is_dense
from detox_sim.models.flat import one_thread as one_thread
from detox_sim.models.residual import resnet8, resnet18, resnet20, vgg13_bn

__all__ = ["softmax", "mlp", "cnn", "lenet5", "resnet8", "resnet20", "resnet18", "vgg13_bn"]

"""Real models, and their gradients as pure functions of one flat vector of parameters.

A catalogue entry is a factory, ``factory(shape, classes, **options) -> torch.nn.Module``;
`Model` makes pure functions of one flat float32 vector out of the module. A factory from outside
must draw its initial parameters with torch, which is seeded; otherwise runs do not repeat.
"""

from detox_sim.models.facts import check as check
from detox_sim.models.facts import is_dense as is_dense
from detox_sim.models.facts import sample_flops as sample_flops
from detox_sim.models.flat import Evaluation as Evaluation
from detox_sim.models.flat import Gradients as Gradients
from detox_sim.models.flat import Model as Model
from detox_sim.models.residual import resnet8, resnet18, resnet20, vgg13_bn
from detox_sim.models.small import cnn, lenet5, mlp, softmax
from detox_sim.models.torch_settings import PRECISIONS as PRECISIONS
from detox_sim.models.torch_settings import device_of as device_of
from detox_sim.models.torch_settings import keep_freed_memory as keep_freed_memory
from detox_sim.models.torch_settings import one_thread as one_thread

__all__ = ["softmax", "mlp", "cnn", "lenet5", "resnet8", "resnet20", "resnet18", "vgg13_bn"]

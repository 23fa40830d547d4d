"""Linear codes over gradients: workers send combinations, and the sum of all files comes back.

==================  ==============================  =====================================
code                files a worker computes         what the sum withstands
==================  ==============================  =====================================
`cyclic_code`       2 s + 1 of n                    s workers that send anything (DRACO)
`gradient_code`     s + 1 of n                      s workers that send nothing
`coded_reduce`      1 / sum_l (n / (s + 1))^l       s children of every parent in a tree
                                                    that send nothing (CodedReduce)
==================  ==============================  =====================================

Sums are over files, not means. Only the first withstands Byzantine workers: the decoders of the
other two do not look at the messages, so one Byzantine worker can move their sum anywhere.
"""

from detox_sim.coding.cyclic import CyclicDecode, cyclic_code, cyclic_decode, cyclic_encode
from detox_sim.coding.faults import draw
from detox_sim.coding.gradient import decode_weights, gradient_code
from detox_sim.coding.tree import Tree, coded_reduce, reduce

__all__ = [
    "CyclicDecode",
    "Tree",
    "coded_reduce",
    "cyclic_code",
    "cyclic_decode",
    "cyclic_encode",
    "decode_weights",
    "draw",
    "gradient_code",
    "reduce",
]

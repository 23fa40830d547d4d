"""What Byzantine workers send: ``attack(rows, forged, *, rng, **options) -> Messages``.

`rows` (files, d) are the honest gradients and `forged` (files, copies) marks the copies that
Byzantine workers compute. An unforged copy is never changed, and randomness comes only from `rng`.
Colluding workers send the same bits, which is the strongest choice against a vote. Corrupt
copies (`bit_flip`, `stuck`) are no attack: they differ, and are often almost right.

=============  ===================================================================
none           the honest gradients
reverse        minus a multiple of the gradient that the worker should send
constant       one value in every coordinate
gaussian       noise
not_finite     NaN, Inf or both
label_flip     the gradient of the worker's own file with its labels flipped
alie           mean + z deviations: a little is enough
sign_flip      minus the mean
inner_product  minus a multiple of the mean
mimic          the gradient of one honest file
min_max        as far from the mean as the farthest pair of honest rows allows
min_sum        the same, for sums of distances
searched       what does the most damage, found by trials on the server's own code
bit_flip       silent data corruption: flipped bits of some values, drawn anew
stuck          silent data corruption: a bit of some values that is always 0 or 1
=============  ===================================================================

An attack asks for what Byzantine workers know by a keyword parameter of that name, and the caller
supplies it; none of these is an option:

* ``known``, bool (files,): the files whose honest gradients they know; None for all;
* ``server``, ``server(messages) -> aggregate (d,)``: all that the server will do in this round;
* ``relabelled``, array (files, d): the gradients of the files with their labels flipped;
* ``holders``, int (files, copies): the worker of each copy;
* ``sizes``, sequence of int: the parameters of each tensor of the model, which sum to d.

A new attack touches two places: the function, with its name in `__all__` below, and its entry in
the lists of ``tests/attack_cases.py``. An attack outside the package needs neither: a trial names
it ``"module:function"``.
"""

from detox_sim.attacks.corruption import bit_flip, stuck
from detox_sim.attacks.hiding import mimic, min_max, min_sum
from detox_sim.attacks.searching import searched
from detox_sim.attacks.simple import constant, gaussian, label_flip, none, not_finite, reverse
from detox_sim.attacks.statistical import alie, inner_product, sign_flip
from detox_sim.attacks.statistical import alie_z as alie_z

__all__ = [
    "none",
    "alie",
    "reverse",
    "constant",
    "gaussian",
    "sign_flip",
    "inner_product",
    "mimic",
    "label_flip",
    "min_max",
    "min_sum",
    "not_finite",
    "searched",
    "bit_flip",
    "stuck",
]

"""What a model sees of images, in one pass over bytes or by torch."""

import numpy as np
import torch

from detox_sim.data.scaling import scaled


def test_bytes_have_bits_of_torchs_operations():
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 256, (9, 3, 5, 7), dtype=np.uint8))
    mean, deviation = torch.tensor([0.1, 0.485, 0.9]), torch.tensor([0.2, 1.0, 0.229])
    chosen = np.array([4, 0, 8, 4])
    wanted = images.to(torch.float32) / 255
    wanted = (wanted - mean[:, None, None]) / deviation[:, None, None]
    for some, found in ((chosen, wanted[chosen]), (None, wanted)):
        got = scaled(images, mean, deviation, some)
        assert got.shape == found.shape
        assert got.numpy().tobytes() == found.numpy().tobytes()


def test_floats_are_not_divided_by_255():
    images = torch.full((3, 1, 2, 2), 0.5)
    got = scaled(images, torch.tensor([0.25]), torch.tensor([2.0]), np.array([2, 2]))
    assert got.tolist() == [[[[0.125, 0.125]] * 2]] * 2
    assert (images == 0.5).all(), "input is not changed"

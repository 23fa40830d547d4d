"""Settings of torch: device, precision, threads, and what makes bits repeat."""

import contextlib
from collections.abc import Iterator

from threadpoolctl import threadpool_limits

PRECISIONS = ("float32", "tf32", "bfloat16")


def device_of(backend: str) -> str:
    """Return where torch computes for a backend: "cpu", or "cuda" for "cupy".

    Raises
    ------
    ValueError
        When torch has no GPU.

    Examples
    --------
    >>> device_of("numpy")
    'cpu'
    """
    import torch

    if backend == "numpy":
        return "cpu"
    if not torch.cuda.is_available():
        raise ValueError(
            f"backend {backend!r} trains on the GPU, and torch {torch.__version__} finds none; "
            "install its CUDA build, or use backend 'numpy'"
        )
    return "cuda"


@contextlib.contextmanager
def repeatable(device: str, *, tf32: bool) -> Iterator[None]:
    """Compute with algorithms that repeat their bits, and with TF32 only if asked for.

    The caller's random state and settings are restored at the end.
    """
    import torch

    matmul = torch.backends.cuda.matmul
    before, matmul.allow_tf32 = matmul.allow_tf32, tf32
    gpus = [torch.cuda.current_device()] if device != "cpu" else []
    try:
        with (
            torch.random.fork_rng(devices=gpus),
            torch.backends.cudnn.flags(
                enabled=True, benchmark=False, deterministic=True, allow_tf32=tf32
            ),
        ):
            yield
    finally:
        matmul.allow_tf32 = before


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Run torch and BLAS on one thread, so that bits repeat and processes share the cores."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)

"""Settings of torch: device, precision, threads, and what makes bits repeat."""

import contextlib
import ctypes
import functools
from collections.abc import Iterator

from threadpoolctl import threadpool_limits

PRECISIONS = ("float32", "tf32", "bfloat16")
KEPT = 1 << 30  # bytes of freed memory that a process keeps for its next arrays
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt


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


@functools.cache
def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next arrays of this process; do nothing elsewhere.

    By default it gives large arrays back to the system, which clears each of their pages anew when
    the next step uses them: measured, a quarter of a step with 45 gradients of 80,000 values.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        set_option = ctypes.CDLL(None).mallopt
        for parameter in (_TRIM_THRESHOLD, _MMAP_THRESHOLD):
            set_option(parameter, KEPT)

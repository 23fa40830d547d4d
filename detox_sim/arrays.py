"""The only module that names an array library."""

import array_api_compat.numpy
import numpy as np
from array_api_compat import (
    array_namespace,
    is_array_api_obj,
    is_cupy_array,
    is_dask_array,
    is_numpy_array,
)

BACKENDS = ("numpy", "cupy")


def namespace(*arrays):
    """Return the array-API namespace that the arrays belong to."""
    if all(type(array) is np.ndarray for array in arrays):  # the usual case, in a tenth of the time
        return array_api_compat.numpy
    return array_namespace(*arrays)


def is_array(value: object) -> bool:
    """Say whether a value is an array of some array library."""
    return type(value) is np.ndarray or is_array_api_obj(value)


def is_matrix(array) -> bool:
    """Say whether a NumPy array is (n >= 1, d >= 1) real floating-point numbers.

    What checks ask first: the array API takes ten times as long.

    Examples
    --------
    >>> is_matrix(np.ones((2, 3))), is_matrix(np.ones(3)), is_matrix(np.ones((2, 3), int))
    (True, False, False)
    """
    plain = type(array) is np.ndarray and array.ndim == 2
    return plain and array.size > 0 and array.dtype.kind == "f"


def kind(array) -> str:
    """Return the backend of an array: "numpy" or "cupy" (float32 and float64), "dask", or "other".

    Examples
    --------
    >>> kind(np.zeros(3)), kind(np.zeros(3, np.float16))
    ('numpy', 'other')
    """
    if type(array) is np.ndarray:
        return "numpy" if array.dtype in (np.float32, np.float64) else "other"
    if is_dask_array(array):
        return "dask"
    served = is_numpy_array(array) or is_cupy_array(array)
    if not served or array.dtype not in (np.float32, np.float64):
        return "other"
    return "numpy" if is_numpy_array(array) else "cupy"


def to_host(array) -> np.ndarray:
    """Return the array as NumPy, without a copy if it is in CPU memory."""
    if is_cupy_array(array):
        return array.get()
    return np.asarray(array)  # a Dask array is computed


def to_backend(array: np.ndarray, backend: str):
    """Return a NumPy array as an array of `backend`, without a copy if that is NumPy."""
    return array if backend == "numpy" else require(backend).asarray(array)


def to_torch(array):
    """Return an array as a torch tensor on the same memory, by DLPack; a tensor as it is.

    The tensor of a read-only array must not be written to.

    Examples
    --------
    >>> to_torch(np.ones(2, np.float32))
    tensor([1., 1.])
    """
    import torch

    return array if isinstance(array, torch.Tensor) else torch.from_dlpack(array)


def from_torch(tensor, backend: str):
    """Return a torch tensor as an array of `backend` on the same memory, by DLPack.

    Examples
    --------
    >>> from_torch(to_torch(np.ones(2, np.float32)), "numpy")
    array([1., 1.], dtype=float32)
    """
    return tensor.numpy() if backend == "numpy" else require(backend).from_dlpack(tensor)


def synchronize(backend: str) -> None:
    """Wait until the GPU has finished its work, so that a clock measures all of it."""
    if backend == "cupy":
        require(backend).cuda.get_current_stream().synchronize()


def require(backend: str):
    """Import an array library by the name a Trial gives it.

    Raises
    ------
    ValueError
        When the name is unknown, or CuPy or its GPU is missing; says what to install.
    """
    if backend not in BACKENDS:
        raise ValueError(f"unknown backend {backend!r}; known: {', '.join(BACKENDS)}")
    if backend == "numpy":
        return np
    try:
        import cupy  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise ValueError(
            "backend 'cupy' needs CuPy: pip install cupy-cuda12x or cupy-cuda13x, as the driver of "
            "the GPU wants; or use backend 'numpy'"
        ) from error
    try:
        cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise ValueError(f"backend 'cupy' finds no usable GPU ({error}); use 'numpy'") from error
    return cupy


def bits(array):
    """Return the bit patterns of a floating-point array as unsigned integers, without a copy.

    Two values are the same bits if and only if the integers are equal: NaN equals the same
    NaN, and 0.0 differs from -0.0.
    """
    if not (is_numpy_array(array) or is_cupy_array(array)):
        array = to_host(array)
    return array.view(f"u{array.dtype.itemsize}")

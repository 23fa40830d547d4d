"""The CUDA source without a GPU: compiled for one, and run on the CPU thread by thread.

On a machine with a GPU the tests marked `gpu` run the kernels themselves.
"""

import ctypes
import functools
import hashlib
import shutil
import subprocess

import numpy as np
import pytest

from detox_sim.primitives import cpu, cuda, network

TYPES = ["float32", "float64"]
SOURCES = {
    "order_mean": [
        ("float32", 1, 0, 0, 0), ("float32", 45, 22, 22, 0), ("float64", 15, 2, 12, 0),
        ("float32", 45, 22, 22, 40), ("float64", 8, 3, 4, 1), ("float32", 96, 47, 48, 0),
    ],
    "combine": [
        ("float32", "float32", 1), ("float32", "float64", 16), ("float64", "float64", 16),
    ],
    "distances": [("float32", "float32"), ("float32", "float64"), ("float64", "float64")],
    "differ": [("float32",), ("float64",)],
    "sign_sum": [("float32",), ("float64",)],
}  # fmt: skip
CASES = [(name, arguments) for name, many in SOURCES.items() for arguments in many]

# A thread of the host for each of the device's, blocks one after the other.
HOST = """
#include <barrier>
#include <cmath>
#include <thread>
#include <vector>
struct Place { unsigned x, y, z; };
static Place gridDim, blockDim;
static thread_local Place blockIdx, threadIdx;
static std::barrier<>* gate;
#define __global__
#define __restrict__
#define __shared__ static
#define __syncthreads() gate->arrive_and_wait()
template <class Call>
static void launch(unsigned x, unsigned y, unsigned z, unsigned t, Call call) {
    gridDim = {x, y, z};
    blockDim = {t, 1, 1};
    for (unsigned block = 0; block < x * y * z; ++block) {
        const Place at = {block % x, block / x % y, block / x / y};
        std::barrier<> here(t);
        gate = &here;
        std::vector<std::thread> threads;
        for (unsigned n = 0; n < t; ++n) threads.emplace_back([=] {
            blockIdx = at;
            threadIdx = {n, 0, 0};
            call();
            gate->arrive_and_drop();
        });
        for (auto& thread : threads) thread.join();
    }
}
"""


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_a_cuda_compiler_accepts_the_source(name, arguments, tmp_path):
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("no nvcc on this machine")
    path = tmp_path / f"{name}.cu"
    path.write_text(getattr(cuda, name)(*arguments))
    options = [option.lstrip("-") for option in cuda.OPTIONS]
    command = [nvcc, "-ptx", "-Werror", "all-warnings", *(f"--{option}" for option in options)]
    done = subprocess.run(
        [*command, path, "-o", tmp_path / "out.ptx"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert f".entry {name}" in (tmp_path / "out.ptx").read_text()


@functools.cache
def on_the_host(folder, name, arguments):
    """Compile a kernel for the host; return ``call(grid, *values)``."""
    signature = {
        "order_mean": "const real* a, const integer* b, integer d, real* e",
        "combine": "const real* a, const double* b, integer n, integer m, integer d, {1}* e",
        "distances": "const real* a, const {1}* b, integer n, integer m, integer d, integer w, "
        "int l, double* e",
        "differ": "const bits* a, const integer* b, int r, integer d, integer w, int* e",
        "sign_sum": "const real* a, integer n, integer d, real* e",
    }[name]
    named = [{"float32": "float", "float64": "double"}.get(a, a) for a in arguments]
    signature = signature.format(*named)
    values = ", ".join(part.split()[-1] for part in signature.split(","))
    caller = (
        f'extern "C" void run(unsigned x, unsigned y, unsigned z, unsigned t, {signature}) '
        f"{{ launch(x, y, z, t, [=] {{ {name}({values}); }}); }}\n"
    )
    stem = folder / hashlib.sha256(repr((name, arguments)).encode()).hexdigest()[:12]
    stem.with_suffix(".cpp").write_text(HOST + getattr(cuda, name)(*arguments) + caller)
    command = ["g++", "-std=c++20", "-O1", "-ffp-contract=off", "-shared", "-fPIC", "-pthread"]
    command += [stem.with_suffix(".cpp"), "-o", stem.with_suffix(".so")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    run = ctypes.CDLL(str(stem.with_suffix(".so"))).run

    def call(grid, threads, *values):
        converted = [
            value.ctypes.data_as(ctypes.c_void_p) if isinstance(value, np.ndarray) else value
            for value in values
        ]
        run(*map(ctypes.c_uint, (*grid, threads)), *converted)

    return call


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    if shutil.which("g++") is None:
        pytest.skip("no g++ on this machine")
    return functools.partial(on_the_host, tmp_path_factory.mktemp("host"))


def long(value):
    return ctypes.c_longlong(value)


def normal(shape, dtype, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


@pytest.mark.parametrize("arguments", SOURCES["order_mean"])
def test_order_mean_has_the_bits_of_the_cpu(host, arguments):
    dtype, n, lo, hi, nearest = arguments
    rows = normal((n + 2, 77), dtype)
    if lo > 0:
        rows[2, ::5], rows[3, ::7] = np.nan, -np.inf
    chosen = np.random.default_rng(1).permutation(n + 2)[:n]
    out = np.full(77, 7.0, dtype)
    host("order_mean", arguments)((2, 1, 1), 16, rows, chosen, long(77), out)
    wanted = cpu.order_mean(rows, lo, hi, nearest or None, chosen)
    assert out.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("arguments", SOURCES["combine"])
@pytest.mark.parametrize("m", [1, 5, 16, 18])
def test_combine_has_the_bits_of_the_cpu(host, arguments, m):
    dtype, result, outputs = arguments
    if outputs == 1 and m > 1:
        pytest.skip("one result at a time is for one")
    rows, weights = normal((9, 50), dtype), normal((m, 9), "float64", seed=1)
    weights[:, 4] = 0.0
    weights[0, ::2] = 0.0
    rows[4] = np.nan
    out = np.full((m, 50), 7.0, result)
    grid = (2, -(-m // outputs), 1)
    host("combine", arguments)(grid, 16, rows, weights, long(9), long(m), long(50), out)
    assert out.tobytes() == cpu.combine(weights, rows, result).tobytes()


@pytest.mark.parametrize("arguments", SOURCES["distances"])
@pytest.mark.parametrize(("n", "m", "lower"), [(5, 5, 1), (40, 40, 1), (33, 2, 0), (3, 35, 0)])
def test_distances_are_those_of_the_cpu(host, arguments, n, m, lower):
    dtype, other = arguments
    if lower and dtype != other:
        pytest.skip("rows are measured against themselves in their own type")
    rows = normal((n, 100), dtype)
    points = rows if lower else normal((m, 100), other, seed=1)
    rows[1, 3] = np.nan
    partial = np.zeros((3, n, m))
    grid = (3, -(-n // cuda.SIDE), -(-m // cuda.SIDE))
    sizes = (long(n), long(m), long(100), long(35), ctypes.c_int(lower))
    host("distances", arguments)(grid, cuda.BLOCK, rows, points, *sizes, partial)
    got = partial.sum(axis=0)
    if lower:
        got, wanted = np.tril(got), np.tril(cpu.distances(rows))
    else:
        wanted = cpu.cross_distances(rows, points)
    np.testing.assert_allclose(got, wanted, rtol=1e-13)


@pytest.mark.parametrize("dtype", TYPES)
def test_differ_and_sign_sum_are_those_of_the_cpu(host, dtype):
    rows = np.repeat(normal((3, 100), dtype), 3, axis=0)
    rows[1, 99], rows[5, 0], rows[8, 50] = np.nan, 0.0, -0.0
    rows[6, 50] = rows[7, 50] = 0.0
    groups = np.arange(9).reshape(3, 3)[:, [1, 0, 2, 1]].copy()
    different = np.zeros(groups.shape, np.int32)
    sizes = (ctypes.c_int(4), long(100), long(30))
    host("differ", (dtype,))((4, 3, 1), 8, rows, groups, *sizes, different)
    assert different.tolist() == cpu.differ(rows, groups).astype(int).tolist()
    out = np.full(100, 7.0, dtype)
    host("sign_sum", (dtype,))((3, 1, 1), 16, rows, long(9), long(100), out)
    assert out.tobytes() == cpu.sign_sum(rows).tobytes()


@pytest.mark.parametrize("n", [1, 2, 15, 45, 64, 96])
def test_the_comparators_in_the_source_order_values(n):
    """Executed one by one as they stand in the text."""
    source = cuda.order_mean("float64", n, 0, n - 1, 0)
    found = [
        (int(line.split("a = v")[1].split(",")[0]), int(line.split("b = v")[1].split(";")[0]))
        for line in source.splitlines()
        if "fmin" in line
    ]
    assert found == list(network.sorting_network(n))
    values = normal(n, "float64", seed=n)
    wanted = np.sort(values)
    for low, high in found:
        values[low], values[high] = min(values[low], values[high]), max(values[low], values[high])
    assert values.tolist() == wanted.tolist()

"""The CUDA source without a GPU: compiled for one, and run on the CPU thread by thread.

On a machine with a GPU the tests marked `gpu` run the kernels themselves.
"""

import ctypes
import itertools
import re
import shutil
import subprocess

import numpy as np
import pytest

from detox_sim.primitives import cpu, cuda, network, reference

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

# A thread of the CPU for each of the device's, blocks one after the other.
LAUNCHER = """
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


def test_cuda_compiler_accepts_the_source(tmp_path):
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("no nvcc on this machine")
    options = [option.lstrip("-") for option in cuda.OPTIONS]
    command = [nvcc, "-ptx", "-Werror", "all-warnings", *(f"--{option}" for option in options)]
    path, result = tmp_path / "kernels.cu", tmp_path / "out.ptx"
    path.write_text("".join(map(in_a_namespace, range(len(CASES)), *zip(*CASES, strict=True))))
    done = subprocess.run([*command, path, "-o", result], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for place, (name, _) in enumerate(CASES):
        entry = rf"\.entry \w*kernel{place}\d+{name}\w*"
        assert re.search(entry, result.read_text()), (place, name)


def in_a_namespace(place, name, arguments):
    """Return the source of a kernel without C linkage, so that kernels of one name can coexist."""
    source = getattr(cuda, name)(*arguments).replace('extern "C" ', "")
    return f"namespace kernel{place} {{\n{source}\n}}\n"


def caller(place, name, arguments):
    """Return C++ source of a kernel in a namespace of its own, and of a function that runs it."""
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
    return in_a_namespace(place, name, arguments) + (
        f"namespace kernel{place} {{\n"
        f'extern "C" void run{place}(unsigned x, unsigned y, unsigned z, unsigned t, {signature}) '
        f"{{ launch(x, y, z, t, [=] {{ {name}({values}); }}); }}\n}}\n"
    )


@pytest.fixture(scope="module")
def on_cpu(tmp_path_factory):
    """Compile all kernels for the CPU; return ``run(name, arguments)(grid, threads, *values)``."""
    if shutil.which("g++") is None:
        pytest.skip("no g++ on this machine")
    stem = tmp_path_factory.mktemp("kernels") / "kernels"
    source = "".join(caller(place, *case) for place, case in enumerate(CASES))
    stem.with_suffix(".cpp").write_text(LAUNCHER + source)
    command = ["g++", "-std=c++20", "-O0", "-ffp-contract=off", "-shared", "-fPIC", "-pthread"]
    command += [stem.with_suffix(".cpp"), "-o", stem.with_suffix(".so")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    library = ctypes.CDLL(str(stem.with_suffix(".so")))

    def run(name, arguments):
        def call(grid, threads, *values):
            converted = [
                value.ctypes.data_as(ctypes.c_void_p) if isinstance(value, np.ndarray) else value
                for value in values
            ]
            function = getattr(library, f"run{CASES.index((name, arguments))}")
            function(*map(ctypes.c_uint, (*grid, threads)), *converted)

        return call

    return run


def long(value):
    return ctypes.c_longlong(value)


def normal(shape, dtype, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def test_order_mean_source_has_bits_of_the_cpu(on_cpu):
    for arguments in SOURCES["order_mean"]:
        dtype, n, lo, hi, nearest = arguments
        rows = normal((n + 2, 77), dtype)
        if lo > 0:
            rows[2, ::5], rows[3, ::7] = np.nan, -np.inf
        chosen = np.random.default_rng(1).permutation(n + 2)[:n]
        out = np.full(77, 7.0, dtype)
        on_cpu("order_mean", arguments)((2, 1, 1), 16, rows, chosen, long(77), out)
        wanted = cpu.order_mean(rows, lo, hi, nearest or None, chosen)
        assert out.tobytes() == wanted.tobytes(), arguments


def test_combine_source_has_bits_of_the_cpu(on_cpu):
    for arguments in SOURCES["combine"]:
        dtype, result, outputs = arguments
        for m in (1, 5, 16, 18) if outputs > 1 else (1,):
            rows, weights = normal((9, 50), dtype), normal((m, 9), "float64", seed=1)
            weights[:, 4] = 0.0
            weights[0, ::2] = 0.0
            rows[4] = np.nan
            out = np.full((m, 50), 7.0, result)
            grid, sizes = (2, -(-m // outputs), 1), (long(9), long(m), long(50))
            on_cpu("combine", arguments)(grid, 16, rows, weights, *sizes, out)
            wanted = cpu.combine(weights, rows, result)
            assert out.tobytes() == wanted.tobytes(), (arguments, m)


def test_distances_source_gives_those_of_the_cpu(on_cpu):
    shapes = [(5, 5, 1), (40, 40, 1), (33, 2, 0), (3, 35, 0)]
    for arguments, (n, m, lower) in itertools.product(SOURCES["distances"], shapes):
        dtype, other = arguments
        if lower and dtype != other:
            continue  # rows are measured against themselves in their own type
        rows = normal((n, 100), dtype)
        points = rows if lower else normal((m, 100), other, seed=1)
        rows[1, 3] = np.nan
        partial = np.zeros((3, n, m))
        grid = (3, -(-n // cuda.SIDE), -(-m // cuda.SIDE))
        sizes = (long(n), long(m), long(100), long(35), ctypes.c_int(lower))
        on_cpu("distances", arguments)(grid, cuda.BLOCK, rows, points, *sizes, partial)
        got = partial.sum(axis=0)
        if lower:
            got, wanted = np.tril(got), np.tril(cpu.distances(rows))
        else:
            wanted = cpu.cross_distances(rows, points)
        np.testing.assert_allclose(got, wanted, rtol=1e-13, err_msg=f"{arguments}, {n}, {m}")


def test_differ_and_sign_sum_sources_give_those_of_the_cpu(on_cpu):
    for dtype in TYPES:
        rows = np.repeat(normal((3, 100), dtype), 3, axis=0)
        rows[1, 99], rows[5, 0], rows[8, 50] = np.nan, 0.0, -0.0
        rows[6, 50] = rows[7, 50] = 0.0
        groups = np.arange(9).reshape(3, 3)[:, [1, 0, 2, 1]].copy()
        different = np.zeros(groups.shape, np.int32)
        sizes = (ctypes.c_int(4), long(100), long(30))
        on_cpu("differ", (dtype,))((4, 3, 1), 8, rows, groups, *sizes, different)
        assert different.tolist() == reference.differ(rows, groups).astype(int).tolist(), dtype
        out = np.full(100, 7.0, dtype)
        on_cpu("sign_sum", (dtype,))((3, 1, 1), 16, rows, long(9), long(100), out)
        assert out.tobytes() == cpu.sign_sum(rows).tobytes(), dtype


def test_comparators_in_the_source_order_values():
    """Executed one by one as they stand in the text."""
    for n in (1, 2, 15, 45, 64, 96):
        source = cuda.order_mean("float64", n, 0, n - 1, 0)
        found = [
            (int(line.split("a = v")[1].split(",")[0]), int(line.split("b = v")[1].split(";")[0]))
            for line in source.splitlines()
            if "fmin" in line
        ]
        assert found == list(network.sorting_network(n)), n
        values = normal(n, "float64", seed=n)
        wanted = np.sort(values)
        for i, j in found:
            values[i], values[j] = min(values[i], values[j]), max(values[i], values[j])
        assert values.tolist() == wanted.tolist(), n

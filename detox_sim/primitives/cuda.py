"""The CUDA source of the primitives, as text: CuPy compiles it at run time, tests without CuPy.

A thread serves one column, so that reads of C-ordered rows coalesce. Products are not fused with
sums (``--fmad=false``), so that results have the bits of the CPU's.
"""

from detox_sim.primitives.network import order_network

REGISTER_ROWS = 96  # values of a column that stay in registers
OUTPUTS = 16  # results of `combine` that a thread adds up at a time
SIDE = 32  # rows by rows of a block's tile of distances
BLOCK = 256  # threads
OPTIONS = ("--std=c++17", "--fmad=false")

_PRELUDE = """
typedef {real} real;
typedef {bits} bits;
typedef long long integer;
#define COLUMNS(c) \\
    for (integer c = blockIdx.x * (integer)blockDim.x + threadIdx.x; c < d; \\
         c += gridDim.x * (integer)blockDim.x)
"""
_TYPES = {
    "float32": {"real": "float", "bits": "unsigned int"},
    "float64": {"real": "double", "bits": "unsigned long long"},
}


def _prelude(dtype: str) -> str:
    return _PRELUDE.format(**_TYPES[dtype])


def order_mean(dtype: str, n: int, lo: int, hi: int, nearest: int) -> str:
    """Return the source of ``order_mean(rows, chosen (n,), d, out)`` for these ranks, unrolled.

    The comparators are those of the CPU. `nearest` is 0, or the number of values averaged.

    Examples
    --------
    >>> order_mean("float32", 3, 1, 1, 0).count("fmin")
    3
    """
    low, high = ("fminf", "fmaxf") if dtype == "float32" else ("fmin", "fmax")
    network = order_network(n, *((0, n - 1) if nearest else (lo, hi)))
    lines = [
        f"real v{i} = rows[chosen[{i}] * d + c]; v{i} = v{i} == v{i} ? v{i} : infinity;"
        for i in range(n)
    ]
    lines += [
        f"{{ real a = v{i}, b = v{j}; v{i} = {low}(a, b); v{j} = {high}(a, b); }}"
        for i, j in network
    ]
    lines.append("double mean = 0.0;")
    lines += [f"mean += (double)v{i};" for i in range(lo, hi + 1)]
    lines.append(f"mean /= {hi - lo + 1}.0;")
    if nearest:
        lines += _nearest(n, nearest)
    body = "\n        ".join(lines)
    return f"""{_prelude(dtype)}
extern "C" __global__ void order_mean(
    const real* __restrict__ rows, const integer* __restrict__ chosen, integer d,
    real* __restrict__ out) {{
    const real infinity = (real)(1e300 * 1e300);
    COLUMNS(c) {{
        {body}
        out[c] = (real)mean;
    }}
}}
"""


def _nearest(n: int, count: int) -> list[str]:
    """Return lines that replace the mean by that of the `count` sorted values nearest to it."""
    lines = ["double centre = mean; mean = 0.0;"]
    for i in range(n):
        inside = []
        if i >= count:
            inside.append(f"centre - (double)v{i - count} > (double)v{i} - centre")
        if i + count < n:
            inside.append(f"!(centre - (double)v{i} > (double)v{i + count} - centre)")
        lines.append(f"if ({' && '.join(inside) or 'true'}) mean += (double)v{i};")
    return [*lines, f"mean /= {count}.0;"]


def combine(dtype: str, result: str, outputs: int) -> str:
    """Return the source of ``combine(rows, weights (m, n), n, m, d, out)``.

    Block y makes `outputs` results. A row whose weights are all zero is not read.
    """
    return f"""{_prelude(dtype)}
extern "C" __global__ void combine(
    const real* __restrict__ rows, const double* __restrict__ weights,
    integer n, integer m, integer d, {_TYPES[result]["real"]}* __restrict__ out) {{
    const integer first = blockIdx.y * {outputs};
    COLUMNS(c) {{
        double total[{outputs}];
        #pragma unroll
        for (int k = 0; k < {outputs}; ++k) total[k] = 0.0;
        for (integer i = 0; i < n; ++i) {{
            bool used = false;
            #pragma unroll
            for (int k = 0; k < {outputs}; ++k)
                used |= first + k < m && weights[(first + k) * n + i] != 0.0;
            if (!used) continue;
            const double value = (double)rows[i * d + c];
            #pragma unroll
            for (int k = 0; k < {outputs}; ++k) {{
                const double weight = first + k < m ? weights[(first + k) * n + i] : 0.0;
                if (weight != 0.0) total[k] += weight * value;
            }}
        }}
        #pragma unroll
        for (int k = 0; k < {outputs}; ++k)
            if (first + k < m) out[(first + k) * d + c] = total[k];
    }}
}}
"""


def distances(dtype: str, points: str) -> str:
    """Return the source of ``distances(rows, points, n, m, d, width, lower, partial)``.

    `partial` is (chunks, n, m). Block x sums over the columns of its chunk, for tile (y, z); with
    `lower` only tiles on and below the diagonal are computed.
    """
    return f"""{_prelude(dtype)}
extern "C" __global__ void distances(
    const real* __restrict__ rows, const {_TYPES[points]["real"]}* __restrict__ points,
    integer n, integer m, integer d, integer width, int lower, double* __restrict__ partial) {{
    __shared__ double left[{SIDE}][{SIDE + 1}];
    __shared__ double right[{SIDE}][{SIDE + 1}];
    const integer i = blockIdx.y * {SIDE}, j = blockIdx.z * {SIDE};
    if (lower && j > i) return;
    const integer start = blockIdx.x * width, stop = start + width < d ? start + width : d;
    const int across = threadIdx.x % 16, down = threadIdx.x / 16;
    double total[2][2] = {{{{0.0, 0.0}}, {{0.0, 0.0}}}};
    for (integer c = start; c < stop; c += {SIDE}) {{
        for (int k = threadIdx.x; k < {SIDE * SIDE}; k += blockDim.x) {{
            const int row = k / {SIDE}, column = k % {SIDE};
            const bool inside = c + column < stop;
            left[row][column] =
                inside && i + row < n ? (double)rows[(i + row) * d + c + column] : 0.0;
            right[row][column] =
                inside && j + row < m ? (double)points[(j + row) * d + c + column] : 0.0;
        }}
        __syncthreads();
        for (int k = 0; k < {SIDE}; ++k) {{
            #pragma unroll
            for (int a = 0; a < 2; ++a) {{
                #pragma unroll
                for (int b = 0; b < 2; ++b) {{
                    const double gap = left[down + 16 * a][k] - right[across + 16 * b][k];
                    total[a][b] += gap * gap;
                }}
            }}
        }}
        __syncthreads();
    }}
    for (int a = 0; a < 2; ++a) {{
        for (int b = 0; b < 2; ++b) {{
            const integer row = i + down + 16 * a, column = j + across + 16 * b;
            if (row < n && column < m)
                partial[(blockIdx.x * n + row) * m + column] = total[a][b];
        }}
    }}
}}
"""


def differ(dtype: str) -> str:
    """Return the source of ``differ(rows, groups (m, r), r, d, width, different (m, r))``."""
    return f"""{_prelude(dtype)}
extern "C" __global__ void differ(
    const bits* __restrict__ rows, const integer* __restrict__ groups,
    int r, integer d, integer width, int* different) {{
    const integer start = blockIdx.x * width, stop = start + width < d ? start + width : d;
    const integer* group = groups + (integer)blockIdx.y * r;
    const bits* leader = rows + group[0] * d;
    for (int j = 1; j < r; ++j) {{
        if (group[j] == group[0]) continue;
        const bits* member = rows + group[j] * d;
        bool found = false;
        for (integer c = start + threadIdx.x; c < stop; c += blockDim.x)
            found |= leader[c] != member[c];
        if (found) different[(integer)blockIdx.y * r + j] = 1;
    }}
}}
"""


def sign_sum(dtype: str) -> str:
    """Return the source of ``sign_sum(rows, n, d, out)``."""
    return f"""{_prelude(dtype)}
extern "C" __global__ void sign_sum(
    const real* __restrict__ rows, integer n, integer d, real* __restrict__ out) {{
    COLUMNS(c) {{
        int total = 0;
        for (integer i = 0; i < n; ++i) {{
            const real value = rows[i * d + c];
            total += (value > 0) - (value < 0);
        }}
        out[c] = (real)total;
    }}
}}
"""

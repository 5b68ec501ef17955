"""Kernels in CUDA C, computed on the CPU: the language, and that no text crashes or hangs its reader."""

import time

import numpy as np
import pytest

from vfi_kernels.compat._cuda_machine import launch
from vfi_kernels.compat._cuda_numbers import Pointer
from vfi_kernels.compat._cuda_text import program_of
from vfi_kernels.compat._cuda_tokens import NotUnderstood

LANES = 70  # a warp, another one, and a part


def computed(body, helpers="", grid=(2, 1, 1), block=(35, 1, 1), dtype=np.float32):
    """What a kernel writes into `out`, whose threads have their number as i and a number as x; `a` holds numbers."""
    number = {"float32": "float", "float64": "double", "int32": "int"}[np.dtype(dtype).name]
    text = f"""{helpers}
    extern "C" __global__ void kernel(const int n, const float* a, int* whole, {number}* out) {{
        const int i = blockIdx.x * blockDim.x + threadIdx.x; const float x = a[i]; {body} }}"""
    out, a = np.zeros(LANES, dtype), numbers()
    arguments = [np.int32(LANES), *(Pointer(t, np.int64(0)) for t in (a, np.zeros(LANES, np.int32), out))]
    launch(program_of(text), "kernel", grid, block, arguments, 4 * block[0])
    return out


def numbers():
    return np.linspace(-4.3, 4.7, LANES, dtype=np.float32)


X = numbers().tolist()
BODIES = {  # what a body computes, and what that is for a thread
    "integers divide towards 0": ("out[i] = (i - 35) / 4 + (i - 35) % 4 * 100;",
                                  lambda i, x: int((i - 35) / 4) + 100 * ((i - 35) - 4 * int((i - 35) / 4))),
    "numbers in bases": ("out[i] = 0x1F + 010 + 1e1f + .5 + 3u;", lambda i, x: 31 + 8 + 10 + 0.5 + 3),
    "precedence": ("out[i] = 1 + 2 * i - -i / 3 << 1;", lambda i, x: (1 + 2 * i + i // 3) << 1),
    "bits": ("out[i] = (i & 5) | (i ^ 3) << 2 | ~i & 1 | i >> 2;",
             lambda i, x: (i & 5) | ((i ^ 3) << 2) | (~i & 1) | (i >> 2)),
    "a cast": ("out[i] = (int) x + int(x * 2) + static_cast<float>(i) / 2;",
               lambda i, x: int(x) + int(x * 2) + i / 2),
    "choices": ("out[i] = x < 0 ? -1 : x > 2 ? 2 : 1;", lambda i, x: -1 if x < 0 else 2 if x > 2 else 1),
    "a branch": ("if (i % 3 == 0) { out[i] = 1; } else if (i % 3 == 1) out[i] = 2; else { out[i] = x; }",
                 lambda i, x: (1, 2, x)[i % 3]),
    "a loop": ("float s = 0; for (int k = 0; k < i; ++k) { if (k == 5) continue; if (k > 20) break; s += k; }"
               " out[i] = s;",
               lambda i, x: sum(k for k in range(min(i, 21)) if k != 5)),
    "while": ("int k = i, s = 0; while (k > 0) { s += k % 10; k /= 10; } out[i] = s;",
              lambda i, x: sum(map(int, str(i)))),
    "do": ("int k = 0; do { k++; } while (k * k < i); out[i] = k;",
           lambda i, x: next(k for k in range(1, 99) if k * k >= i)),
    "a loop in a loop": ("int s = 0; for (int p = 0; p < 4; p++) for (int q = 0; q <= p; q++)"
                         " { if (q == 2) break; s += p + q; } out[i] = s;",
                         lambda i, x: sum(p + q for p in range(4) for q in range(min(p + 1, 2)))),
    "a return": ("out[i] = 1; if (i > 40) return; out[i] = 2; for (;;) { if (i > 9) { return; } out[i] = 3; break; }",
                 lambda i, x: 1 if i > 40 else 2 if i > 9 else 3),
    "and, or": ("out[i] = (i > 0 && 100 / i > 10) + (i == 0 || 7 / i > 1) * 2 + !i * 4;",
                lambda i, x: (i > 0 and 100 // i > 10) + 2 * (i == 0 or 7 // i > 1) + 4 * (not i)),
    "steps": ("int k = i; out[i] = k++ + ++k; out[i] += k-- - --k; k *= 2; k -= 1; out[i] += k;",
              lambda i, x: i + i + 2 + 2 + 2 * i - 1),
    "arrays": ("float t[4] = {1, 2, 3}; t[3] = x; float s = 0; for (int k = 0; k < 4; k++) s += t[(k + i) % 4] * k;"
               " out[i] = s;", lambda i, x: sum(((1, 2, 3, x)[(k + i) % 4]) * k for k in range(4))),
    "arrays in two dimensions": ("int t[2][3]; for (int p = 0; p < 2; p++) for (int q = 0; q < 3; q++)"
                                 " t[p][q] = p * 10 + q + i;"
                                 " out[i] = t[1][2] + t[0][1];", lambda i, x: 2 * i + 13),
    "pointers": ("const float* p = a + i; float* q = &out[i]; *q = *p + p[0] * 2 + *(a + i);", lambda i, x: 4 * x),
    "shared": ("__shared__ float s[35]; s[threadIdx.x] = x; __syncthreads(); out[i] = s[34 - threadIdx.x];",
               lambda i, x: X[34 - i % 35 + i // 35 * 35]),
    "one shared number": ("__shared__ float s; if (threadIdx.x == 0) { s = 0; } __syncthreads(); atomicAdd(&s, 1.0f);"
                          " __syncthreads(); out[i] = s + x; if (threadIdx.x == 34) s += 1;", lambda i, x: 35 + x),
    "dynamic": ("extern __shared__ char m[]; float* s = (float*) m; s[threadIdx.x] = x; __syncthreads();"
                " out[i] = s[0];",
                lambda i, x: X[i // 35 * 35]),
    "atomic": ("atomicAdd(&whole[0], i); atomicMax(&whole[1], i); __syncthreads(); out[i] = whole[0] + whole[1];",
               lambda i, x: 35 * 69 + 69),
    "atomics that answer": ("int before = atomicAdd(whole, 1); out[i] = before;", lambda i, x: i),
    "functions": ("out[i] = fabsf(x) + floorf(x) * 2 + ceil(x) * 3 + round(x) + min(i, 3) + max(x, 0.5f) + sqrtf(i);",
                  lambda i, x: abs(x) + 2 * np.floor(x) + 3 * np.ceil(x) + np.copysign(np.floor(abs(x) + 0.5), x)
                  + min(i, 3) + max(x, 0.5) + np.sqrt(i)),
    "exponentials": ("out[i] = expf(x) + exp(-x) + __expf(0.0f) + powf(2.0f, x) + fminf(x, 0) + fmodf(x, 1.5f);",
                     lambda i, x: np.exp(x) + np.exp(-x) + 1 + 2.0**x + min(x, 0) + np.fmod(x, 1.5)),
    "not finite": ("float u = x / 0.0f; out[i] = isfinite(u) + isnan(u - u) * 2 + isinf(-u) * 4 + (int) (u - u);",
                   lambda i, x: 6),
    "what is too large": ("out[i] = ((int) 3e9f) / 1000000;", lambda i, x: 2147),
    "an array of a size": ("const int N = 3; float t[N * 2]; t[5] = x; out[i] = t[5] + sizeof(float);",
                           lambda i, x: x + 4),
    "shuffles": ("out[i] = __shfl_down_sync(0xffffffff, i, 1);", lambda i, x: i + (i % 35 % 32 != 31 and i % 35 != 34)),
}  # fmt: skip
HELPERS = {
    "a function": ("__device__ __forceinline__ float f(const float x, int k)"
                   "{ if (k == 0) return 1.0f; return x * f(x, k - 1); }", "out[i] = f(x, 3);", lambda i, x: x**3),
    "a function of a pointer": ("__device__ float f(const float* __restrict__ p) { return p[0]; }",
                                "out[i] = f(a + i);", lambda i, x: x),
    "a function without a result": ("static __device__ void f(float* p, float v) { p[0] = v; }", "f(out + i, x);",
                                    lambda i, x: x),
    "macros": ("#define K 3 // three\n#define SQUARE(v) ((v) * \\\n (v))\n"
               "#define BOTH(p, q) SQUARE(p) + SQUARE(q)\n/* #define K 4 */",
               "out[i] = BOTH(K, (i + 1)) / 2;", lambda i, x: (9 + (i + 1) ** 2 // 2)),
    "a constant": ("__constant__ const int K = 7;\n#pragma once\n#include <cuda.h>", "out[i] = K * i; #pragma unroll",
                   lambda i, x: 7 * i),
    "comments": ("// __global__ ( {\n/* } / 0 */", "out[i] = x /* / 2 */; // / 2", lambda i, x: x),
}  # fmt: skip


@pytest.mark.parametrize("body", BODIES)
def test_what_a_body_computes(body):
    text, expected = BODIES[body]
    np.testing.assert_allclose(computed(text), [expected(i, x) for i, x in enumerate(X)], rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("helper", HELPERS)
def test_what_stands_beside_a_kernel(helper):
    text, body, expected = HELPERS[helper]
    body = body.replace("#pragma unroll", "\n#pragma unroll\n").replace("// / 2", "// / 2\n")
    np.testing.assert_allclose(computed(body, text), [expected(i, x) for i, x in enumerate(X)], rtol=2e-6)


def test_blocks_and_threads_in_three_dimensions():
    body = """int t = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    int b = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    int at = t + b * blockDim.x * blockDim.y * blockDim.z; out[at] += at + 1;"""
    found = computed(body.replace("a[i]", "0"), grid=(1, 7, 1), block=(5, 1, 2))
    np.testing.assert_array_equal(found, np.arange(LANES) + 1)


def test_double_has_more_digits_than_float():
    assert computed("out[i] = 1.0 / 3;", dtype=np.float64)[0] == 1 / 3
    assert computed("out[i] = 1.0f / 3;", dtype=np.float64)[0] == np.float32(1) / np.float32(3)


NOT_UNDERSTOOD = {
    "templates": ("", "template <typename T> __device__ T f(T v) { return v; }"),
    "an unknown function": ("out[i] = erfcxf(x);", ""),
    "an unknown name": ("out[i] = unknown;", ""),
    "a switch": ("switch (i) { case 1: out[i] = 2; }", ""),
    "a struct": ("", "struct P { int x; };"),
    "a reference": ("", "__device__ void f(float& v) { v = 1; }"),
    "outside": ("out[i + 70] = 1;", ""),
    "far outside": ("out[i] = a[-1];", ""),
    "for ever": ("for (;;) { out[i] += 1; }", ""),
    "for ever, without a body": ("while (1) {}", ""),
    "itself": ("out[i] = f(i);", "__device__ int f(int k) { return f(k + 1); }"),
    "doubled again and again": (
        "out[i] = A0;", "".join(f"#define A{n} A{n + 1} + A{n + 1}\n" for n in range(40)) + "#define A40 1"
    ),
    "macros of themselves": ("out[i] = A(1);", "#define A(v) B(v) + B(v)\n#define B(v) A(v) + A(v)"),
    "large arrays": ("float t[1000000000]; out[i] = t[0];", ""),
    "large shared arrays": ("__shared__ double t[1 << 29][1 << 29]; out[i] = t[0][0];", ""),
    "many arrays": ("".join(f"float t{n}[100000]; " for n in range(50)) + "out[i] = t0[0];", ""),
    "comments without an end": ("/*" * 200_000, ""),
    "parentheses": (f"out[i] = {'(' * 5000}1{')' * 5000};", ""),
    "minus signs": (f"out[i] = {'- ' * 5000}1;", ""),
    "sums": (f"out[i] = {'1 + ' * 5000}1;", ""),
    "blocks": ("{" * 5000 + "}" * 5000, ""),
    "no end": ("out[i] = (1", ""),
    "Python": ("out[i] = __import__('os');", ""),
    "other characters": ("out[i] = 1 @ 2 $ `x`;", ""),
    "a number that is none": ("out[i] = 1e999999; out[i] = 09;", ""),
    "a pointer as a number": ("int p = a; out[i] = p;", ""),
    "a number as a pointer": ("float* p = 7; out[i] = p[0];", ""),
    "numbers as names": ("out[i] = 123456789012345678901234567890;", ""),
}  # fmt: skip


@pytest.mark.parametrize("kind", NOT_UNDERSTOOD)
def test_no_text_crashes_or_hangs(kind):
    body, helpers = NOT_UNDERSTOOD[kind]
    start = time.process_time()
    with pytest.raises((NotUnderstood, ValueError, RecursionError)) as refused:
        computed(body, helpers)
    assert time.process_time() - start < 20 and len(str(refused.value)) < 200

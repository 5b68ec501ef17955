"""Kernels in CUDA C, and autograd functions that launch them with CuPy: written for the tests from their formulas."""

import sys
from types import ModuleType

from vfi_kernels.compat import _stubs

PLACE = """
#define SIZES const int B, const int C, const int H, const int W
#define AT(c, y, x) (((b * C + (c)) * H + (y)) * W + (x))
#define FLOW(n) flow[((b * 2 + (n)) * H + y) * W + x]
#define LANE(count) for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < (count); i += gridDim.x * blockDim.x)
#define SPLIT const int x = i % W, y = i / W % H, c = i / W / H % C, b = i / W / H / C;
"""

# Every pixel into the four around its target, and what that gives back.
SPLAT = (
    PLACE
    + """
__device__ float share(float distance) { return 1.0f - fabsf(distance); }
__device__ __forceinline__ bool inside(int x, int y, const int H, const int W) {
    return (x >= 0) && (x < W) && (y >= 0) && (y < H);
}

extern "C" __global__ void __launch_bounds__(512) forward(
    SIZES, const float* __restrict__ image, const float* __restrict__ flow, float* __restrict__ out
) {
    LANE(B * C * H * W) {
        SPLIT
        const float fx = (float) x + FLOW(0), fy = (float) y + FLOW(1);
        if (!isfinite(fx) || !isfinite(fy)) { continue; }
        const int left = (int) floorf(fx), top = (int) floorf(fy);
        for (int n = 0; n < 4; ++n) {
            const int tx = left + (n & 1), ty = top + (n >> 1);
            if (inside(tx, ty, H, W)) {
                atomicAdd(out + AT(c, ty, tx), image[i] * share(fx - tx) * share(fy - ty));
            }
        }
    }
}

extern "C" __global__ void of_image(SIZES, const float* g, const float* flow, float* grad) {
    LANE(B * C * H * W) {
        SPLIT
        float sum = 0.0f;
        const float fx = x + FLOW(0), fy = y + FLOW(1);
        const int left = floor(fx), top = floor(fy);
        for (int n = 0; n < 4; n++) {
            int tx = left + n % 2, ty = top + n / 2;
            sum += inside(tx, ty, H, W) ? g[AT(c, ty, tx)] * share(fx - tx) * share(fy - ty) : 0.0f;
        }
        grad[i] = sum;
    }
}

extern "C" __global__ void of_flow(SIZES, const float* image, const float* g, const float* flow, float* grad) {
    LANE(B * 2 * H * W) {
        const int x = i % W, y = i / W % H, axis = i / W / H % 2, b = i / W / H / 2;
        const float fx = x + FLOW(0), fy = y + FLOW(1);
        const int left = (int) floor(fx), top = (int) floor(fy);
        float sum = 0.0f;
        for (int n = 0; n < 4; n++) {
            int tx = left + n % 2, ty = top + n / 2;
            if (inside(tx, ty, H, W) == false) continue;
            float slope;
            if (axis == 0) { slope = (n % 2 ? 1.0f : -1.0f) * share(fy - ty); }
            else { slope = (n / 2 ? 1.0f : -1.0f) * share(fx - tx); }
            for (int c = 0; c < C; c++) sum += image[AT(c, y, x)] * g[AT(c, ty, tx)] * slope;
        }
        grad[i] = sum;
    }
}
"""
)
SPLAT_CODE = """
class {name}(torch.autograd.Function):
    @staticmethod
    def forward(ctx, one, two):
        assert one.is_cuda
        one, two = one.contiguous(), two.contiguous()
        ctx.save_for_backward(one, two)
        out = one.new_zeros(one.shape)
        launch("forward", out.nelement(), [*one.shape], one, two, out)
        return {result}

    @staticmethod
    def backward(ctx, g):
        one, two = ctx.saved_tensors
        assert g.is_cuda
        grad_one, grad_two, g = torch.empty_like(one), torch.empty_like(two), g.contiguous()
        launch("of_image", one.nelement(), [*one.shape], g, two, grad_one)
        launch("of_flow", two.nelement(), [*one.shape], one, g, two, grad_two)
        return grad_one, grad_two
"""

# Costs of all displacements of up to R pixels; a block for each pixel, whose threads share the channels.
VOLUME = """
#define ROUNDS for (int c = threadIdx.x; c < C; c += blockDim.x)
extern "C" __global__ void forward(
    const int R, const int C, const int H, const int W, const float* one, const float* two, float* out
) {{
    extern __shared__ char memory[];
    __shared__ float sums[32];
    float *own = (float *) memory;
    const int x = blockIdx.x, y = blockIdx.y, b = blockIdx.z, side = 2 * R + 1;
    ROUNDS {{ own[c] = one[((b * C + c) * H + y) * W + x]; }}
    __syncthreads();
    for (int d = 0; d < side * side; d++) {{
        int dy = d / side - R, dx = d % side - R;
        {order}
        sums[threadIdx.x] = 0;
        ROUNDS {{
            float other = 0.0f;
            if (y + dy >= 0 && y + dy < H && x + dx >= 0 && x + dx < W) {{
                other = two[((b * C + c) * H + y + dy) * W + x + dx];
            }}
            sums[threadIdx.x] += {cost};
        }}
        __syncthreads();
        if (threadIdx.x == 0) {{
            float total = 0.0f;
            for (int n = 0; n < 32; n++) {{ total += sums[n]; }}
            out[((b * side * side + d) * H + y) * W + x] = {of_total}; // total / C is the mean
        }}
    }}
}}
"""
VOLUME_CODE = """
class {name}(torch.autograd.Function):
    @staticmethod
    def forward(ctx, one, two{more}):
        assert one.is_cuda
        b, c, h, w = one.shape
        radius = {radius}
        out = one.new_zeros([b, (2 * radius + 1) ** 2, h, w])
        cupy.RawKernel(TEXT, "forward")(
            grid=(w, h, b), block=(32, 1, 1), shared_mem=4 * c,
            args=[radius, c, h, w, one.contiguous().data_ptr(), two.contiguous().data_ptr(), out.data_ptr()],
        )
        return {result}
"""
LAUNCH = """
import cupy, torch
from cupy import RawKernel

@cupy.memoize(for_each_device=True)
def compiled(name, text):
    {made}

def launch(name, count, sizes, *tensors):
    args = [cupy.int32(n) for n in sizes] + [t.data_ptr() for t in tensors]
    compiled(name, TEXT)(grid=((count + 511) // 512, 1, 1), block=(512, 1, 1), args=args)
"""
MADE = {
    "RawKernel": "return cupy.RawKernel(text, name)",
    "RawModule": "return cupy.RawModule(code=text).get_function(name)",
    "compile_with_cache": "return cupy.cuda.compile_with_cache(text, ('-I include',)).get_function(name)",
    "imported": "return RawKernel(text, name, options=('--std=c++11',))",
}


def module_of(monkeypatch, code, text, made="RawKernel", **options):
    """A module that launches kernels of `text`, as a repository has it; {names} in the code are options."""
    monkeypatch.setitem(sys.modules, "cupy", _stubs.cupy_stubs()["cupy"])
    module = ModuleType("kernels")
    monkeypatch.setitem(sys.modules, "kernels", module)
    module.TEXT = text
    exec(LAUNCH.format(made=MADE[made]) + code.format(**{"result": "out", "more": "", **options}), vars(module))
    return module


def volume(cost="own[c] * other", of_total="total / C", order=""):
    return VOLUME.format(cost=cost, of_total=of_total, order=order)

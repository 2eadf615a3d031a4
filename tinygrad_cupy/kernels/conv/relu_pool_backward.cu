// The gradient of a convolution's output from that of conv -> ReLU -> max-pool. All arrays are
// N, H, W, C.

// g where y > 0, four at a time; the last few one by one.
extern "C" __global__ void conv_relu_backward(const float* __restrict__ grad,
                                              const float* __restrict__ y,
                                              float* __restrict__ out, long long count) {
    const long long i = ((long long)blockIdx.x * blockDim.x + threadIdx.x) * 4;
    if (i + 4 <= count) {
        const float4 g = *(const float4*)(grad + i), v = *(const float4*)(y + i);
        *(float4*)(out + i) =
            make_float4(v.x <= 0 ? 0 : g.x, v.y <= 0 ? 0 : g.y,
                        v.z <= 0 ? 0 : g.z, v.w <= 0 ? 0 : g.w);
    } else {
        for (long long k = i; k < count; ++k) out[k] = y[k] <= 0 ? 0 : grad[k];
    }
}

// grad (N, PH, PW, C) put where argmax says in each 2 x 2 window of out (N, H, W, C), zeros
// elsewhere. A thread writes the window of one pooled element, or of four neighbouring channels;
// the rows and columns that no window covers are zeros too.
template <class Values, class Taps, int WIDTH>
__device__ void pool_backward(const float* grad, const u8* argmax, float* out, int images,
                              int height, int width, int channels) {
    const int down = (height + 1) / 2, across = (width + 1) / 2, pieces = channels / WIDTH;
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= (long long)images * down * across * pieces) return;
    const int piece = i % pieces;
    const int place = (int)(i / pieces);
    const int column = place % across, line = place / across, row = line % down, n = line / down;
    const int pooled_height = height / 2, pooled_width = width / 2;
    alignas(16) float g[WIDTH];
    alignas(4) u8 taps[WIDTH];
    const bool covered = row < pooled_height && column < pooled_width;
    if (covered) {
        const size_t from =
            (((size_t)n * pooled_height + row) * pooled_width + column) * channels + piece * WIDTH;
        *(Values*)g = *(const Values*)(grad + from);
        *(Taps*)taps = *(const Taps*)(argmax + from);
    }
#pragma unroll
    for (int p = 0; p < 4; ++p) {
        const int h = 2 * row + p / 2, w = 2 * column + p % 2;
        if (h >= height || w >= width) continue;
        alignas(16) float v[WIDTH];
#pragma unroll
        for (int k = 0; k < WIDTH; ++k) v[k] = covered && taps[k] == p ? g[k] : 0;
        *(Values*)(out + (((size_t)n * height + h) * width + w) * channels + piece * WIDTH) =
            *(Values*)v;
    }
}

extern "C" __global__ void conv_pool_backward4(const float* __restrict__ grad,
                                               const u8* __restrict__ argmax,
                                               float* __restrict__ out, int images, int height,
                                               int width, int channels) {
    pool_backward<float4, uchar4, 4>(grad, argmax, out, images, height, width, channels);
}
extern "C" __global__ void conv_pool_backward1(const float* __restrict__ grad,
                                               const u8* __restrict__ argmax,
                                               float* __restrict__ out, int images, int height,
                                               int width, int channels) {
    pool_backward<float, u8, 1>(grad, argmax, out, images, height, width, channels);
}

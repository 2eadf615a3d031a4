// Convolutions of images with few channels (grey or colour), in float32: so little arithmetic that
// they are bound by the memory they write and read, not by products. Arrays are N, H, W, C.
//
// Macros: CHANNELS OUTPUTS KH KW SH SW PADH PADW DH DW as in tiles.cu; RELU BIAS POOL for fprop; OV
// (output channels of a thread) and GRAD for wgrad, which stands in its place where OV is given.
// GRAD: 0 the gradient of y as it is, 1 but where y <= 0, 2 a 2 x 2 max-pool, to be put where
// `argmax` says.

constexpr int TAPS = KH * KW, DEPTH = TAPS * CHANNELS;

// x at a pixel; zero outside of the image.
__device__ __forceinline__ float pixel_of(const float* image, int h, int w, int c, int height,
                                          int width) {
    bool inside = (PADH == 0 || (u32)h < (u32)height) && (u32)w < (u32)width;
    return inside ? __ldg(image + (h * width + w) * CHANNELS + c) : 0.0f;
}

#ifndef OV
// A thread computes four output channels at four pixels: those of one window of the max-pool, or
// four in a row. Weights lie in shared memory as (taps * C, O).
constexpr int O4 = (OUTPUTS + 3) / 4;

extern "C" __global__ void __launch_bounds__(THREADS)
    conv_few_channels_fprop(const float* __restrict__ x, const float* __restrict__ w,
                            const float* __restrict__ bias, float* __restrict__ y,
                            u8* __restrict__ argmax, int images, int height, int width,
                            int out_height, int out_width) {
    __shared__ float4 weights[DEPTH * O4];
    for (int i = threadIdx.x; i < DEPTH * O4 * 4; i += THREADS) {
        int o = i % (O4 * 4), k = i / (O4 * 4), tap = k / CHANNELS, c = k % CHANNELS;
        ((float*)weights)[i] = o < OUTPUTS ? w[(o * CHANNELS + c) * TAPS + tap] : 0;
    }
    __syncthreads();
    const int across = POOL ? out_width / 2 : (out_width + 3) / 4,
              down = POOL ? out_height / 2 : out_height;
    const long long count = (long long)images * down * across * O4;
    for (long long i = (long long)blockIdx.x * THREADS + threadIdx.x; i < count;
         i += (long long)gridDim.x * THREADS) {
        const int o4 = i % O4;
        const int place = (int)(i / O4);
        const int column = place % across, line = place / across, row = line % down,
                  n = line / down;
        const float* image = x + (size_t)n * height * width * CHANNELS;
        const int h0 = (POOL ? 2 * row : row) * SH - PADH, v0 = (POOL ? 2 : 4) * column * SW - PADW;
        float acc[4][4] = {};
        // Row by row of what the four windows see together.
        constexpr int ROWS = (KH - 1) * DH + (POOL ? SH : 0) + 1;
        constexpr int COLUMNS = (KW - 1) * DW + (POOL ? 1 : 3) * SW + 1;
#pragma unroll
        for (int c = 0; c < CHANNELS; ++c)
#pragma unroll
            for (int r = 0; r < ROWS; ++r) {
                float a[COLUMNS];
#pragma unroll
                for (int v = 0; v < COLUMNS; ++v)
                    a[v] = pixel_of(image, h0 + r, v0 + v, c, height, width);
                // `part` of the window of the max-pool.
#pragma unroll
                for (int part = 0; part < (POOL ? 2 : 1); ++part) {
                    const int below = r - part * SH;
                    if (below < 0 || below % DH || below / DH >= KH) continue;
#pragma unroll
                    for (int kw = 0; kw < KW; ++kw) {
                        const float4 b = weights[((below / DH * KW + kw) * CHANNELS + c) * O4 + o4];
#pragma unroll
                        for (int q = 0; q < (POOL ? 2 : 4); ++q) {
                            const float value = a[q * SW + kw * DW];
                            float* sum = acc[POOL ? 2 * part + q : q];
                            sum[0] += value * b.x, sum[1] += value * b.y;
                            sum[2] += value * b.z, sum[3] += value * b.w;
                        }
                    }
                }
            }
#pragma unroll
        for (int p = 0; p < 4; ++p)
#pragma unroll
            for (int o = 0; o < 4; ++o) {
                if (BIAS && 4 * o4 + o < OUTPUTS) acc[p][o] += bias[4 * o4 + o];
                if (RELU && acc[p][o] < 0) acc[p][o] = 0;  // NaN stays NaN
            }
        if (POOL) {
            float best[4];
            u8 tap[4];
#pragma unroll
            for (int o = 0; o < 4; ++o) {
                best[o] = acc[0][o], tap[o] = 0;
                for (int p = 1; p < 4; ++p)
                    if (!isnan(best[o]) && !(acc[p][o] <= best[o]))
                        best[o] = acc[p][o], tap[o] = p;
                if (RELU && best[o] <= 0) tap[o] = MASKED;
            }
            const size_t at = (size_t)place * OUTPUTS + 4 * o4;
            if (OUTPUTS % 4 == 0) {
                *(float4*)(y + at) = make_float4(best[0], best[1], best[2], best[3]);
                *(uchar4*)(argmax + at) = make_uchar4(tap[0], tap[1], tap[2], tap[3]);
            } else {
                for (int o = 0; o < 4 && 4 * o4 + o < OUTPUTS; ++o)
                    y[at + o] = best[o], argmax[at + o] = tap[o];
            }
        } else {
#pragma unroll
            for (int p = 0; p < 4; ++p) {
                if (4 * column + p >= out_width) break;
                const size_t at =
                    (((size_t)n * out_height + row) * out_width + 4 * column + p) * OUTPUTS +
                    4 * o4;
                if (OUTPUTS % 4 == 0)
                    *(float4*)(y + at) = make_float4(acc[p][0], acc[p][1], acc[p][2], acc[p][3]);
                else
                    for (int o = 0; o < 4 && 4 * o4 + o < OUTPUTS; ++o) y[at + o] = acc[p][o];
            }
        }
    }
}
#else
// Each thread keeps the sums of OV output channels and all taps in registers while it walks over
// places of four windows: of four pixels in a row or, with GRAD 2, of a window of the max-pool, of
// which one has the gradient, another for each channel. GROUPS threads share the channels, LANES
// walk side by side; at the end a block adds up its lanes in a fixed order and writes
// partial (blocks, O, taps, C) and bias_partial (blocks, O) for conv_wgrad_reduce.
constexpr int GROUPS = (OUTPUTS + OV - 1) / OV;
constexpr int LANES = THREADS / GROUPS;

// The threads' sums are added up in rounds: those of a round lie in shared memory, at most 44 KB.
constexpr int SUMS = (DEPTH + 1) * OV, ROUNDS = (SUMS + 43) / 44;
constexpr int PER_ROUND = (SUMS + ROUNDS - 1) / ROUNDS;

__device__ __forceinline__ void load_four(float* to, const float* from) {
    *(float4*)to = *(const float4*)from;
}

__device__ __forceinline__ void load_four(u8* to, const u8* from) {
    *(uchar4*)to = *(const uchar4*)from;
}

template <class T>
__device__ __forceinline__ void load_outputs(T* to, const T* from, int output) {
    if (OUTPUTS % OV == 0 && OV == 4) {
        load_four(to, from);
    } else {
#pragma unroll
        for (int o = 0; o < OV; ++o) to[o] = output + o < OUTPUTS ? from[o] : 0;
    }
}

// acc += windows of a strip of four pixels times their gradients.
__device__ __forceinline__ void add_strip(float (*acc)[OV], const float* image, const float* grad,
                                          const float* y, int row, int column, int output,
                                          int height, int width, int out_width) {
    alignas(16) float g[4][OV];
#pragma unroll
    for (int p = 0; p < 4; ++p) {
        const int at = p * OUTPUTS;
        if (column + p < out_width) {
            load_outputs(g[p], grad + at, output);
            if (GRAD == 1) {
                alignas(16) float relu_y[OV];
                load_outputs(relu_y, y + at, output);
#pragma unroll
                for (int o = 0; o < OV; ++o) g[p][o] = relu_y[o] <= 0 ? 0 : g[p][o];
            }
        } else {
#pragma unroll
            for (int o = 0; o < OV; ++o) g[p][o] = 0;
        }
#pragma unroll
        for (int o = 0; o < OV; ++o) acc[DEPTH][o] += g[p][o];
    }
    constexpr int COLUMNS = (KW - 1) * DW + 3 * SW + 1;
#pragma unroll
    for (int c = 0; c < CHANNELS; ++c)
#pragma unroll
        for (int kh = 0; kh < KH; ++kh) {
            float a[COLUMNS];
#pragma unroll
            for (int v = 0; v < COLUMNS; ++v)
                a[v] = pixel_of(image, row * SH - PADH + kh * DH, column * SW - PADW + v, c, height,
                                width);
#pragma unroll
            for (int kw = 0; kw < KW; ++kw)
#pragma unroll
                for (int p = 0; p < 4; ++p)
#pragma unroll
                    for (int o = 0; o < OV; ++o)
                        acc[(kh * KW + kw) * CHANNELS + c][o] += a[p * SW + kw * DW] * g[p][o];
        }
}

// acc += the four windows of a window of the max-pool, at (row, column) of the output, times its
// gradient, which belongs to one of them, another for each channel. No load waits for `argmax`.
__device__ __forceinline__ void add_window(float (*acc)[OV], const float* image, const float* grad,
                                           const u8* argmax, int row, int column, int output,
                                           int height, int width) {
    alignas(16) float best[OV];
    alignas(4) u8 tap[OV];
    load_outputs(best, grad, output), load_outputs(tap, argmax, output);
    float g[4][OV];
#pragma unroll
    for (int p = 0; p < 4; ++p)
#pragma unroll
        for (int o = 0; o < OV; ++o) {
            g[p][o] = tap[o] == p ? best[o] : 0;
            acc[DEPTH][o] += g[p][o];
        }
    // Row by row of what the four windows see together.
    constexpr int ROWS = (KH - 1) * DH + SH + 1, COLUMNS = (KW - 1) * DW + SW + 1;
    const int h0 = row * SH - PADH, v0 = column * SW - PADW;
#pragma unroll
    for (int c = 0; c < CHANNELS; ++c)
#pragma unroll
        for (int r = 0; r < ROWS; ++r) {
            float a[COLUMNS];
#pragma unroll
            for (int v = 0; v < COLUMNS; ++v)
                a[v] = pixel_of(image, h0 + r, v0 + v, c, height, width);
#pragma unroll
            for (int p = 0; p < 4; ++p) {
                const int below = r - p / 2 * SH, kh = below / DH;
                if (below < 0 || below % DH || kh >= KH) continue;
#pragma unroll
                for (int kw = 0; kw < KW; ++kw) {
                    float* sum = acc[(kh * KW + kw) * CHANNELS + c];
#pragma unroll
                    for (int o = 0; o < OV; ++o) sum[o] += a[p % 2 * SW + kw * DW] * g[p][o];
                }
            }
        }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    conv_few_channels_wgrad(const float* __restrict__ x, const float* __restrict__ grad,
                            const float* __restrict__ y, const u8* __restrict__ argmax,
                            float* __restrict__ partial, float* __restrict__ bias_partial,
                            int images, int height, int width, int out_height, int out_width) {
    __shared__ float sums[PER_ROUND][THREADS];
    const int group = threadIdx.x % GROUPS, slot = threadIdx.x / GROUPS, output = group * OV;
    const int down = GRAD == 2 ? out_height / 2 : out_height;
    const int wide = GRAD == 2 ? out_width / 2 : out_width,
              across = GRAD == 2 ? wide : (wide + 3) / 4;
    const int count = images * down * across;
    float acc[DEPTH + 1][OV] = {};
    if (slot < LANES)
        for (int i = blockIdx.x * LANES + slot; i < count; i += gridDim.x * LANES) {
            const int line = i / across, n = line / down, row = line % down;
            const int column = i % across * (GRAD == 2 ? 1 : 4);
            const float* image = x + (size_t)n * height * width * CHANNELS;
            const size_t at = ((size_t)line * wide + column) * OUTPUTS + output;
            if (GRAD == 2)
                add_window(acc, image, grad + at, argmax + at, 2 * row, 2 * column, output, height,
                           width);
            else
                add_strip(acc, image, grad + at, y + at, row, column, output, height, width, wide);
        }

    // A warp adds up a row: its lanes read side by side, from different banks. SIDE of them, a
    // power of two, share the sum of a group.
    constexpr int SIDE = GROUPS > 16  ? 1
                         : GROUPS > 8 ? 2
                         : GROUPS > 4 ? 4
                         : GROUPS > 2 ? 8
                                      : 32 / GROUPS;
    constexpr int APART = SIDE * GROUPS, PASSES = (APART + 31) / 32;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const float* mine = &acc[0][0];  // sum number k * OV + o
#pragma unroll
    for (int from = 0; from < SUMS; from += PER_ROUND) {
        __syncthreads();
#pragma unroll
        for (int i = 0; i < PER_ROUND; ++i)
            if (from + i < SUMS) sums[i][threadIdx.x] = mine[from + i];
        __syncthreads();
        for (int i = warp; i < min(PER_ROUND, SUMS - from); i += THREADS / 32)
            for (int first = lane; first < PASSES * 32; first += 32) {
                float sum = 0;
                if (first < APART)
#pragma unroll
                    for (int at = 0; at < LANES * GROUPS; at += APART)
                        if (at + first < LANES * GROUPS) sum += sums[i][at + first];
#pragma unroll
                for (int step = SIDE / 2; step; step /= 2)
                    sum += __shfl_down_sync(0xFFFFFFFF, sum, step * GROUPS);
                const int k = (from + i) / OV, o = first * OV + (from + i) % OV;
                if (first >= GROUPS || o >= OUTPUTS) continue;
                if (k < DEPTH)
                    partial[((size_t)blockIdx.x * OUTPUTS + o) * DEPTH + k] = sum;
                else
                    bias_partial[(size_t)blockIdx.x * OUTPUTS + o] = sum;
            }
    }
}
#endif

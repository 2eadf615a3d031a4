// Convolution as an implicit matrix product: y (pixels, O) = windows of x (pixels, taps * C) times
// weights, with bias, ReLU and 2 x 2 max-pool done before anything is stored. With FLIP it is the
// input gradient of a convolution with stride 1: the same product with the weights turned round.
// Arrays are N, H, W, C in memory. See conv_tiles.cu for the patch.
//
// A block keeps its weights in shared memory, WEIGHT_STRIDE words for each output channel and of them
// TAP_STRIDE for each tap, and walks over the tiles; the next patch is copied while the present one is multiplied (BUFFERS 2; in
// bfloat16 the other block of the multiprocessor multiplies meanwhile). Channels are worked on CB at
// a time; where the weights of all of them are too many to stay (RESIDENT 0), they are fetched every
// time. Warps: WARPS_M times WARPS / WARPS_M, each with 32 pixels and 8 * NT of the BN output channels.

constexpr int MT = 2;                        // 16-row tiles of a warp
constexpr int WARPS_N = WARPS / WARPS_M;
constexpr int BN = WARPS_N * NT * 8;
constexpr int CHUNKS = (CHANNELS + CB - 1) / CB;
constexpr int CHUNK = BN * WEIGHT_STRIDE;  // words of the weights of CB channels
static_assert(BM == WARPS_M * MT * 16, "tile");

// In which row the weights of an output channel lie. Without tensor cores a lane wants channels 2t and
// 2t + 1: apart by four rows, so that the lanes' rows are in different banks.
__device__ __forceinline__ int place_of(int o) {
    return PRECISION == 0 ? o / 8 * 8 + o % 2 * 4 + o / 2 % 4 : o;
}

// weights (BN, taps, CB) from (O, C, taps), or flipped from (C, O, taps).
__device__ __forceinline__ void load_weights(u32* weights, const float* w, int output, int channel) {
    constexpr int EACH = PRECISION == 2 ? 2 : 1, PIECES = CB / EACH;  // channels of a word
    constexpr int INNER = FLIP ? BN : PIECES;
    for (int i = threadIdx.x; i < BN * PIECES * TAPS; i += THREADS) {
        const int tap = i % TAPS, inner = i / TAPS % INNER, outer = i / TAPS / INNER;
        const int o = FLIP ? inner : outer, piece = FLIP ? outer : inner;
        float values[EACH];
#pragma unroll
        for (int k = 0; k < EACH; ++k) {
            const int c = channel + piece * EACH + k;
            values[k] = 0;
            if (output + o < OUTPUTS && c < CHANNELS)
                values[k] = FLIP ? w[((size_t)c * OUTPUTS + output + o) * TAPS + TAPS - 1 - tap]
                                 : w[((size_t)(output + o) * CHANNELS + c) * TAPS + tap];
        }
        weights[place_of(o) * WEIGHT_STRIDE + tap * TAP_STRIDE + piece] =
            PRECISION == 2 ? to_bf16(values[0], values[EACH - 1])
                           : __float_as_uint(PRECISION == 1 ? to_tf32(values[0]) : values[0]);
    }
}

// Eight neighbours of an array whose rows are LENGTH long, zeros from the `there`th on.
struct Eight {
    float at[8];
    __device__ uint4 packed() const {
        return make_uint4(to_bf16(at[0], at[1]), to_bf16(at[2], at[3]), to_bf16(at[4], at[5]),
                          to_bf16(at[6], at[7]));
    }
};
template <int LENGTH>
__device__ __forceinline__ Eight read_eight(const float* from, int there) {
    Eight found;
    if (LENGTH % 4 == 0) {
#pragma unroll
        for (int k = 0; k < 8; k += 4) {
            const float4 four = k < there ? *(const float4*)(from + k) : make_float4(0, 0, 0, 0);
            found.at[k] = four.x, found.at[k + 1] = four.y, found.at[k + 2] = four.z, found.at[k + 3] = four.w;
        }
    } else {
#pragma unroll
        for (int k = 0; k < 8; ++k) found.at[k] = k < there ? from[k] : 0;
    }
    return found;
}

// As copy_patch, but in bfloat16, and there at once.
__device__ __forceinline__ void pack_patch(u32* patch, const float* x, int first, int rows,
                                           int channel, const Sizes& size) {
    constexpr int PIECES = CB / 8, AHEAD = 4;  // a thread reads so many pieces of eight together
    const int count = rows * size.padded_width.value * PIECES;
    for (int start = threadIdx.x; start < count; start += AHEAD * THREADS) {
        Eight values[AHEAD];
#pragma unroll
        for (int a = 0; a < AHEAD; ++a) {
            const int i = start + a * THREADS, c = channel + i % PIECES * 8;
            const long long from = i < count ? source(i / PIECES, first, size) : -1;
            values[a] = read_eight<CHANNELS>(x + from + c, from < 0 ? 0 : CHANNELS - c);
        }
#pragma unroll
        for (int a = 0; a < AHEAD; ++a) {
            const int i = start + a * THREADS;
            if (i < count) *(uint4*)(patch + i / PIECES * STRIDE + i % PIECES * 4) = values[a].packed();
        }
    }
}

// acc += patch rows at `rows` (2 * MT of them) times weights, all taps and CB channels.
__device__ __forceinline__ void multiply_patch(float (*acc)[NT][4], const u32* patch, const int* rows,
                                               const u32* weights, int wide, int t) {
    for (int kh = 0; kh < KH; ++kh)
#pragma unroll
        for (int kw = 0; kw < KW; ++kw) {
            const u32* a_tap = patch + (kh * DH * wide + kw * DW) * STRIDE;
            const u32* b_tap = weights + (kh * KW + kw) * TAP_STRIDE;
            if (PRECISION == 0) {
#pragma unroll 2
                for (int k = 0; k < CB; k += 4) {
                    float4 a[2 * MT];
#pragma unroll
                    for (int i = 0; i < 2 * MT; ++i) a[i] = *(const float4*)(a_tap + rows[i] + k);
#pragma unroll
                    for (int j = 0; j < NT; ++j)
#pragma unroll
                        for (int e = 0; e < 2; ++e) {  // output channels 2t and 2t + 1, see place_of
                            const u32* row = b_tap + (8 * j + 4 * e + t) * WEIGHT_STRIDE;
                            const float4 b = *(const float4*)(row + k);
#pragma unroll
                            for (int i = 0; i < 2 * MT; ++i) {
                                float& sum = acc[i / 2][j][i % 2 * 2 + e];
                                sum += a[i].x * b.x;
                                sum += a[i].y * b.y;
                                sum += a[i].z * b.z;
                                sum += a[i].w * b.w;
                            }
                        }
                }
            } else if (PRECISION == 1) {
#pragma unroll
                for (int k = 0; k < CB; k += 8) {
                    float a[MT][4];
#pragma unroll
                    for (int i = 0; i < MT; ++i) {
                        float2 upper = *(const float2*)(a_tap + rows[2 * i] + k + 2 * t);
                        float2 lower = *(const float2*)(a_tap + rows[2 * i + 1] + k + 2 * t);
                        a[i][0] = near_tf32(upper.x), a[i][2] = near_tf32(upper.y);
                        a[i][1] = near_tf32(lower.x), a[i][3] = near_tf32(lower.y);
                    }
#pragma unroll
                    for (int j = 0; j < NT; ++j) {
                        float2 b = *(const float2*)(b_tap + 8 * j * WEIGHT_STRIDE + k);
                        float pair[2] = {b.x, b.y};
#pragma unroll
                        for (int i = 0; i < MT; ++i) multiply_tf32(acc[i][j], a[i], pair);
                    }
                }
            } else if (CB % 16 == 0) {  // of 16 channels a lane has four neighbours: two words
#pragma unroll
                for (int k = 0; k < CB / 2; k += 8) {
                    u32 a[MT][4];
#pragma unroll
                    for (int i = 0; i < MT; ++i) {
                        const uint2 upper = *(const uint2*)(a_tap + rows[2 * i] + k + 2 * t);
                        const uint2 lower = *(const uint2*)(a_tap + rows[2 * i + 1] + k + 2 * t);
                        a[i][0] = upper.x, a[i][1] = lower.x, a[i][2] = upper.y, a[i][3] = lower.y;
                    }
#pragma unroll
                    for (int j = 0; j < NT; ++j) {
                        const uint2 b = *(const uint2*)(b_tap + 8 * j * WEIGHT_STRIDE + k);
                        const u32 pair[2] = {b.x, b.y};
#pragma unroll
                        for (int i = 0; i < MT; ++i) multiply_bf16_deep(acc[i][j], a[i], pair);
                    }
                }
            } else {
#pragma unroll
                for (int k = 0; k < CB / 2; k += 4) {
                    u32 a[2 * MT];
#pragma unroll
                    for (int i = 0; i < 2 * MT; ++i) a[i] = a_tap[rows[i] + k + t];
#pragma unroll
                    for (int j = 0; j < NT; ++j) {
                        const u32 b = b_tap[8 * j * WEIGHT_STRIDE + k];
#pragma unroll
                        for (int i = 0; i < MT; ++i) multiply_bf16(acc[i][j], a[2 * i], a[2 * i + 1], b);
                    }
                }
            }
        }
}

// The last pixel of a tile, and a pixel or, beyond the last one, some pixel that is there.
__device__ __forceinline__ int last_pixel(int tile, int pixels) {
    if (!POOL) return min(tile * BM + BM, pixels) - 1;
    const int window = min(tile * (BM / 4) + BM / 4, pixels / 4) - 1;  // its fourth pixel
    return window / 8 * 32 + 24 + window % 8;
}
__device__ __forceinline__ int inside(int pixel, int tile, int pixels) {
    if (!POOL) return min(pixel, pixels - 1);
    return 4 * window_of(pixel) < pixels ? pixel : tile * BM + pixel / 8 % 4 * 8;
}

__device__ __forceinline__ float activated(float value) {
    return RELU && value < 0 ? 0 : value;  // NaN stays NaN
}

// Stores two neighbouring output channels.
template <class T>
__device__ __forceinline__ void store_pair(T* to, T first, T second, int o) {
    if (OUTPUTS % 2 == 0) {
        struct alignas(2 * sizeof(T)) Pair { T a, b; };
        if (o < OUTPUTS) *(Pair*)to = {first, second};
    } else {
        if (o < OUTPUTS) to[0] = first;
        if (o + 1 < OUTPUTS) to[1] = second;
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
conv_forward(const float* __restrict__ x, const float* __restrict__ w, const float* __restrict__ bias,
             float* __restrict__ y, u8* __restrict__ code, int images, int height, int width,
             int out_height, int out_width, int pixels, int tiles, int capacity) {
    extern __shared__ float4 memory[];
    __shared__ float biases[BN];
    u32* weights = (u32*)memory;
    u32* patches = weights + (RESIDENT ? CHUNKS : 1) * CHUNK;
    const Sizes size(images, height, width, out_height, out_width);
    const int wide = size.padded_width.value;
    const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    const int warp_m = threadIdx.x / 32 % WARPS_M, warp_n = threadIdx.x / 32 / WARPS_M;
    const int output = blockIdx.y * BN;

    auto first_row = [&](int tile) { return place(tile * BM, size).row; };
    auto load = [&](int tile, int chunk, int buffer) {
        int first = first_row(tile);
        int last = place(last_pixel(tile, pixels), size).row + (KH - 1) * DH;
        u32* patch = patches + buffer * capacity;
        if (PRECISION == 2)
            pack_patch(patch, x, first, last - first + 1, chunk * CB, size);
        else
            copy_patch<STRIDE>(patch, x, first, last - first + 1, chunk * CB, size);
        copies_end_group();
        copies_end_group();
    };

    float acc[MT][NT][4];
    const u32* my_weights = weights + warp_n * NT * 8 * WEIGHT_STRIDE;
    if (PRECISION != 0) my_weights += g * WEIGHT_STRIDE + (PRECISION == 2 && CB % 16 ? t : 2 * t);
    if (blockIdx.x < tiles) load(blockIdx.x, 0, 0);
    if (RESIDENT)
        for (int chunk = 0; chunk < CHUNKS; ++chunk)
            load_weights(weights + chunk * CHUNK, w, output, chunk * CB);

    for (int i = threadIdx.x; i < BN; i += THREADS)
        biases[i] = BIAS && output + i < OUTPUTS ? bias[output + i] : 0;

    int buffer = 0;
    for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        int rows[2 * MT];
        const int first = first_row(tile);
#pragma unroll
        for (int i = 0; i < 2 * MT; ++i) {
            int pixel = tile * BM + warp_m * MT * 16 + i * 8 + g;
            Place at = place(inside(pixel, tile, pixels), size);
            rows[i] = ((at.row - first) * wide + at.column) * STRIDE;
        }
#pragma unroll
        for (int i = 0; i < MT; ++i)
#pragma unroll
            for (int j = 0; j < NT; ++j)
#pragma unroll
                for (int k = 0; k < 4; ++k) acc[i][j][k] = 0;

        for (int chunk = 0; chunk < CHUNKS; ++chunk) {
            copies_wait();
            __syncthreads();  // this patch is there, and nobody reads the other one any more
            if (!RESIDENT) load_weights(weights, w, output, chunk * CB);
            const bool same_tile = chunk + 1 < CHUNKS;
            const int next = same_tile ? tile : tile + gridDim.x;
            if (BUFFERS == 2 && next < tiles) load(next, same_tile ? chunk + 1 : 0, buffer ^ 1);
            if (!RESIDENT) __syncthreads();
            multiply_patch(acc, patches + buffer * capacity, rows,
                           my_weights + (RESIDENT ? chunk * CHUNK : 0), wide, t);
            if (BUFFERS == 1 || !RESIDENT) __syncthreads();
            if (BUFFERS == 1 && next < tiles) load(next, same_tile ? chunk + 1 : 0, 0);
            buffer ^= BUFFERS - 1;
        }

#pragma unroll
        for (int j = 0; j < NT; ++j) {
            const int mine = (warp_n * NT + j) * 8 + 2 * t, o = output + mine;
            const float2 add = *(const float2*)(biases + mine);
            if (POOL) {  // the four pixels of a window are this lane's four rows
                float best[2];
                u8 from[2];
#pragma unroll
                for (int k = 0; k < 2; ++k) {
                    best[k] = acc[0][j][k], from[k] = 0;
#pragma unroll
                    for (int i = 1; i < 4; ++i) {
                        const float value = acc[i / 2][j][i % 2 * 2 + k];
                        if (!isnan(best[k]) && !(value <= best[k])) best[k] = value, from[k] = i;
                    }
                    best[k] += k ? add.y : add.x;
                    if (RELU && !(best[k] > 0)) from[k] = 4;
                }
                const int window = window_of(tile * BM + warp_m * MT * 16 + g);
                if (4 * window < pixels) {
                    const size_t at = (size_t)window * OUTPUTS + o;
                    store_pair<u8>(code + at, from[0], from[1], o);
                    store_pair<float>(y + at, activated(best[0]), activated(best[1]), o);
                }
            } else {
#pragma unroll
                for (int i = 0; i < 2 * MT; ++i) {
                    const int pixel = tile * BM + warp_m * MT * 16 + i * 8 + g;
                    const float* sum = acc[i / 2][j] + i % 2 * 2;
                    if (pixel < pixels)
                        store_pair<float>(y + (size_t)pixel * OUTPUTS + o, activated(sum[0] + add.x),
                                          activated(sum[1] + add.y), o);
                }
            }
        }
    }
}

// The weight gradient of a convolution, dw (O, taps * C) = g (pixels, O) transposed times windows
// of x, and the bias gradient, the column sums of g. Arrays are N, H, W, C in memory. See
// tiles.cu for the input tile of x; the tile of g lies beside it, a row of GRAD_STRIDE words for
// each pixel.
//
// A block takes BO output channels, and of the taps * CB columns a part (blockIdx.y), and walks
// over tiles of pixels, all in registers until it is done. In bfloat16 a tile arrives as floats and
// is packed into pairs of channels before it is multiplied. Every block writes its sums to memory
// of its own; conv_wgrad_reduce adds them up in a fixed order. Warps: WARPS_O times WARPS /
// WARPS_O, each with 16 * MT output channels and NT times 8 columns.

constexpr int WARPS_N = WARPS / WARPS_O;
constexpr int BO = WARPS_O * MT * 16;
constexpr int GRAD_VECTOR = OUTPUTS % 4 == 0 ? 4 : 1;
constexpr bool PACKED = PRECISION == 2;           // rounded once, between arrival and products
constexpr bool EARLY = PACKED || BUFFERS == 2;    // the next tile arrives while one is multiplied
constexpr int O_BLOCKS = (OUTPUTS + BO - 1) / BO;
constexpr int COLUMN_TILES = TAPS * CB / 8;  // of one chunk of channels
constexpr int COLUMN_BLOCKS = (COLUMN_TILES + WARPS_N * NT - 1) / (WARPS_N * NT);

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    conv_wgrad(const float* __restrict__ x, const float* __restrict__ grad,
               float* __restrict__ partial, float* __restrict__ bias_partial, int images,
               int height, int width, int out_height, int out_width, int pixels, int tiles,
               int capacity) {
    extern __shared__ float4 memory[];
    u32* input_tiles = (u32*)memory;
    u32* grads = input_tiles + BUFFERS * capacity;             // (BM, BO) each
    int* places = (int*)(grads + BUFFERS * BM * GRAD_STRIDE);  // where a pixel's window begins
    u32* raw_input_tile = (u32*)(places + BUFFERS * BM);       // PACKED: floats, as they arrive
    u32* raw_grads = raw_input_tile + capacity / STRIDE * CB;
    const Sizes size(images, height, width, out_height, out_width);
    const int wide = size.padded_width.value;
    const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    const int warp_o = threadIdx.x / 32 % WARPS_O, warp_n = threadIdx.x / 32 / WARPS_O;
    const int column_block = blockIdx.y % COLUMN_BLOCKS, rest = blockIdx.y / COLUMN_BLOCKS;
    const int output = rest % O_BLOCKS * BO, channel = rest / O_BLOCKS * CB;

    struct Rows {
        int first, count;  // of the concatenated batch, what a tile reads
    };
    auto rows_of = [&](int tile) -> Rows {
        const int first = place(tile * BM, size).row;
        return {first,
                place(min(tile * BM + BM, pixels) - 1, size).row + (KH - 1) * DH - first + 1};
    };
    auto find_places = [&](int tile, int* to) {
        const int first = rows_of(tile).first;
        for (int i = threadIdx.x; i < BM; i += THREADS) {
            Place at = place(min(tile * BM + i, pixels - 1), size);
            to[i] = ((at.row - first) * wide + at.column) * STRIDE;
        }
    };
    auto load = [&](int tile, int buffer) {
        const Rows rows = rows_of(tile);
        u32* input_tile = PACKED ? raw_input_tile : input_tiles + buffer * capacity;
        copy_input_tile<PACKED ? CB : STRIDE>(input_tile, x, rows.first, rows.count, channel, size,
                                               threadIdx.x);
        u32* to = PACKED ? raw_grads : grads + buffer * BM * GRAD_STRIDE;
        constexpr int PIECES = BO / GRAD_VECTOR, APART = PACKED ? BO : GRAD_STRIDE;
        for (int i = threadIdx.x; i < BM * PIECES; i += THREADS) {
            int row = i / PIECES, o = i % PIECES * GRAD_VECTOR;
            bool wanted = tile * BM + row < pixels && output + o < OUTPUTS;
            const float* from = grad + (size_t)(tile * BM + row) * OUTPUTS + output + o;
            copy_async<GRAD_VECTOR>(to + row * APART + o, wanted ? from : grad, wanted);
        }
        if (!PACKED) find_places(tile, places + buffer * BM);
        copies_end_group();
    };
    // Of g: of the channels that a thread packs (the same four every time), or multiplies.
    float sums[PACKED ? 4 : 2 * MT] = {};
    auto pack = [&](int tile) {
        constexpr int PIECES = CB / 4, GRAD_PIECES = BO / 4;  // of a pixel
        const int count = rows_of(tile).count * wide * PIECES;
#pragma unroll 4
        for (int i = threadIdx.x; i < count; i += THREADS) {
            const float4 v = ((const float4*)raw_input_tile)[i];
            *(uint2*)(input_tiles + i / PIECES * STRIDE + i % PIECES * 2) = {to_bf16(v.x, v.y),
                                                                         to_bf16(v.z, v.w)};
        }
#pragma unroll 4
        for (int i = threadIdx.x; i < BM * GRAD_PIECES; i += THREADS) {
            const float4 v = ((const float4*)raw_grads)[i];
            *(uint2*)(grads + i / GRAD_PIECES * GRAD_STRIDE + i % GRAD_PIECES * 2) = {
                to_bf16(v.x, v.y), to_bf16(v.z, v.w)};
            sums[0] += v.x, sums[1] += v.y, sums[2] += v.z, sums[3] += v.w;
        }
        find_places(tile, places);
    };

    int columns[NT];  // where in a window this warp's columns are, in words of the input tile
#pragma unroll
    for (int j = 0; j < NT; ++j) {
        int tile = (column_block * WARPS_N + warp_n) * NT + j;
        // Of the two that load_transposed takes; columns[1], [3] ... are not read.
        if (PACKED) tile += lane / 16;
        int tap = min(tile / (CB / 8), TAPS - 1), c = tile % (CB / 8) * 8;
        columns[j] = (tap / KW * DH * wide + tap % KW * DW) * STRIDE;
        columns[j] += PACKED ? c / 2 : PRECISION == 0 ? c + 2 * t : c + g;
    }
    float acc[MT][NT][4] = {};
    const bool sums_wanted = column_block == 0 && warp_n == 0 && channel == 0;

    if (blockIdx.x < tiles) load(blockIdx.x, 0);
    int buffer = 0;
    for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        copies_wait();
        __syncthreads();
        const int next = tile + gridDim.x;
        if (PACKED) {
            pack(tile);
            __syncthreads();
        }
        if (EARLY && next < tiles) load(next, buffer ^ 1);
        const u32* packed_input_tile = input_tiles + buffer * capacity;
        const u32* packed_rows = grads + buffer * BM * GRAD_STRIDE;
        const float* input_tile = (const float*)packed_input_tile;
        const float* rows = (const float*)packed_rows + warp_o * MT * 16 + g;
        const int* at = places + buffer * BM;

        if (PRECISION == 0) {
            for (int k = 0; k < BM; ++k) {
                float a[2 * MT];
#pragma unroll
                for (int i = 0; i < 2 * MT; ++i) {
                    a[i] = rows[k * GRAD_STRIDE + 8 * i];
                    if (sums_wanted) sums[i] += a[i];
                }
                const float* pixel = input_tile + at[k];
#pragma unroll
                for (int j = 0; j < NT; ++j) {
                    float2 b = *(const float2*)(pixel + columns[j]);
#pragma unroll
                    for (int i = 0; i < MT; ++i) {
                        acc[i][j][0] += a[2 * i] * b.x;
                        acc[i][j][1] += a[2 * i] * b.y;
                        acc[i][j][2] += a[2 * i + 1] * b.x;
                        acc[i][j][3] += a[2 * i + 1] * b.y;
                    }
                }
            }
        } else if (PRECISION == 1) {
#pragma unroll 2
            for (int k = 0; k < BM; k += 8) {
                float a[MT][4];
                const float* upper = rows + (k + t) * GRAD_STRIDE;
                const float* pixel[2] = {input_tile + at[k + t], input_tile + at[k + t + 4]};
#pragma unroll
                for (int i = 0; i < MT; ++i) {
                    a[i][0] = upper[16 * i];
                    a[i][1] = upper[16 * i + 8];
                    a[i][2] = upper[16 * i + 4 * GRAD_STRIDE];
                    a[i][3] = upper[16 * i + 4 * GRAD_STRIDE + 8];
                    if (sums_wanted) {
                        sums[2 * i] += a[i][0] + a[i][2];
                        sums[2 * i + 1] += a[i][1] + a[i][3];
                    }
#pragma unroll
                    for (int n = 0; n < 4; ++n) a[i][n] = near_tf32(a[i][n]);
                }
#pragma unroll
                for (int j = 0; j < NT; ++j) {
                    float b[2] = {near_tf32(pixel[0][columns[j]]), near_tf32(pixel[1][columns[j]])};
#pragma unroll
                    for (int i = 0; i < MT; ++i) multiply_tf32(acc[i][j], a[i], b);
                }
            }
        } else {
#pragma unroll 2
            for (int k = 0; k < BM; k += 16) {
                u32 a[MT][4];
                const u32* row =
                    packed_rows + (k + lane / 16 * 8 + lane % 8) * GRAD_STRIDE + lane / 8 % 2 * 4;
                const u32* pixel = packed_input_tile + at[k + lane % 16];
#pragma unroll
                for (int i = 0; i < MT; ++i)
                    load_transposed(a[i], row + (warp_o * MT + i) * 8, true);
#pragma unroll
                for (int j = 0; j < NT; j += 2) {
                    u32 b[4];
                    load_transposed(b, pixel + columns[j], j + 1 < NT);
#pragma unroll
                    for (int n = 0; n < 2 && j + n < NT; ++n)
#pragma unroll
                        for (int i = 0; i < MT; ++i)
                            multiply_bf16_deep(acc[i][j + n], a[i], b + 2 * n);
                }
            }
        }
        if (!EARLY) {
            __syncthreads();
            if (next < tiles) load(next, 0);
        }
        buffer ^= BUFFERS - 1;
    }

    float* out = partial + (size_t)blockIdx.x * OUTPUTS * TAPS * CHANNELS;
#pragma unroll
    for (int j = 0; j < NT; ++j) {
        const int tile = (column_block * WARPS_N + warp_n) * NT + j;
        const int tap = tile / (CB / 8), c = channel + tile % (CB / 8) * 8 + 2 * t;
        if (tap >= TAPS) continue;
#pragma unroll
        for (int i = 0; i < 2 * MT; ++i) {
            const int o = output + warp_o * MT * 16 + i * 8 + g;
            if (o >= OUTPUTS) continue;
            float* to = out + ((size_t)o * TAPS + tap) * CHANNELS + c;
            if (c < CHANNELS) to[0] = acc[i / 2][j][i % 2 * 2];
            if (c + 1 < CHANNELS) to[1] = acc[i / 2][j][i % 2 * 2 + 1];
        }
    }
    if (PACKED) {
        if (column_block != 0 || channel != 0) return;  // all threads of the block
        // A thread has seen four channels from 4 * (its number % PIECES) on.
        constexpr int PIECES = BO / 4;
        __shared__ float of_warps[WARPS][BO];
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            for (int apart = 16; apart >= PIECES; apart /= 2)
                sums[k] += __shfl_xor_sync(0xffffffffu, sums[k], apart);
            if (lane < PIECES) of_warps[threadIdx.x / 32][lane * 4 + k] = sums[k];
        }
        __syncthreads();
        const int o = threadIdx.x;
        if (o >= BO || output + o >= OUTPUTS) return;
        float sum = 0;
        for (int warp = 0; warp < WARPS; ++warp) sum += of_warps[warp][o];
        bias_partial[(size_t)blockIdx.x * OUTPUTS + output + o] = sum;
        return;
    }
    if (!sums_wanted) return;
#pragma unroll
    for (int i = 0; i < 2 * MT; ++i) {
        float sum = sums[i];
        if (PRECISION == 1) {  // each of the four lanes has seen a quarter of the pixels
            sum += __shfl_xor_sync(0xffffffffu, sum, 1);
            sum += __shfl_xor_sync(0xffffffffu, sum, 2);
        }
        const int o = output + warp_o * MT * 16 + i * 8 + g;
        if (t == 0 && o < OUTPUTS) bias_partial[(size_t)blockIdx.x * OUTPUTS + o] = sum;
    }
}

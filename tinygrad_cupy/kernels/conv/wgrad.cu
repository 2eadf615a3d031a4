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
//
// The kernel stands at the end; what it calls, step by step, before it.

constexpr int WARPS_N = WARPS / WARPS_O;
constexpr int BO = WARPS_O * MT * 16;
constexpr int GRAD_VECTOR = OUTPUTS % 4 == 0 ? 4 : 1;
constexpr bool PACKED = PRECISION == 2;           // rounded once, between arrival and products
constexpr bool EARLY = PACKED || BUFFERS == 2;    // the next tile arrives while one is multiplied
constexpr int O_BLOCKS = (OUTPUTS + BO - 1) / BO;
constexpr int COLUMN_TILES = TAPS * CB / 8;  // of one chunk of channels
constexpr int COLUMN_BLOCKS = (COLUMN_TILES + WARPS_N * NT - 1) / (WARPS_N * NT);
constexpr int SUMS = PACKED ? 4 : 2 * MT;  // output channels that a thread packs, or multiplies

// What a thread is among those of its block. g and t are those of multiply_tf32.
struct Thread {
    int lane, g, t, warp_o, warp_n;
    __device__ Thread()
        : lane(threadIdx.x % 32), g(lane / 4), t(lane % 4), warp_o(threadIdx.x / 32 % WARPS_O),
          warp_n(threadIdx.x / 32 / WARPS_O) {}
};

// What a block works on: a part of the columns, BO output channels from `output` on and CB channels
// from `channel` on.
struct Work {
    const float *x, *grad;
    const Sizes size;
    int pixels, column_block, output, channel;

    __device__ Work(const float* x, const float* grad, const Sizes& size, int pixels)
        : x(x), grad(grad), size(size), pixels(pixels), column_block(blockIdx.y % COLUMN_BLOCKS) {
        const int others = blockIdx.y / COLUMN_BLOCKS;
        output = others % O_BLOCKS * BO, channel = others / O_BLOCKS * CB;
    }
};

// Its shared memory: BUFFERS of everything that is multiplied.
struct Memory {
    int capacity;                     // words of an input tile
    u32 *input_tiles, *grads;         // a tile of g is (BM, BO)
    int* places;                      // where a pixel's window begins in its input tile
    u32 *raw_input_tile, *raw_grads;  // PACKED: floats, as they arrive

    __device__ Memory(void* memory, int capacity)
        : capacity(capacity), input_tiles((u32*)memory), grads(input_tiles + BUFFERS * capacity),
          places((int*)(grads + BUFFERS * BM * GRAD_STRIDE)),
          raw_input_tile((u32*)(places + BUFFERS * BM)),
          raw_grads(raw_input_tile + capacity / STRIDE * CB) {}
};

// --- a tile comes into shared memory -------------------------------------------------------------

struct Rows {
    int first, count;  // of the concatenated batch, what a tile reads
};

__device__ __forceinline__ Rows rows_of(int tile, const Work& work) {
    const int first = place(tile * BM, work.size).row;
    const int last = place(min(tile * BM + BM, work.pixels) - 1, work.size).row + (KH - 1) * DH;
    return {first, last - first + 1};
}

__device__ __forceinline__ void find_places(int* to, int tile, const Work& work) {
    const int first = rows_of(tile, work).first;
    for (int i = threadIdx.x; i < BM; i += THREADS) {
        Place at = place(min(tile * BM + i, work.pixels - 1), work.size);
        to[i] = ((at.row - first) * work.size.padded_width.value + at.column) * STRIDE;
    }
}

// Begins to copy a tile: it is there after copies_wait.
__device__ __forceinline__ void load_tile(const Memory& memory, int tile, int buffer,
                                          const Work& work) {
    const Rows rows = rows_of(tile, work);
    u32* input_tile =
        PACKED ? memory.raw_input_tile : memory.input_tiles + buffer * memory.capacity;
    copy_input_tile<PACKED ? CB : STRIDE>(input_tile, work.x, rows.first, rows.count, work.channel,
                                          work.size, threadIdx.x);
    u32* to = PACKED ? memory.raw_grads : memory.grads + buffer * BM * GRAD_STRIDE;
    constexpr int PIECES = BO / GRAD_VECTOR, APART = PACKED ? BO : GRAD_STRIDE;
    for (int i = threadIdx.x; i < BM * PIECES; i += THREADS) {
        int row = i / PIECES, o = i % PIECES * GRAD_VECTOR;
        bool wanted = tile * BM + row < work.pixels && work.output + o < OUTPUTS;
        const float* from = work.grad + (size_t)(tile * BM + row) * OUTPUTS + work.output + o;
        copy_async<GRAD_VECTOR>(to + row * APART + o, wanted ? from : work.grad, wanted);
    }
    if (!PACKED) find_places(memory.places + buffer * BM, tile, work);
    copies_end_group();
}

// A tile that has arrived, in pairs of bfloat16; adds up g as it passes by, of the same four
// channels every time.
__device__ __forceinline__ void pack_tile(const Memory& memory, int tile, const Work& work,
                                          float (&sums)[SUMS]) {
    constexpr int PIECES = CB / 4, GRAD_PIECES = BO / 4;  // of a pixel
    const int count = rows_of(tile, work).count * work.size.padded_width.value * PIECES;
#pragma unroll 4
    for (int i = threadIdx.x; i < count; i += THREADS) {
        const float4 v = ((const float4*)memory.raw_input_tile)[i];
        *(uint2*)(memory.input_tiles + i / PIECES * STRIDE + i % PIECES * 2) = {
            to_bf16(v.x, v.y), to_bf16(v.z, v.w)};
    }
#pragma unroll 4
    for (int i = threadIdx.x; i < BM * GRAD_PIECES; i += THREADS) {
        const float4 v = ((const float4*)memory.raw_grads)[i];
        *(uint2*)(memory.grads + i / GRAD_PIECES * GRAD_STRIDE + i % GRAD_PIECES * 2) = {
            to_bf16(v.x, v.y), to_bf16(v.z, v.w)};
        sums[0] += v.x, sums[1] += v.y, sums[2] += v.z, sums[3] += v.w;
    }
    find_places(memory.places, tile, work);
}

// --- its products, in each precision -------------------------------------------------------------

// Where in a window the columns of a thread's warp are, in words of the input tile.
__device__ __forceinline__ void find_columns(int (&columns)[NT], const Thread& thread,
                                             const Work& work) {
    const int wide = work.size.padded_width.value;
#pragma unroll
    for (int j = 0; j < NT; ++j) {
        int tile = (work.column_block * WARPS_N + thread.warp_n) * NT + j;
        // Of the two that load_transposed takes; columns[1], [3] ... are not read.
        if (PACKED) tile += thread.lane / 16;
        int tap = min(tile / (CB / 8), TAPS - 1), c = tile % (CB / 8) * 8;
        columns[j] = (tap / KW * DH * wide + tap % KW * DW) * STRIDE;
        columns[j] += PACKED ? c / 2 : PRECISION == 0 ? c + 2 * thread.t : c + thread.g;
    }
}

// acc += g transposed times windows, of a tile; sums += g, where pack_tile has not done it and they
// are wanted.
__device__ __forceinline__ void multiply_float32(float (&acc)[MT][NT][4], float (&sums)[SUMS],
                                                 const int (&columns)[NT], const Memory& memory,
                                                 int buffer, const Thread& thread,
                                                 bool sums_wanted) {
    const float* input_tile = (const float*)(memory.input_tiles + buffer * memory.capacity);
    const float* rows = (const float*)(memory.grads + buffer * BM * GRAD_STRIDE) +
                        thread.warp_o * MT * 16 + thread.g;
    const int* places = memory.places + buffer * BM;
    for (int k = 0; k < BM; ++k) {
        float a[2 * MT];
#pragma unroll
        for (int i = 0; i < 2 * MT; ++i) {
            a[i] = rows[k * GRAD_STRIDE + 8 * i];
            if (sums_wanted) sums[i] += a[i];
        }
        const float* pixel = input_tile + places[k];
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
}

__device__ __forceinline__ void multiply_tile_tf32(float (&acc)[MT][NT][4], float (&sums)[SUMS],
                                                   const int (&columns)[NT], const Memory& memory,
                                                   int buffer, const Thread& thread,
                                                   bool sums_wanted) {
    const float* input_tile = (const float*)(memory.input_tiles + buffer * memory.capacity);
    const float* rows = (const float*)(memory.grads + buffer * BM * GRAD_STRIDE) +
                        thread.warp_o * MT * 16 + thread.g;
    const int* places = memory.places + buffer * BM;
    const int t = thread.t;
#pragma unroll 2
    for (int k = 0; k < BM; k += 8) {
        float a[MT][4];
        const float* upper = rows + (k + t) * GRAD_STRIDE;
        const float* pixel[2] = {input_tile + places[k + t], input_tile + places[k + t + 4]};
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
}

__device__ __forceinline__ void multiply_tile_bf16(float (&acc)[MT][NT][4],
                                                   const int (&columns)[NT], const Memory& memory,
                                                   int buffer, const Thread& thread) {
    const u32* input_tile = memory.input_tiles + buffer * memory.capacity;
    const u32* grads = memory.grads + buffer * BM * GRAD_STRIDE;
    const int* places = memory.places + buffer * BM;
    const int lane = thread.lane;
#pragma unroll 2
    for (int k = 0; k < BM; k += 16) {
        u32 a[MT][4];
        const u32* row = grads + (k + lane / 16 * 8 + lane % 8) * GRAD_STRIDE + lane / 8 % 2 * 4;
        const u32* pixel = input_tile + places[k + lane % 16];
#pragma unroll
        for (int i = 0; i < MT; ++i)
            load_transposed(a[i], row + (thread.warp_o * MT + i) * 8, true);
#pragma unroll
        for (int j = 0; j < NT; j += 2) {
            u32 b[4];
            load_transposed(b, pixel + columns[j], j + 1 < NT);
#pragma unroll
            for (int n = 0; n < 2 && j + n < NT; ++n)
#pragma unroll
                for (int i = 0; i < MT; ++i) multiply_bf16_deep(acc[i][j + n], a[i], b + 2 * n);
        }
    }
}

// --- the block's sums ----------------------------------------------------------------------------

__device__ __forceinline__ void store_weight_sums(float* partial, const float (&acc)[MT][NT][4],
                                                  const Thread& thread, const Work& work) {
    float* out = partial + (size_t)blockIdx.x * OUTPUTS * TAPS * CHANNELS;
#pragma unroll
    for (int j = 0; j < NT; ++j) {
        const int tile = (work.column_block * WARPS_N + thread.warp_n) * NT + j;
        const int tap = tile / (CB / 8);
        const int c = work.channel + tile % (CB / 8) * 8 + 2 * thread.t;
        if (tap >= TAPS) continue;
#pragma unroll
        for (int i = 0; i < 2 * MT; ++i) {
            const int o = work.output + thread.warp_o * MT * 16 + i * 8 + thread.g;
            if (o >= OUTPUTS) continue;
            float* to = out + ((size_t)o * TAPS + tap) * CHANNELS + c;
            if (c < CHANNELS) to[0] = acc[i / 2][j][i % 2 * 2];
            if (c + 1 < CHANNELS) to[1] = acc[i / 2][j][i % 2 * 2 + 1];
        }
    }
}

// PACKED: all threads of the block have sums, of four channels from 4 * (their number % PIECES) on.
__device__ __forceinline__ void store_packed_bias_sums(float* bias_partial, float (&sums)[SUMS],
                                                       const Thread& thread, const Work& work) {
    constexpr int PIECES = BO / 4;
    __shared__ float of_warps[WARPS][BO];
#pragma unroll
    for (int k = 0; k < 4; ++k) {
        for (int apart = 16; apart >= PIECES; apart /= 2)
            sums[k] += __shfl_xor_sync(0xffffffffu, sums[k], apart);
        if (thread.lane < PIECES) of_warps[threadIdx.x / 32][thread.lane * 4 + k] = sums[k];
    }
    __syncthreads();
    const int o = threadIdx.x;
    if (o >= BO || work.output + o >= OUTPUTS) return;
    float sum = 0;
    for (int warp = 0; warp < WARPS; ++warp) sum += of_warps[warp][o];
    bias_partial[(size_t)blockIdx.x * OUTPUTS + work.output + o] = sum;
}

__device__ __forceinline__ void store_bias_sums(float* bias_partial, const float (&sums)[SUMS],
                                                const Thread& thread, const Work& work) {
#pragma unroll
    for (int i = 0; i < 2 * MT; ++i) {
        float sum = sums[i];
        if (PRECISION == 1) {  // each of the four lanes has seen a quarter of the pixels
            sum += __shfl_xor_sync(0xffffffffu, sum, 1);
            sum += __shfl_xor_sync(0xffffffffu, sum, 2);
        }
        const int o = work.output + thread.warp_o * MT * 16 + i * 8 + thread.g;
        if (thread.t == 0 && o < OUTPUTS) bias_partial[(size_t)blockIdx.x * OUTPUTS + o] = sum;
    }
}

// --- the kernel ----------------------------------------------------------------------------------

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    conv_wgrad(const float* __restrict__ x, const float* __restrict__ grad,
               float* __restrict__ partial, float* __restrict__ bias_partial, int images,
               int height, int width, int out_height, int out_width, int pixels, int tiles,
               int capacity) {
    extern __shared__ float4 shared[];
    const Memory memory(shared, capacity);
    const Sizes size(images, height, width, out_height, out_width);
    const Work work(x, grad, size, pixels);
    const Thread thread;
    int columns[NT];
    find_columns(columns, thread, work);
    float acc[MT][NT][4] = {};
    float sums[SUMS] = {};
    const bool first = work.column_block == 0 && work.channel == 0;  // of those with this g
    const bool sums_wanted = first && thread.warp_n == 0;

    if (blockIdx.x < tiles) load_tile(memory, blockIdx.x, 0, work);
    int buffer = 0;
    for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        copies_wait();
        __syncthreads();
        const int next = tile + gridDim.x;
        if (PACKED) {
            pack_tile(memory, tile, work, sums);
            __syncthreads();
        }
        if (EARLY && next < tiles) load_tile(memory, next, buffer ^ 1, work);
        if (PRECISION == 0)
            multiply_float32(acc, sums, columns, memory, buffer, thread, sums_wanted);
        else if (PRECISION == 1)
            multiply_tile_tf32(acc, sums, columns, memory, buffer, thread, sums_wanted);
        else
            multiply_tile_bf16(acc, columns, memory, buffer, thread);
        if (!EARLY) {
            __syncthreads();
            if (next < tiles) load_tile(memory, next, 0, work);
        }
        buffer ^= BUFFERS - 1;
    }

    store_weight_sums(partial, acc, thread, work);
    if (PACKED) {
        if (first) store_packed_bias_sums(bias_partial, sums, thread, work);
    } else {
        if (sums_wanted) store_bias_sums(bias_partial, sums, thread, work);
    }
}

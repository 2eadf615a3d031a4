// Convolution as an implicit matrix product: y (pixels, O) = windows of x (pixels, taps * C) times
// weights, with bias, ReLU and 2 x 2 max-pool done before anything is stored. With FLIP it is the
// input gradient of a convolution with stride 1: the same product with the weights turned round.
// Arrays are N, H, W, C in memory. See tiles.cu for the input tile.
//
// A block keeps its weights in shared memory. Its CONSUMERS, of THREADS threads each, walk over the
// tiles, each for itself and with an input tile of its own: while one copies or stores, the other
// multiplies. (So do two blocks of a multiprocessor, BLOCKS 2, where there is memory for their
// weights.) Channels are worked on CB at a time; where the weights of all of them are too many to
// stay (RESIDENT 0), they are fetched every time. Warps of a consumer: WARPS_M times
// WARPS / WARPS_M, each with 32 pixels and 8 * NT of the BN output channels. How weights lie in
// shared memory, and how they are multiplied, is said by the file that is compiled behind this one:
// mma.cu or, for Hopper's tensor cores, wgmma.cu.

constexpr int ALL_THREADS = THREADS * CONSUMERS;
constexpr int WARPS_N = WARPS / WARPS_M;
constexpr int BN = WARPS_N * NT * 8;
constexpr int CHUNKS = (CHANNELS + CB - 1) / CB;
constexpr int EACH = PRECISION == 2 ? 2 : 1;  // channels of a word
constexpr int WORDS = CB / EACH;              // of a pixel
static_assert(BM == WARPS_M * MT * 16, "tile");
static_assert(RESIDENT || CONSUMERS == 1, "one consumer cannot change the other's weights");

// Where word `word` (of CB channels) of a tap and output channel lies among the CHUNK words that
// weights take in shared memory; and what has to follow their storing, before the barrier.
__device__ __forceinline__ int place_of_weight(int o, int word, int tap);
__device__ __forceinline__ void weights_are_stored();

// acc = the input tile's pixels at `rows` (2 * MT of them, in words) times such weights, of which
// the warp takes its 8 * NT output channels; plus what acc was, unless it is `fresh`.
__device__ __forceinline__ void multiply_input_tile(float (*acc)[NT][4], const u32* input_tile,
                                                    const int* rows, const u32* weights,
                                                    int warp_n, int wide, bool fresh);

// A word of weights: of output channel o and the EACH channels from c on. w is (O, C, taps), or
// with FLIP (C, O, taps).
struct Weight {
    float at[EACH];
    __device__ __forceinline__ Weight(const float* w, int o, int c, int tap) {
#pragma unroll
        for (int k = 0; k < EACH; ++k) {
            const size_t pair = FLIP ? (size_t)(c + k) * OUTPUTS + o : (size_t)o * CHANNELS + c + k;
            const bool there = o < OUTPUTS && c + k < CHANNELS && tap < TAPS;
            at[k] = there ? w[pair * TAPS + (FLIP ? TAPS - 1 - tap : tap)] : 0;
        }
    }
    __device__ __forceinline__ Weight() {}
    __device__ __forceinline__ u32 packed() const {
        if (PRECISION == 2) return to_bf16(at[0], at[EACH - 1]);
        return __float_as_uint(PRECISION == 1 ? to_tf32(at[0]) : at[0]);
    }
};

// The weights of BN output channels from `output` on, all taps and CB channels from `channel` on,
// zeros beyond the last. A warp takes an output channel: eight lanes neighbouring taps, neighbours
// in w too, four times eight every second of eight words. All offsets but the lane's own are
// constants.
__device__ __forceinline__ void load_weights(u32* weights, const float* w, int output,
                                             int channel) {
    constexpr int TAP_ROUNDS = (TAPS + 7) / 8, ALL = TAP_ROUNDS * ((WORDS + 7) / 8 * 2);
    constexpr int AHEAD = 16 / EACH;  // words that a lane reads together
    const int lane = threadIdx.x % 32;
#pragma unroll(ALL < AHEAD ? AHEAD / ALL : 1)
    for (int o = threadIdx.x / 32; o < BN; o += ALL_THREADS / 32) {
#pragma unroll
        for (int from = 0; from < ALL; from += AHEAD) {
            Weight read[AHEAD];
#pragma unroll
            for (int a = 0; a < AHEAD; ++a) {
                const int half = (from + a) / TAP_ROUNDS,
                          tap = (from + a) % TAP_ROUNDS * 8 + lane % 8;
                const int word = half / 2 * 8 + lane / 8 * 2 + half % 2;
                if (from + a < ALL) read[a] = Weight(w, output + o, channel + word * EACH, tap);
            }
#pragma unroll
            for (int a = 0; a < AHEAD; ++a) {
                const int half = (from + a) / TAP_ROUNDS,
                          tap = (from + a) % TAP_ROUNDS * 8 + lane % 8;
                const int word = half / 2 * 8 + lane / 8 * 2 + half % 2;
                if (from + a < ALL && tap < TAPS && word < WORDS)
                    weights[place_of_weight(o, word, tap)] = read[a].packed();
            }
        }
    }
    weights_are_stored();
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
    Eight eight;
    if (LENGTH % 4 == 0) {
#pragma unroll
        for (int k = 0; k < 8; k += 4) {
            const float4 four = k < there ? *(const float4*)(from + k) : make_float4(0, 0, 0, 0);
            eight.at[k] = four.x, eight.at[k + 1] = four.y, eight.at[k + 2] = four.z,
            eight.at[k + 3] = four.w;
        }
    } else {
#pragma unroll
        for (int k = 0; k < 8; ++k) eight.at[k] = k < there ? from[k] : 0;
    }
    return eight;
}

// As copy_input_tile, but in bfloat16, and there at once.
__device__ __forceinline__ void pack_input_tile(u32* input_tile, const float* x, int first,
                                                int rows, int channel, const Sizes& size,
                                                int thread) {
    constexpr int PIECES = CB / 8, AHEAD = 4;  // a thread reads so many pieces of eight together
    const int count = rows * size.padded_width.value * PIECES;
    for (int start = thread; start < count; start += AHEAD * THREADS) {
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
            if (i < count)
                *(uint4*)(input_tile + i / PIECES * STRIDE + i % PIECES * 4) = values[a].packed();
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

// A barrier of the threads of one consumer.
__device__ __forceinline__ void consumer_sync(int consumer) {
    if (CONSUMERS == 1)
        __syncthreads();
    else
        asm volatile("bar.sync %0, %1;" ::"r"(consumer + 1), "n"(THREADS) : "memory");
}

#if FLIP
#define KERNEL conv_dgrad
#else
#define KERNEL conv_fprop
#endif

// y (N, OH, OW, O) = windows of x (N, H, W, C) times w (O, C, taps) + bias (O,), then ReLU and
// pool; argmax is the pool's, MASKED where ReLU lets no gradient through.
extern "C" __global__ void __launch_bounds__(ALL_THREADS, BLOCKS)
    KERNEL(const float* __restrict__ x, const float* __restrict__ w,
           const float* __restrict__ bias, float* __restrict__ y, u8* __restrict__ argmax,
           int images, int height, int width, int out_height, int out_width, int pixels, int tiles,
           int capacity) {
    extern __shared__ float4 memory[];
    __shared__ float biases[BN];
    u32* weights = (u32*)memory;
    u32* input_tiles = weights + (RESIDENT ? CHUNKS : 1) * CHUNK;
    const Sizes size(images, height, width, out_height, out_width);
    const int wide = size.padded_width.value;
    const int consumer = threadIdx.x / THREADS, thread = threadIdx.x % THREADS;
    const int g = thread % 32 / 4, t = thread % 4;
    const int warp_m = thread / 32 % WARPS_M, warp_n = thread / 32 / WARPS_M;
    const int output = blockIdx.y * BN;

    auto first_row = [&](int tile) { return place(tile * BM, size).row; };
    u32* input_tile = input_tiles + consumer * capacity;
    auto load = [&](int tile, int chunk) {
        int first = first_row(tile);
        int rows = place(last_pixel(tile, pixels), size).row + (KH - 1) * DH - first + 1;
        if (PRECISION == 2) {
            pack_input_tile(input_tile, x, first, rows, chunk * CB, size, thread);
        } else {
            copy_input_tile<STRIDE>(input_tile, x, first, rows, chunk * CB, size, thread);
            copies_end_group();
        }
    };

    float acc[MT][NT][4] = {};
    // A block's second consumer begins where all first ones end: few tiles spread over all blocks.
    const int start = blockIdx.x + consumer * gridDim.x, step = gridDim.x * CONSUMERS;
    if (start < tiles) load(start, 0);
    if (RESIDENT)
        for (int chunk = 0; chunk < CHUNKS; ++chunk)
            load_weights(weights + chunk * CHUNK, w, output, chunk * CB);

    for (int i = threadIdx.x; i < BN; i += ALL_THREADS)
        biases[i] = BIAS && output + i < OUTPUTS ? bias[output + i] : 0;
    __syncthreads();

    for (int tile = start; tile < tiles; tile += step) {
        int rows[2 * MT];
        const int first = first_row(tile);
#pragma unroll
        for (int i = 0; i < 2 * MT; ++i) {
            int pixel = tile * BM + warp_m * MT * 16 + i * 8 + g;
            Place at = place(inside(pixel, tile, pixels), size);
            rows[i] = ((at.row - first) * wide + at.column) * STRIDE;
        }
        for (int chunk = 0; chunk < CHUNKS; ++chunk) {
            if (!RESIDENT) load_weights(weights, w, output, chunk * CB);
            copies_wait();
            consumer_sync(consumer);  // the input tile is there
            multiply_input_tile(acc, input_tile, rows, weights + (RESIDENT ? chunk * CHUNK : 0),
                                warp_n, wide, chunk == 0);
            consumer_sync(consumer);  // nobody reads it any more
            const bool same_tile = chunk + 1 < CHUNKS;
            const int next = same_tile ? tile : tile + step;
            if (next < tiles) load(next, same_tile ? chunk + 1 : 0);
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
                    if (RELU && best[k] <= 0) from[k] = MASKED;
                }
                const int window = window_of(tile * BM + warp_m * MT * 16 + g);
                if (4 * window < pixels) {
                    const size_t at = (size_t)window * OUTPUTS + o;
                    store_pair<u8>(argmax + at, from[0], from[1], o);
                    store_pair<float>(y + at, activated(best[0]), activated(best[1]), o);
                }
            } else {
#pragma unroll
                for (int i = 0; i < 2 * MT; ++i) {
                    const int pixel = tile * BM + warp_m * MT * 16 + i * 8 + g;
                    const float* sum = acc[i / 2][j] + i % 2 * 2;
                    if (pixel < pixels)
                        store_pair<float>(y + (size_t)pixel * OUTPUTS + o,
                                          activated(sum[0] + add.x), activated(sum[1] + add.y), o);
                }
            }
        }
    }
}

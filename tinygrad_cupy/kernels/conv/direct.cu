// Direct convolution and, with the kernel turned, its gradient by the input: y = windows of x times
// w. See direct_tiles.cu.
//
// Macros besides: BIAS whether one is added; TURNED whether w is that of the convolution whose
// gradient this is, (G * CHANNELS, OUTPUTS, taps).
//
// A warp has MT tiles of 16 places of the box and NT of 8 output channels; a lane sums up places g
// and g + 8 of each by channels 2t and 2t + 1 (g = lane / 4, t = lane % 4), as mma.sync does.

constexpr int DEEP = (DEPTH + 7) / 8 * 8;
constexpr int WEIGHT_PITCH = NB % 16 == 8 ? NB : NB + 8;  // four rows are in different banks

// (DEEP, WEIGHT_PITCH), channels from `channel` and outputs from `first` on; zeros for no channel.
__device__ __forceinline__ void load_weights(A* to, const T* __restrict__ w, int group, int first,
                                             int channel) {
    for (int i = threadIdx.x; i < NB * DEPTH; i += THREADS) {
        const int tap = i % TAPS, c = i / TAPS % CB, n = i / DEPTH;
        const int from = channel + c, o = first + n;
        const i64 row = TURNED ? ((i64)group * CHANNELS + from) * OUTPUTS + o
                               : ((i64)group * OUTPUTS + o) * CHANNELS + from;
        const bool wanted = o < OUTPUTS && from < CHANNELS;
        to[(tap * CB + c) * WEIGHT_PITCH + n] =
            wanted ? operand(w[row * TAPS + (TURNED ? TAPS - 1 - tap : tap)]) : (A)0;
    }
    for (int i = threadIdx.x; i < NB * (DEEP - DEPTH); i += THREADS)
        to[(DEPTH + i / NB) * WEIGHT_PITCH + i % NB] = 0;
}

// acc += a chunk's products; `rows`: where the lane's places begin in `input`.
__device__ __forceinline__ void add_products(A (*acc)[NT][4], const A* input, const A* weights,
                                             const int* reach, const int* rows, int g, int t) {
#if MMA
#pragma unroll 2
    for (int k = 0; k < DEEP; k += 8) {
        const int near = reach[k + t], far = reach[k + t + 4];
        // The last may be no products: what is read then may be anything, NaN too.
        const bool one = DEPTH % 8 == 0 || k + t < DEPTH;
        const bool other = DEPTH % 8 == 0 || k + t + 4 < DEPTH;
        float b[NT][2];
#pragma unroll
        for (int j = 0; j < NT; ++j) {
            b[j][0] = weights[(k + t) * WEIGHT_PITCH + 8 * j + g];
            b[j][1] = weights[(k + t + 4) * WEIGHT_PITCH + 8 * j + g];
        }
#pragma unroll
        for (int i = 0; i < MT; ++i) {
            const float a[4] = {one ? input[rows[2 * i] + near] : 0,
                                one ? input[rows[2 * i + 1] + near] : 0,
                                other ? input[rows[2 * i] + far] : 0,
                                other ? input[rows[2 * i + 1] + far] : 0};
#pragma unroll
            for (int j = 0; j < NT; ++j) multiply(acc[i][j], a, b[j]);
        }
    }
#else
#pragma unroll 2
    for (int k = 0; k < DEPTH; ++k) {
        const int at = reach[k];
        A a[2 * MT];
#pragma unroll
        for (int i = 0; i < 2 * MT; ++i) a[i] = input[rows[i] + at];
#pragma unroll
        for (int j = 0; j < NT; ++j) {
            const Pair b = *(const Pair*)(weights + k * WEIGHT_PITCH + 8 * j + 2 * t);
#pragma unroll
            for (int i = 0; i < 2 * MT; ++i) {
                acc[i / 2][j][i % 2 * 2] += a[i] * b.x;
                acc[i / 2][j][i % 2 * 2 + 1] += a[i] * b.y;
            }
        }
    }
#endif
}

extern "C" __global__ void __launch_bounds__(THREADS)
    conv_direct(const T* __restrict__ x, const T* __restrict__ w, const T* __restrict__ bias,
                T* __restrict__ y, const Sizes s) {
    extern __shared__ __align__(16) char memory[];
    A* input = (A*)memory;
    A* weights = input + CB * s.pitch;
    int* reach = (int*)(weights + DEEP * WEIGHT_PITCH);
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
    const int group = blockIdx.y / BLOCKS_OF_OUTPUTS, first = blockIdx.y % BLOCKS_OF_OUTPUTS * NB;
    const int volume = s.box[0] * s.box[1] * s.box[2] * s.box[3];
    const i64 apart = (i64)s.out[0] * s.out[1] * s.out[2];

    for (int k = threadIdx.x; k < DEEP; k += THREADS) reach[k] = k < DEPTH ? reach_of(k, s) : 0;
    int rows[2 * MT];
#pragma unroll
    for (int i = 0; i < 2 * MT; ++i) {
        const int m = warp * MT * 16 + 8 * i + g;
        rows[i] = m < volume ? begin_of(place_in(m, s.box[1], s.box[2], s.box[3]), s) : 0;
    }
    if (CHUNKS == 1) load_weights(weights, w, group, first, 0);

    for (int number = blockIdx.x; number < s.all_tiles; number += gridDim.x) {
        const Place tile = tile_at(number, s);
        A acc[MT][NT][4] = {};
        for (int chunk = 0; chunk < CHUNKS; ++chunk) {
            __syncthreads();  // all have read what is here
            if (CHUNKS > 1) load_weights(weights, w, group, first, chunk * CB);
            load_input(input, x, tile, s, group, chunk * CB);
            __syncthreads();
            add_products(acc, input, weights, reach, rows, g, t);
        }
#pragma unroll
        for (int i = 0; i < 2 * MT; ++i) {
            const int m = warp * MT * 16 + 8 * i + g;
            const Place at = place_in(m, s.box[1], s.box[2], s.box[3]);
            const int n = tile.n + at.n, d = tile.d + at.d, h = tile.h + at.h, v = tile.w + at.w;
            if (m >= volume || n >= s.images || d >= s.out[0] || h >= s.out[1] || v >= s.out[2])
                continue;
            const i64 o = (i64)group * OUTPUTS + first + 2 * t;
            T* to = y + ((i64)n * s.groups * OUTPUTS + o) * apart +
                    ((i64)d * s.out[1] + h) * s.out[2] + v;
#pragma unroll
            for (int j = 0; j < NT; ++j)
#pragma unroll
                for (int e = 0; e < 2; ++e)
                    if (first + 8 * j + 2 * t + e < OUTPUTS) {
                        A sum = acc[i / 2][j][i % 2 * 2 + e];
                        if (BIAS) sum += (A)bias[o + 8 * j + e];
                        to[(8 * j + e) * apart] = (T)sum;
                    }
        }
    }
}

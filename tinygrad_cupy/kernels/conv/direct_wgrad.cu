// The gradient of direct convolution by its weight: sums over all places of x times g. See
// direct_tiles.cu.
//
// Macros besides: BM places of a box at most; WM warps side by side over the rows of the result,
// which are the products of a chunk (taps before channels): the others share the places.
//
// A block walks over boxes and keeps its sums in registers: MT tiles of 16 rows by NT of 8 output
// channels for each warp. At the end it writes them to partial (parts, O, taps, C), which
// direct_sum.cu adds up in a fixed order.

constexpr int WK = THREADS / 32 / WM;
constexpr int GRAD_PITCH = BM + 4;  // eight rows of four words are in different banks

// The gradient's places of a box that is cut to (n, d, h, w), `count` of them, filled up with zeros
// to a multiple of eight; and where each begins in the input.
__device__ __forceinline__ void load_gradient(A* to, int* begin, const T* __restrict__ g,
                                              const Place& tile, const Place& box, int count,
                                              const Sizes& s, int group, int first) {
    const i64 apart = (i64)s.out[0] * s.out[1] * s.out[2];
    const int deep = (count + 7) / 8 * 8;
    for (int m = threadIdx.x; m < deep; m += THREADS) {
        const Place at = place_in(m, box.d, box.h, box.w);
        const bool is_place = m < count;
        begin[m] = is_place ? begin_of(at, s) : 0;
        const i64 o = ((i64)(tile.n + at.n) * s.groups + group) * OUTPUTS + first;
        const T* from = g + o * apart +
                        ((i64)(tile.d + at.d) * s.out[1] + tile.h + at.h) * s.out[2] + tile.w +
                        at.w;
#pragma unroll 8
        for (int n = 0; n < NB; ++n) {
            const bool wanted = is_place && (OUTPUTS % NB == 0 || first + n < OUTPUTS);
            to[n * GRAD_PITCH + m] = wanted ? operand(from[n * apart]) : (A)0;
        }
    }
}

// acc += the sums over a box, of the places that are this warp's.
__device__ __forceinline__ void add_sums(A (*acc)[NT][4], const A* input, const A* grad,
                                         const int* begin, const int* rows, int count, int share,
                                         int g, int t) {
#if MMA
    for (int k = 8 * share; k < count; k += 8 * WK) {
        const int near = begin[k + t], far = begin[k + t + 4];
        const bool one = k + t < count, other = k + t + 4 < count;
        float b[NT][2];
#pragma unroll
        for (int j = 0; j < NT; ++j) {
            b[j][0] = grad[(8 * j + g) * GRAD_PITCH + k + t];
            b[j][1] = grad[(8 * j + g) * GRAD_PITCH + k + t + 4];
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
    for (int from = 8 * share; from < count; from += 8 * WK) {
        const int end = min(from + 8, count);
#pragma unroll 2
        for (int k = from; k < end; ++k) {
            const int at = begin[k];
            A a[2 * MT];
#pragma unroll
            for (int i = 0; i < 2 * MT; ++i) a[i] = input[rows[i] + at];
#pragma unroll
            for (int j = 0; j < NT; ++j)
#pragma unroll
                for (int e = 0; e < 2; ++e) {
                    const A b = grad[(8 * j + 2 * t + e) * GRAD_PITCH + k];
#pragma unroll
                    for (int i = 0; i < 2 * MT; ++i) acc[i / 2][j][i % 2 * 2 + e] += a[i] * b;
                }
        }
    }
#endif
}

extern "C" __global__ void __launch_bounds__(THREADS)
    conv_direct_wgrad(const T* __restrict__ x, const T* __restrict__ g, A* __restrict__ partial,
                      const Sizes s) {
    extern __shared__ __align__(16) char memory[];
    A* input = (A*)memory;
    A* grad = input + CB * s.pitch;
    int* begin = (int*)(grad + NB * GRAD_PITCH);
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int g8 = lane / 4, t = lane % 4, side = warp % WM, share = warp / WM;
    const int chunk = blockIdx.y % CHUNKS, of_outputs = blockIdx.y / CHUNKS;
    const int group = of_outputs / BLOCKS_OF_OUTPUTS, first = of_outputs % BLOCKS_OF_OUTPUTS * NB;

    int rows[2 * MT];
#pragma unroll
    for (int i = 0; i < 2 * MT; ++i) {
        const int k = side * MT * 16 + 8 * i + g8;
        rows[i] = k < DEPTH ? reach_of(k, s) : 0;
    }
    A acc[MT][NT][4] = {};
    for (int number = blockIdx.x; number < s.all_tiles; number += gridDim.x) {
        const Place tile = tile_at(number, s);
        const Place box = {min(s.box[0], s.images - tile.n), min(s.box[1], s.out[0] - tile.d),
                           min(s.box[2], s.out[1] - tile.h), min(s.box[3], s.out[2] - tile.w)};
        const int count = box.n * box.d * box.h * box.w;
        __syncthreads();  // all have read what is here
        load_input(input, x, tile, s, group, chunk * CB);
        load_gradient(grad, begin, g, tile, box, count, s, group, first);
        __syncthreads();
        add_sums(acc, input, grad, begin, rows, count, share, g8, t);
    }

    // The warps that share places, one after the other: the first adds the others' sums to its own.
    A* sums = (A*)memory;  // (rows, NB)
    for (int other = 1; other < WK; ++other) {
        __syncthreads();
        if (share == other)
#pragma unroll
            for (int i = 0; i < 2 * MT; ++i)
#pragma unroll
                for (int j = 0; j < NT; ++j) {
                    const int row = side * MT * 16 + 8 * i + g8;
                    *(Pair*)(sums + row * NB + 8 * j + 2 * t) = {acc[i / 2][j][i % 2 * 2],
                                                                acc[i / 2][j][i % 2 * 2 + 1]};
                }
        __syncthreads();
        if (share == 0)
#pragma unroll
            for (int i = 0; i < 2 * MT; ++i)
#pragma unroll
                for (int j = 0; j < NT; ++j) {
                    const int row = side * MT * 16 + 8 * i + g8;
                    const Pair more = *(const Pair*)(sums + row * NB + 8 * j + 2 * t);
                    acc[i / 2][j][i % 2 * 2] += more.x;
                    acc[i / 2][j][i % 2 * 2 + 1] += more.y;
                }
    }
    if (share) return;
    const i64 part = (i64)blockIdx.x * s.groups * OUTPUTS;
#pragma unroll
    for (int i = 0; i < 2 * MT; ++i) {
        const int k = side * MT * 16 + 8 * i + g8, c = chunk * CB + k % CB;
        if (k >= DEPTH || c >= CHANNELS) continue;
#pragma unroll
        for (int j = 0; j < NT; ++j)
#pragma unroll
            for (int e = 0; e < 2; ++e) {
                const int o = first + 8 * j + 2 * t + e;
                if (o < OUTPUTS)
                    partial[((part + group * OUTPUTS + o) * TAPS + k / CB) * CHANNELS + c] =
                        acc[i / 2][j][i % 2 * 2 + e];
            }
    }
}

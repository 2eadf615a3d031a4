// fprop and dgrad of depthwise convolution, which gather what lies around a pixel: depthwise.cuh.
//
// `from` and `to` are x and y, or with FLIP g and dx. With a stride, dx falls into phases by the
// taps that its pixels meet: a tile begins with the first of them, so that the compiler knows which
// taps a pixel of the tile meets.
//
// Macros: FLIP; BIAS, RELU of y; PLAIN: pixel by pixel, for what is too large to be written out.

constexpr int TAPS = KH * KW;
constexpr int COPIES = FLIP ? MULTIPLIER : 1;  // channels of `from` that one of `to` is made of

// What is done to a sum before it is stored.
__device__ __forceinline__ A finished(A sum, A bias) {
    sum += bias;
    return RELU && sum < 0 ? 0 : sum;  // NaN stays NaN
}

__device__ __forceinline__ void store_pixel(T* to, const A (&sums)[WIDTH],
                                            const A (&bias)[WIDTH]) {
    Pack<T> values;
#pragma unroll
    for (int k = 0; k < WIDTH; ++k) values.at[k] = (T)finished(sums[k], bias[k]);
    store(to, values);
}

// Channel of `from` and of the weight, copy m, of channel c of `to`.
__device__ __forceinline__ int from_channel(int c, int m) {
    return FLIP ? c * MULTIPLIER + m : c / MULTIPLIER;
}
__device__ __forceinline__ int weight_channel(int c, int m) {
    return FLIP ? c * MULTIPLIER + m : c;
}

#if PLAIN
// The place of `from` of pixel i and tap k along an axis, and whether there is one.
__device__ __forceinline__ bool find(int& place, int i, int k, int stride, int dilation, int pad,
                                     int size) {
    if (FLIP) {
        const int steps = i + pad - k * dilation;
        place = steps / stride;
        return steps >= 0 && steps % stride == 0 && place < size;
    }
    place = i * stride - pad + k * dilation;
    return place >= 0 && place < size;
}

__device__ __forceinline__ void gather(const T* from, const T* weight, T* to, const Images& source,
                                       const Images& result, const Tile& tile, int pad_h, int pad_w,
                                       const Thread& thread, const A (&bias)[WIDTH]) {
    if (!thread.there) return;
    A sums[WIDTH] = {};
    for (int m = 0; m < COPIES; ++m) {
        const int c = from_channel(thread.channel, m);
        const T* taps = weight + (i64)weight_channel(thread.channel, m) * TAPS;
        for (int kh = 0; kh < KH; ++kh) {
            int row, column;
            if (!find(row, tile.down, kh, SH, DH, pad_h, source.height)) continue;
            for (int kw = 0; kw < KW; ++kw) {
                if (!find(column, tile.across, kw, SW, DW, pad_w, source.width)) continue;
                A pixel[WIDTH];
                load_pixel(pixel, from + source.at(tile.image, row, column, c), true);
#pragma unroll
                for (int k = 0; k < WIDTH; ++k)
                    sums[k] += (A)taps[k * TAPS + kh * KW + kw] * pixel[k];
            }
        }
    }
    store_pixel(to + result.at(tile.image, tile.down, tile.across, thread.channel), sums, bias);
}
#else
// How far before a tile of dx its pixels of g begin, and how many rows and columns of `from` a
// tile meets.
constexpr int BACK_H = (KH - 1) * DH / SH, BACK_W = (KW - 1) * DW / SW;
constexpr int HIGH = FLIP ? (ROWS - 1) / SH + BACK_H + 1 : (ROWS - 1) * SH + (KH - 1) * DH + 1;
constexpr int WIDE = FLIP ? (COLUMNS - 1) / SW + BACK_W + 1
                          : (COLUMNS - 1) * SW + (KW - 1) * DW + 1;

// Which of the places of `from` that a tile meets is that of pixel i and tap k, along an axis; -1
// where there is none.
__device__ __forceinline__ constexpr int met(int i, int k, int stride, int dilation, int back) {
    const int steps = FLIP ? i - k * dilation + back * stride : i * stride + k * dilation;
    return !FLIP ? steps : steps % stride ? -1 : steps / stride;
}

// The last row of `from` that row i of a tile meets, 0 where it meets none.
__device__ __forceinline__ constexpr int last_met(int i) {
    int last = 0;
    for (int k = 0; k < KH; ++k) {
        const int row = met(i, k, SH, DH, BACK_H);
        last = row > last ? row : last;
    }
    return last;
}

// weights (taps, LANES * WIDTH) in shared memory: those of the block's channels, copy m.
__device__ __forceinline__ void load_weights(A* weights, const T* weight, int lanes, int channels,
                                             const Thread& thread, int m) {
    for (int i = threadIdx.x; i < lanes * WIDTH * TAPS; i += THREADS) {
        const int c = i / TAPS, tap = i - c * TAPS;
        if (thread.first + c < channels) {
            weights[tap * LANES * WIDTH + c] =
                (A)weight[(i64)weight_channel(thread.first + c, m) * TAPS + tap];
        }
    }
}

__device__ __forceinline__ void gather(const T* from, const T* weight, T* to, const Images& source,
                                       const Images& result, const Tile& tile, int pad_h, int pad_w,
                                       const Thread& thread, const A (&bias)[WIDTH], A* weights,
                                       int lanes) {
    // The tile's first pixel, and the first that it meets.
    const int row = tile.down * ROWS - (FLIP ? pad_h % SH : 0);
    const int column = tile.across * COLUMNS - (FLIP ? pad_w % SW : 0);
    const int top = FLIP ? (row + pad_h) / SH - BACK_H : row * SH - pad_h;
    const int left = FLIP ? (column + pad_w) / SW - BACK_W : column * SW - pad_w;
    A sums[ROWS][COLUMNS][WIDTH] = {};
#pragma unroll 1
    for (int m = 0; m < COPIES; ++m) {
        if (m) __syncthreads();
        load_weights(weights, weight, lanes, result.channels, thread, m);
        __syncthreads();
        if (!thread.there) continue;
        const A* own = weights + thread.lane * WIDTH;
        const T* line = from + source.at(tile.image, top, left, from_channel(thread.channel, m));
#pragma unroll
        for (int r = 0; r < HIGH; ++r) {
            A pixels[WIDE][WIDTH];
            const bool inside = top + r >= 0 && top + r < source.height;
#pragma unroll
            for (int j = 0; j < WIDE; ++j) {
                load_pixel(pixels[j], line + j * source.channels,
                           inside && left + j >= 0 && left + j < source.width);
            }
            line += (i64)source.width * source.channels;
#pragma unroll
            for (int i = 0; i < ROWS; ++i) {
#pragma unroll
                for (int kh = 0; kh < KH; ++kh) {
                    if (met(i, kh, SH, DH, BACK_H) != r) continue;
#pragma unroll
                    for (int kw = 0; kw < KW; ++kw) {
                        const Pack<A> tap = load(own + (kh * KW + kw) * LANES * WIDTH);
#pragma unroll
                        for (int j = 0; j < COLUMNS; ++j) {
                            const int place = met(j, kw, SW, DW, BACK_W);
                            if (place < 0) continue;
#pragma unroll
                            for (int k = 0; k < WIDTH; ++k)
                                sums[i][j][k] += tap.at[k] * pixels[place][k];
                        }
                    }
                }
                if (m < COPIES - 1 || last_met(i) != r) continue;
                const bool stored = row + i >= 0 && row + i < result.height;
#pragma unroll
                for (int j = 0; j < COLUMNS; ++j) {
                    if (stored && column + j >= 0 && column + j < result.width) {
                        store_pixel(
                            to + result.at(tile.image, row + i, column + j, thread.channel),
                            sums[i][j], bias);
                    }
                }
            }
        }
    }
}
#endif

extern "C" __global__ void __launch_bounds__(THREADS, 2)
    conv_depthwise(const T* __restrict__ from, const T* __restrict__ weight,
                   const T* __restrict__ bias, T* __restrict__ to, int tiles, int tiles_down,
                   int tiles_across, int from_height, int from_width, int from_channels, int height,
                   int width, int channels, int pad_h, int pad_w, int lanes) {
    Thread thread(lanes, channels);
    const int number = blockIdx.x * thread.places + thread.place;
    thread.there = thread.there && number < tiles;
    const Tile tile(number, tiles_down, tiles_across);
    const Images source = {from_height, from_width, from_channels};
    const Images result = {height, width, channels};
    A of_bias[WIDTH] = {};
    if (BIAS) load_pixel(of_bias, bias + thread.channel, thread.there);
#if PLAIN
    gather(from, weight, to, source, result, tile, pad_h, pad_w, thread, of_bias);
#else
    alignas(16) __shared__ A weights[TAPS * LANES * WIDTH];
    gather(from, weight, to, source, result, tile, pad_h, pad_w, thread, of_bias, weights, lanes);
#endif
}

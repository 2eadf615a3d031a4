// The weight gradient of depthwise convolution, and the bias gradient. See depthwise.cuh.
//
// A thread walks over tiles of g, with the sums of all taps of its channels in registers. Every
// block writes its own sums, those of its threads added up in order; conv_wgrad_reduce adds up the
// blocks'. Taps that are too many for registers are each a block's (blockIdx.z): KH and KW are then
// 1, and `kernel_width` and the dilations say where a tap is.

constexpr int TAPS = KH * KW;
constexpr int HIGH = (ROWS - 1) * SH + (KH - 1) * DH + 1;  // rows of x that a tile meets
constexpr int WIDE = (COLUMNS - 1) * SW + (KW - 1) * DW + 1;

// The sums of a block, of its threads' for one tap: out[c * apart] of channel c of the block.
__device__ __forceinline__ void store_sums(A* shared, A* out, int apart, const A (&sums)[WIDTH],
                                           const Thread& thread, int lanes, int channels) {
    Pack<A> own;
#pragma unroll
    for (int k = 0; k < WIDTH; ++k) own.at[k] = sums[k];
    __syncthreads();  // what was there before is added up
    store(shared + threadIdx.x * WIDTH, own);
    __syncthreads();
    for (int c = threadIdx.x; c < lanes * WIDTH && thread.first + c < channels; c += THREADS) {
        A sum = 0;
        for (int place = 0; place < thread.places; ++place)
            sum += shared[place * lanes * WIDTH + c];
        out[(i64)c * apart] = sum;
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 2)
    conv_depthwise_wgrad(const T* __restrict__ x, const T* __restrict__ grad,
                         A* __restrict__ partial, A* __restrict__ bias_partial, int tiles,
                         int tiles_down, int tiles_across, int x_height, int x_width,
                         int x_channels, int height, int width, int channels, int pad_h, int pad_w,
                         int lanes, int kernel_width, int dilation_h, int dilation_w) {
    alignas(16) __shared__ A shared[THREADS * WIDTH];
    const Thread thread(lanes, channels);
    const Images images = {x_height, x_width, x_channels};
    const Images grads = {height, width, channels};
    const int tap_row = blockIdx.z / kernel_width, tap_column = blockIdx.z - tap_row * kernel_width;
    pad_h -= tap_row * dilation_h, pad_w -= tap_column * dilation_w;
    A sums[TAPS][WIDTH] = {};
    A bias_sums[WIDTH] = {};
    const int end = thread.there ? tiles : 0;
#pragma unroll 1
    for (int number = blockIdx.x * thread.places + thread.place; number < end;
         number += gridDim.x * thread.places) {
        const Tile tile(number, tiles_down, tiles_across);
        const int row = tile.down * ROWS, column = tile.across * COLUMNS;
        const int top = row * SH - pad_h, left = column * SW - pad_w;
        const T* line = x + images.at(tile.image, top, left, thread.channel / MULTIPLIER);
        const T* g_line = grad + grads.at(tile.image, row, column, thread.channel);
        A g[ROWS][COLUMNS][WIDTH];
#pragma unroll
        for (int r = 0; r < HIGH; ++r) {
            if (r % SH == 0 && r / SH < ROWS) {  // the first row of x that a row of g meets
                const int i = r / SH < ROWS ? r / SH : 0;
#pragma unroll
                for (int j = 0; j < COLUMNS; ++j) {
                    load_pixel(g[i][j], g_line + j * channels,
                               row + i < height && column + j < width);
#pragma unroll
                    for (int k = 0; k < WIDTH; ++k) bias_sums[k] += g[i][j][k];
                }
                g_line += (i64)width * channels;
            }
            A pixels[WIDE][WIDTH];
            const bool inside = top + r >= 0 && top + r < x_height;
#pragma unroll
            for (int j = 0; j < WIDE; ++j) {
                load_pixel(pixels[j], line + j * x_channels,
                           inside && left + j >= 0 && left + j < x_width);
            }
            line += (i64)x_width * x_channels;
#pragma unroll
            for (int i = 0; i < ROWS; ++i) {
#pragma unroll
                for (int kh = 0; kh < KH; ++kh) {
                    if (i * SH + kh * DH != r) continue;
#pragma unroll
                    for (int j = 0; j < COLUMNS; ++j) {
                        // Not 0 times what may be NaN: no window of g's is there.
                        if (row + i >= height || column + j >= width) continue;
#pragma unroll
                        for (int kw = 0; kw < KW; ++kw) {
#pragma unroll
                            for (int k = 0; k < WIDTH; ++k)
                                sums[kh * KW + kw][k] += g[i][j][k] * pixels[j * SW + kw * DW][k];
                        }
                    }
                }
            }
        }
    }
    // (blocks, channels, taps) and (blocks, channels).
    const int taps = TAPS * gridDim.z;
    A* out = partial + ((i64)blockIdx.x * channels + thread.first) * taps + blockIdx.z;
#pragma unroll
    for (int tap = 0; tap < TAPS; ++tap)
        store_sums(shared, out + tap, taps, sums[tap], thread, lanes, channels);
    if (blockIdx.z == 0) {
        store_sums(shared, bias_partial + (i64)blockIdx.x * channels + thread.first, 1, bias_sums,
                   thread, lanes, channels);
    }
}

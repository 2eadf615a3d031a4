// ReLU and the max-pool of 2 x 2 windows behind a convolution, where its kernel has not done them,
// and the gradient of its output from theirs. Arrays are N, H, W, C.
//
// Macros: TYPE, and WIDTH channels of a thread: 16 bytes (C a multiple of it, addresses aligned) or
// 1; MASKED the argmax of a window whose gradient ReLU stops.

// As NumPy's maximum: NaN if one of them is.
static __device__ T larger(T a, T b)
{
    return (A)a >= (A)b || (A)a != (A)a ? a : b;
}

// Windows of y, `down` by `across` of an image: element `place` of a window's WIDTH channels.
struct Window {
    int image, row, column, channel;
    bool there;

    __device__ Window(int images, int down, int across, int channels)
    {
        const int pieces = channels / WIDTH;
        const i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
        const i64 place = i / pieces, line = place / across;
        channel = (int)(i - place * pieces) * WIDTH;
        column = (int)(place - line * across);
        image = (int)(line / down);
        row = (int)(line - (i64)image * down);
        there = image < images;
    }
    __device__ i64 in(int height, int width, int channels, int h, int w) const
    {
        return (((i64)image * height + h) * width + w) * channels + channel;
    }
};

extern "C" __global__ void conv_max_pool(
    const T *__restrict__ y, T *__restrict__ out, u8 *__restrict__ argmax, int images, int height,
    int width, int channels, int relu)
{
    const int down = height / 2, across = width / 2;
    const Window window(images, down, across, channels);
    if (!window.there) return;
    Pack<T> taps[4], best;
    Pack<u8> place;
#pragma unroll
    for (int p = 0; p < 4; ++p) {
        const int h = 2 * window.row + p / 2, w = 2 * window.column + p % 2;
        taps[p] = load(y + window.in(height, width, channels, h, w));
    }
#pragma unroll
    for (int k = 0; k < WIDTH; ++k) {
        const T a = taps[0].at[k], b = taps[1].at[k], c = taps[2].at[k], d = taps[3].at[k];
        const T top = larger(a, b), bottom = larger(c, d);
        T found = larger(top, bottom);
        u8 where = (A)bottom > (A)top ? 2 + ((A)d > (A)c) : (A)b > (A)a;
        if (relu) {
            found = larger(found, (T)0.f);
            if ((A)found <= 0) where = MASKED;
        }
        best.at[k] = found;
        place.at[k] = where;
    }
    const i64 to = window.in(down, across, channels, window.row, window.column);
    store(out + to, best);
    store(argmax + to, place);
}

// grad where y > 0, WIDTH at a time; the last few one by one.
extern "C" __global__ void conv_relu_backward(
    const T *__restrict__ grad, const T *__restrict__ y, T *__restrict__ out, i64 count)
{
    const i64 i = ((i64)blockIdx.x * blockDim.x + threadIdx.x) * WIDTH;
    if (i + WIDTH <= count) {
        Pack<T> g = load(grad + i);
        const Pack<T> v = load(y + i);
#pragma unroll
        for (int k = 0; k < WIDTH; ++k)
            if ((A)v.at[k] <= 0) g.at[k] = (T)0.f;
        store(out + i, g);
    } else {
        for (i64 k = i; k < count; ++k) out[k] = (A)y[k] <= 0 ? (T)0.f : grad[k];
    }
}

// grad (N, H/2, W/2, C) put where argmax says in each window of out (N, H, W, C), zeros elsewhere:
// rows and columns that no window covers are zeros too.
extern "C" __global__ void conv_pool_backward(
    const T *__restrict__ grad, const u8 *__restrict__ argmax, T *__restrict__ out, int images,
    int height, int width, int channels)
{
    const int down = height / 2, across = width / 2;
    const Window window(images, (height + 1) / 2, (width + 1) / 2, channels);
    if (!window.there) return;
    const bool covered = window.row < down && window.column < across;
    Pack<T> g;
    Pack<u8> taps;
    if (covered) {
        const i64 from = window.in(down, across, channels, window.row, window.column);
        g = load(grad + from);
        taps = load(argmax + from);
    }
#pragma unroll
    for (int p = 0; p < 4; ++p) {
        const int h = 2 * window.row + p / 2, w = 2 * window.column + p % 2;
        if (h >= height || w >= width) continue;
        Pack<T> v;
#pragma unroll
        for (int k = 0; k < WIDTH; ++k) v.at[k] = covered && taps.at[k] == p ? g.at[k] : (T)0.f;
        store(out + window.in(height, width, channels, h, w), v);
    }
}

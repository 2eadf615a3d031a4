// Pooling of images (N, H, W, C); images (N, C, H, W) are N * C images of one channel.
//
// Macros: TYPE the dtype, ACC what is computed in, TAP the dtype of an argmax (the number of a
// tap), WIDTH the channels of a thread (4 where C is a multiple of 4 and addresses are aligned,
// else 1), INDEX u32, or u64 where there are more elements. A thread writes its pixel, so nothing
// is added by two: what goes back from windows to pixels is collected over the windows that hold a
// pixel.

typedef TAP Tap;
typedef INDEX Index;

struct Sums {
    A at[WIDTH] = {};

    __device__ Pack<T> rounded() const {
        Pack<T> result;
        for (int k = 0; k < WIDTH; ++k) result.at[k] = (T)at[k];
        return result;
    }
};

struct Shape {
    int channels, height, width, out_height, out_width;
    int kernel_height, kernel_width, down, across;  // the last two: the stride
    int padding_height, padding_width, dilation_height, dilation_width;
};
static_assert(sizeof(Shape) == SHAPE_BYTES, "as cuda.py packs it");

// The place of a thread in an array (N, height, width, C).
struct Place {
    Index element;  // the first of WIDTH
    Index image;
    int row, column, channel;

    __device__ Place(int channels, int height, int width) {
        const Index piece = (Index)blockIdx.x * blockDim.x + threadIdx.x;
        const Index pieces = channels / WIDTH;
        Index rest = piece / pieces;
        channel = (int)(piece - rest * pieces) * WIDTH;
        element = piece * WIDTH;
        Index next = rest / width;
        column = (int)(rest - next * width);
        rest = next;
        image = rest / height;
        row = (int)(rest - image * height);
    }
};

__device__ Index element_of(const Shape& s, Index image, int row, int column, int channel) {
    return ((image * s.height + row) * s.width + column) * s.channels + channel;
}

__device__ Index window_of(const Shape& s, Index image, int row, int column, int channel) {
    return ((image * s.out_height + row) * s.out_width + column) * s.channels + channel;
}

// visit(tap, element, inside) for each tap of the window at `place`; element is 0 in the padding.
template <class Visit>
__device__ void each_tap(const Shape& s, const Place& place, Visit visit) {
    for (int i = 0, tap = 0; i < s.kernel_height; ++i) {
        const int row = place.row * s.down - s.padding_height + i * s.dilation_height;
        for (int j = 0; j < s.kernel_width; ++j, ++tap) {
            const int column = place.column * s.across - s.padding_width + j * s.dilation_width;
            const bool inside = row >= 0 && row < s.height && column >= 0 && column < s.width;
            visit(tap, inside ? element_of(s, place.image, row, column, place.channel) : 0, inside);
        }
    }
}

// visit(tap, element) for each window that has the pixel at `place` as its tap, by rising taps.
template <class Visit>
__device__ void each_window(const Shape& s, const Place& place, Visit visit) {
    const int below = place.row + s.padding_height, right = place.column + s.padding_width;
    for (int row = min(below / s.down, s.out_height - 1); row >= 0; --row) {
        const int rows = below - row * s.down, i = rows / s.dilation_height;
        if (i >= s.kernel_height) break;
        if (i * s.dilation_height != rows) continue;
        for (int column = min(right / s.across, s.out_width - 1); column >= 0; --column) {
            const int columns = right - column * s.across, j = columns / s.dilation_width;
            if (j >= s.kernel_width) break;
            if (j * s.dilation_width != columns) continue;
            visit(i * s.kernel_width + j,
                  window_of(s, place.image, row, column, place.channel));
        }
    }
}

// y, argmax = the maximum of each window and the tap where it was first; NaN is larger than all.
// The tap lies in the image, even where all of the window is -inf.
extern "C" __global__ void __launch_bounds__(THREADS)
    max_pool(const T* x, T* y, Tap* argmax, Index count, const __grid_constant__ Shape s) {
    const Place place(s.channels, s.out_height, s.out_width);
    if (place.element >= count) return;
    Sums best;
    Pack<Tap> taps;
    bool found = false;
#pragma unroll
    for (int k = 0; k < WIDTH; ++k) {
        best.at[k] = (A)-__int_as_float(0x7f800000);
        taps.at[k] = 0;
    }
    each_tap(s, place, [&](int tap, Index element, bool inside) {
        if (!inside) return;
        const Pack<T> values = load(x + element);
#pragma unroll
        for (int k = 0; k < WIDTH; ++k) {
            const A value = (A)values.at[k];
            const bool first_nan = value != value && best.at[k] == best.at[k];
            if (found && !(value > best.at[k]) && !first_nan) continue;
            best.at[k] = value;
            taps.at[k] = (Tap)tap;
        }
        found = true;
    });
    store(y + place.element, best.rounded());
    store(argmax + place.element, taps);
}

// dx = for each pixel, the sum of the gradients of the windows that it won.
extern "C" __global__ void __launch_bounds__(THREADS)
    max_scatter(const T* grad, const Tap* argmax, T* dx, Index count,
                const __grid_constant__ Shape s) {
    const Place place(s.channels, s.height, s.width);
    if (place.element >= count) return;
    Sums sums;
    each_window(s, place, [&](int tap, Index window) {
        const Pack<Tap> taps = load(argmax + window);
        const Pack<T> values = load(grad + window);
#pragma unroll
        for (int k = 0; k < WIDTH; ++k) {
            if (taps.at[k] == (Tap)tap) sums.at[k] += (A)values.at[k];
        }
    });
    store(dx + place.element, sums.rounded());
}

// y = the element of each window at its argmax; 0 where that lies in the padding.
extern "C" __global__ void __launch_bounds__(THREADS)
    max_gather(const T* x, const Tap* argmax, T* y, Index count,
               const __grid_constant__ Shape s) {
    const Place place(s.channels, s.out_height, s.out_width);
    if (place.element >= count) return;
    const Pack<Tap> taps = load(argmax + place.element);
    Pack<T> result;
#pragma unroll
    for (int k = 0; k < WIDTH; ++k) {
        const int i = (int)taps.at[k] / s.kernel_width, j = (int)taps.at[k] % s.kernel_width;
        const int row = place.row * s.down - s.padding_height + i * s.dilation_height;
        const int column = place.column * s.across - s.padding_width + j * s.dilation_width;
        const bool inside = row >= 0 && row < s.height && column >= 0 && column < s.width;
        result.at[k] =
            inside ? x[element_of(s, place.image, row, column, place.channel) + k] : (T)0.0f;
    }
    store(y + place.element, result);
}

// y = the sum of each window, the padding counting as zeros.
extern "C" __global__ void __launch_bounds__(THREADS)
    sum_pool(const T* x, T* y, Index count, const __grid_constant__ Shape s) {
    const Place place(s.channels, s.out_height, s.out_width);
    if (place.element >= count) return;
    Sums sums;
    each_tap(s, place, [&](int, Index element, bool inside) {
        if (!inside) return;
        const Pack<T> values = load(x + element);
#pragma unroll
        for (int k = 0; k < WIDTH; ++k) sums.at[k] += (A)values.at[k];
    });
    store(y + place.element, sums.rounded());
}

// dx = for each pixel, the sum of the gradients of the windows that hold it.
extern "C" __global__ void __launch_bounds__(THREADS)
    sum_pool_backward(const T* grad, T* dx, Index count, const __grid_constant__ Shape s) {
    const Place place(s.channels, s.height, s.width);
    if (place.element >= count) return;
    Sums sums;
    each_window(s, place, [&](int, Index window) {
        const Pack<T> values = load(grad + window);
#pragma unroll
        for (int k = 0; k < WIDTH; ++k) sums.at[k] += (A)values.at[k];
    });
    store(dx + place.element, sums.rounded());
}

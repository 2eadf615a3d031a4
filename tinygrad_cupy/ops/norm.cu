// Batch norm on rows (P, C), the channel last in memory, with ReLU and a 2 x 2 max-pool of stride 2.
//
// Macros: TYPE float or double; WIDTH 4 (C a multiple of 4, 16-byte aligned) or 1, the channels of
// a thread; RELU and POOL 0 or 1, what follows the norm. A block of 256 threads is `lanes` threads
// across channels and 256 / lanes lines of rows; sums are in double, in an order that depends on
// the shape and on WIDTH. With POOL, rows are windows: grad and code are (N, H/2, W/2, C).

#ifndef TYPE
#define TYPE float
#define WIDTH 4
#define RELU 1
#define POOL 1
#endif

typedef TYPE T;
typedef long long i64;
typedef unsigned char u8;

const int THREADS = 256;
enum : u8 { SHUT = 4 };  // the code of a window whose gradient ReLU stops

template <class Value>
struct alignas(WIDTH * sizeof(Value) < 16 ? WIDTH * sizeof(Value) : 16) Pack {
    Value at[WIDTH];
};

template <class Value>
__device__ Pack<Value> load(const Value* from) {
    return *(const Pack<Value>*)from;
}

template <class Value>
__device__ void store(Value* to, const Pack<Value>& values) {
    *(Pack<Value>*)to = values;
}

struct Place {
    int channel;  // the first of WIDTH
    i64 first, step;  // rows of this thread

    __device__ explicit Place(int lanes) {
        const int lines = THREADS / lanes;
        channel = (blockIdx.y * lanes + threadIdx.x % lanes) * WIDTH;
        first = (i64)blockIdx.x * lines + threadIdx.x / lanes;
        step = (i64)gridDim.x * lines;
    }
};

struct Image {
    int height, width;  // of the norm's input, in pixels
};

// The upper left pixel of window `i` of `down` x `across` an image, counted over the batch.
struct Window {
    int image, row, column;
    i64 pixel;

    __device__ Window(i64 i, int down, int across, Image size) {
        const unsigned place = (unsigned)i, line = place / across;
        column = 2 * (int)(place - line * across);
        image = (int)(line / down);
        row = 2 * (int)(line - (unsigned)image * down);
        pixel = ((i64)image * size.height + row) * size.width + column;
    }
};

// --- two sums over the rows ----------------------------------------------------------------------

struct Sums {
    double a[WIDTH] = {}, b[WIDTH] = {};
};

// Adds up what the threads of all blocks summed. True in the last block to come here, which then
// has partials (gridDim.x, channels, 2) complete. atomicInc sets the ticket back to 0.
__device__ bool gather(Sums sums, int channels, int lanes, double2* partials, unsigned* ticket) {
    __shared__ double2 shared[WIDTH][THREADS];
    __shared__ bool last;
    const int channel = Place(lanes).channel;
    for (int k = 0; k < WIDTH; ++k) shared[k][threadIdx.x] = make_double2(sums.a[k], sums.b[k]);
    __syncthreads();
    for (int half = THREADS / 2; half >= lanes; half /= 2) {
        if (threadIdx.x < half) {
            for (int k = 0; k < WIDTH; ++k) {
                const double2 other = shared[k][threadIdx.x + half];
                shared[k][threadIdx.x].x += other.x;
                shared[k][threadIdx.x].y += other.y;
            }
        }
        __syncthreads();
    }
    if (threadIdx.x < lanes && channel < channels) {
        for (int k = 0; k < WIDTH; ++k) {
            partials[(i64)blockIdx.x * channels + channel + k] = shared[k][threadIdx.x];
        }
    }
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        const unsigned blocks = gridDim.x * gridDim.y;
        last = atomicInc(ticket, blocks - 1) == blocks - 1;
    }
    __syncthreads();
    if (last) __threadfence();
    return last;
}

// Calls finish(channel, sums) for each channel, from one thread: in the last block.
template <class Finish>
__device__ void finish_channels(const double2* partials, int channels, Finish finish) {
    __shared__ double2 shared[THREADS];
    int wide = 1;
    while (wide < channels && wide < THREADS) wide *= 2;
    for (int base = 0; base < channels; base += wide) {
        const int channel = base + threadIdx.x % wide;
        double2 sum = make_double2(0, 0);
        if (channel < channels) {
#pragma unroll 8
            for (int i = threadIdx.x / wide; i < gridDim.x; i += THREADS / wide) {
                const double2 part = __ldcg(partials + (i64)i * channels + channel);
                sum.x += part.x;
                sum.y += part.y;
            }
        }
        shared[threadIdx.x] = sum;
        __syncthreads();
        for (int half = THREADS / 2; half >= wide; half /= 2) {
            if (threadIdx.x < half) {
                shared[threadIdx.x].x += shared[threadIdx.x + half].x;
                shared[threadIdx.x].y += shared[threadIdx.x + half].y;
            }
            __syncthreads();
        }
        if (threadIdx.x < wide && channel < channels) finish(channel, shared[threadIdx.x]);
        __syncthreads();
    }
}

// found (3, C) = mean, biased variance, 1 / sqrt(variance + eps) of x (rows, C); the running
// statistics and the number of batches move along where given. Sums are of x - x[0]: in double that
// keeps every digit of a float, and a double's where the mean is large.
extern "C" __global__ void __launch_bounds__(THREADS)
    statistics(const T* x, i64 rows, int channels, int lanes, double2* partials, unsigned* ticket,
               T* found, double eps, double momentum, T* running_mean, T* running_var,
               i64* batches) {
    const Place place(lanes);
    Sums sums;
    if (place.channel < channels) {
        const Pack<T> base = load(x + place.channel);
#pragma unroll 8
        for (i64 row = place.first; row < rows; row += place.step) {
            const Pack<T> values = load(x + row * channels + place.channel);
#pragma unroll
            for (int k = 0; k < WIDTH; ++k) {
                const double value = (double)values.at[k] - (double)base.at[k];
                sums.a[k] += value;
                sums.b[k] += value * value;
            }
        }
    }
    if (!gather(sums, channels, lanes, partials, ticket)) return;
    finish_channels(partials, channels, [=](int c, double2 sum) {
        const double shifted = sum.x / rows, mean = shifted + (double)x[c];
        double var = sum.y / rows - shifted * shifted;
        if (var < 0) var = 0;  // NaN stays
        found[c] = (T)mean;
        found[channels + c] = (T)var;
        found[2 * channels + c] = (T)(1 / sqrt(var + eps));
        if (running_mean) {
            running_mean[c] += (T)momentum * ((T)mean - running_mean[c]);
            running_var[c] += (T)momentum * ((T)(var * rows / (rows - 1)) - running_var[c]);
        }
    });
    if (batches && threadIdx.x == 0) batches[0] += 1;
}

// --- forward -------------------------------------------------------------------------------------

// How a thread's channels are normalized: (x - mean) * gain + bias.
struct Affine {
    Pack<T> mean, gain, bias;

    __device__ Affine(const T* found, const T* weight, const T* bias_, int channels, int channel) {
        mean = load(found + channel);
        bias = load(bias_ + channel);
        for (int k = 0; k < WIDTH; ++k) {
            gain.at[k] = found[2 * channels + channel + k] * weight[channel + k];
        }
    }

    __device__ T operator()(T x, int k) const {
        return (x - mean.at[k]) * gain.at[k] + bias.at[k];
    }
};

__device__ T open(T y) { return RELU && y < 0 ? (T)0 : y; }

#if POOL

// y and code (N, H/2, W/2, C): the window's maximum and where it was first, or SHUT.
extern "C" __global__ void __launch_bounds__(THREADS)
    normalize(const T* x, i64 windows, int channels, int lanes, const T* found, const T* weight,
              const T* bias, T* y, u8* code, int height, int width) {
    const Place place(lanes);
    if (place.channel >= channels) return;
    const Affine affine(found, weight, bias, channels, place.channel);
    for (i64 i = place.first; i < windows; i += place.step) {
        const Window window(i, height / 2, width / 2, Image{height, width});
        Pack<T> pixels[4], best;
        Pack<u8> winner;
#pragma unroll
        for (int p = 0; p < 4; ++p) {
            const i64 pixel = window.pixel + (i64)(p / 2) * width + p % 2;
            pixels[p] = load(x + pixel * channels + place.channel);
        }
#pragma unroll
        for (int k = 0; k < WIDTH; ++k) {
            best.at[k] = affine(pixels[0].at[k], k);
            winner.at[k] = 0;
#pragma unroll
            for (int p = 1; p < 4; ++p) {
                const T value = affine(pixels[p].at[k], k);
                if (value > best.at[k]) winner.at[k] = (u8)p;
                if (value > best.at[k] || value != value) best.at[k] = value;  // NaN stays
            }
            if (RELU && !(best.at[k] > 0)) winner.at[k] = SHUT;
            best.at[k] = open(best.at[k]);
        }
        store(y + i * channels + place.channel, best);
        store(code + i * channels + place.channel, winner);
    }
}

#else

extern "C" __global__ void __launch_bounds__(THREADS)
    normalize(const T* x, i64 rows, int channels, int lanes, const T* found, const T* weight,
              const T* bias, T* y) {
    const Place place(lanes);
    if (place.channel >= channels) return;
    const Affine affine(found, weight, bias, channels, place.channel);
#pragma unroll 4
    for (i64 row = place.first; row < rows; row += place.step) {
        Pack<T> values = load(x + row * channels + place.channel);
#pragma unroll
        for (int k = 0; k < WIDTH; ++k) values.at[k] = open(affine(values.at[k], k));
        store(y + row * channels + place.channel, values);
    }
}

#endif

// --- backward ------------------------------------------------------------------------------------

// by_weight (C) = sum of g * normal and by_bias (C) = sum of g, the gradients of weight and bias. g is grad where ReLU
// and pool let it through, normal = (x - mean) * scale. `decision` is y with RELU alone (T), the
// code with POOL (u8), else not read.
extern "C" __global__ void __launch_bounds__(THREADS)
    sums(const T* grad, const T* x, const void* decision, i64 rows, int channels, int lanes,
         const T* found, double2* partials, unsigned* ticket, T* by_weight, T* by_bias, int height,
         int width) {
    const Place place(lanes);
    Sums sums;
    if (place.channel < channels) {
        const Pack<T> mean = load(found + place.channel);
#pragma unroll 4
        for (i64 row = place.first; row < rows; row += place.step) {
            const i64 at = row * channels + place.channel;
            const Pack<T> g = load(grad + at);
#if POOL
            const Pack<u8> code = load((const u8*)decision + at);
            const Window window(row, height / 2, width / 2, Image{height, width});
#pragma unroll
            for (int k = 0; k < WIDTH; ++k) {
                const int p = code.at[k];
                if (p == SHUT) continue;
                const i64 pixel = window.pixel + (i64)(p / 2) * width + p % 2;
                const double value = x[pixel * channels + place.channel + k];
                sums.a[k] += (double)g.at[k] * (value - (double)mean.at[k]);
                sums.b[k] += (double)g.at[k];
            }
#else
            const Pack<T> values = load(x + at);
            Pack<T> y;
            if (RELU) y = load((const T*)decision + at);
#pragma unroll
            for (int k = 0; k < WIDTH; ++k) {
                const double gate = !RELU || y.at[k] > 0 ? (double)g.at[k] : 0;
                sums.a[k] += gate * ((double)values.at[k] - (double)mean.at[k]);
                sums.b[k] += gate;
            }
#endif
        }
    }
    if (!gather(sums, channels, lanes, partials, ticket)) return;
    finish_channels(partials, channels, [=](int c, double2 sum) {
        by_weight[c] = (T)(sum.x * (double)found[2 * channels + c]);
        by_bias[c] = (T)sum.y;
    });
}

// dx = weight * scale * (g - mean(g) - normal * mean(g * normal)), the means over `count` rows.
struct Slope {
    Pack<T> mean, scale, gain, by_normal, by_one;

    __device__ Slope(const T* found, const T* weight, const T* by_weight, const T* by_bias,
                     i64 count, int channels, int channel) {
        mean = load(found + channel);
        for (int k = 0; k < WIDTH; ++k) {
            scale.at[k] = found[2 * channels + channel + k];
            gain.at[k] = scale.at[k] * weight[channel + k];
            by_normal.at[k] = (T)((double)by_weight[channel + k] / count);
            by_one.at[k] = (T)((double)by_bias[channel + k] / count);
        }
    }

    __device__ T operator()(T g, T x, int k) const {
        const T normal = (x - mean.at[k]) * scale.at[k];
        return gain.at[k] * (g - by_one.at[k] - normal * by_normal.at[k]);
    }
};

#if POOL

// Each window writes its four pixels of dx; where H or W is odd, so does half a window at the end.
extern "C" __global__ void __launch_bounds__(THREADS)
    slope(const T* grad, const T* x, const u8* code, i64 windows, int channels, int lanes,
          const T* found, const T* weight, const T* by_weight, const T* by_bias, T* dx, i64 count,
          int height, int width) {
    const Place place(lanes);
    if (place.channel >= channels) return;
    const Slope by_x(found, weight, by_weight, by_bias, count, channels, place.channel);
    const int down = (height + 1) / 2, across = (width + 1) / 2;
    for (i64 i = place.first; i < windows; i += place.step) {
        const Window window(i, down, across, Image{height, width});
        const int row = window.row / 2, column = window.column / 2;
        const bool covered = row < height / 2 && column < width / 2;
        Pack<T> g;
        Pack<u8> winner;
        for (int k = 0; k < WIDTH; ++k) winner.at[k] = SHUT;
        if (covered) {
            const i64 line = (i64)window.image * (height / 2) + row;
            const i64 from = line * (width / 2) + column;
            g = load(grad + from * channels + place.channel);
            winner = load(code + from * channels + place.channel);
        }
#pragma unroll
        for (int p = 0; p < 4; ++p) {
            if (window.row + p / 2 >= height || window.column + p % 2 >= width) continue;
            const i64 pixel = window.pixel + (i64)(p / 2) * width + p % 2;
            Pack<T> values = load(x + pixel * channels + place.channel);
#pragma unroll
            for (int k = 0; k < WIDTH; ++k) {
                values.at[k] = by_x(winner.at[k] == p ? g.at[k] : (T)0, values.at[k], k);
            }
            store(dx + pixel * channels + place.channel, values);
        }
    }
}

#else

extern "C" __global__ void __launch_bounds__(THREADS)
    slope(const T* grad, const T* x, const T* y, i64 rows, int channels, int lanes, const T* found,
          const T* weight, const T* by_weight, const T* by_bias, T* dx, i64 count) {
    const Place place(lanes);
    if (place.channel >= channels) return;
    const Slope by_x(found, weight, by_weight, by_bias, count, channels, place.channel);
#pragma unroll 4
    for (i64 row = place.first; row < rows; row += place.step) {
        const i64 at = row * channels + place.channel;
        const Pack<T> g = load(grad + at), values = load(x + at);
        Pack<T> gate, result;
        if (RELU) gate = load(y + at);
#pragma unroll
        for (int k = 0; k < WIDTH; ++k) {
            const T passed = !RELU || gate.at[k] > 0 ? g.at[k] : (T)0;
            result.at[k] = by_x(passed, values.at[k], k);
        }
        store(dx + at, result);
    }
}

#endif

// Batch norm on rows (P, C), the channel last in memory; ReLU and a 2 x 2 max-pool of stride 2.
//
// Macros: TYPE of x, y, grad and dx, ACC of all else: float beside 16 bits, which are rounded once,
// where they are stored; WIDTH, the channels of a thread, 4 or in 16 bits 8 (C a multiple of it,
// 16-byte aligned) or 1; RELU and POOL 0 or 1, what follows the norm; CAP, the most that ReLU gives
// where there is a most, as in ReLU6, and then no POOL; MASKED the argmax of a window whose
// gradient ReLU stops; THREADS of a block of the two apply kernels, REDUCE_THREADS of one that
// reduces. A block's threads are lines of `lanes`, a power of two, across channels; sums are in
// double, in an order that depends on the shape and on WIDTH. With POOL, rows are windows: grad
// and argmax are (N, H/2, W/2, C).
//
// What ReLU made is not read on the way back: x is, and gives the same y again.
//
// Small batches are bound by latency. So a thread issues the loads of UNROLL rows before it uses
// the first, and before it stores, as the compiler moves no load across a store.

const int WARPS = REDUCE_THREADS / 32;
const int TOGETHER = WIDTH < 4 ? WIDTH : 4;  // channels that are added up at once: shared memory

// A thread's channels as they lie in memory, of which [k] is one. Smaller ones than a register stay
// words until they are used: taken apart where they are loaded, each would fill one.
template <class Value, bool IN_WORDS = sizeof(Value) < 4 && WIDTH * sizeof(Value) % 4 == 0>
struct Row {
    Pack<Value> values;

    __device__ Value operator[](int k) const { return values.at[k]; }
};

template <class Value>
struct alignas(WIDTH * sizeof(Value)) Row<Value, true> {
    static const int EACH = 4 / sizeof(Value);
    u32 words[WIDTH / EACH];

    __device__ Value operator[](int k) const {
        const u32 bits = words[k / EACH] >> (k % EACH * 8 * (int)sizeof(Value));
        Value value;
        memcpy(&value, &bits, sizeof(Value));  // the lower bytes
        return value;
    }
};

template <class Value>
__device__ Row<Value> load_row(const Value* from) {
    return *(const Row<Value>*)from;
}

// The place of a thread where its block is lines of `lanes`.
struct Lines {
    int lane, line, count;

    __device__ explicit Lines(int lanes) {
        const int shift = __ffs(lanes) - 1;
        lane = threadIdx.x & (lanes - 1);
        line = threadIdx.x >> shift;
        count = blockDim.x >> shift;
    }
};

struct Place {
    int channel;  // the first of WIDTH
    i64 first, step;  // rows of this thread

    __device__ explicit Place(int lanes) {
        const Lines lines(lanes);
        channel = (blockIdx.y * lanes + lines.lane) * WIDTH;
        first = (i64)blockIdx.x * lines.count + lines.line;
        step = (i64)gridDim.x * lines.count;
    }
};

struct Image {
    int height, width;  // of the norm's input, in pixels
};

// Window `i` of `down` x `across` an image; row and column are those of its upper left pixel.
struct Window {
    int image, row, column, width;
    i64 pixel;  // the upper left one, counted over the batch

    __device__ Window(i64 i, int down, int across, Image size) : width(size.width) {
        const unsigned place = (unsigned)i, line = place / across;
        column = 2 * (int)(place - line * across);
        image = (int)(line / down);
        row = 2 * (int)(line - (unsigned)image * down);
        pixel = ((i64)image * size.height + row) * size.width + column;
    }

    // Pixel p of 4, counted over the batch.
    __device__ i64 operator[](int p) const {
        return pixel + (i64)(p / 2) * width + p % 2;
    }
};

// --- two sums over the rows ----------------------------------------------------------------------
//
// Rows beyond the end are read as row 0 and count nothing: a branch would part the loads. Registers
// allow one block on a multiprocessor, which has 64 KB and more on the way.

// Adds up sums[k] over the lines of the block: thread lane * N + k gets the whole for a lane. All
// threads of the block come here; lanes may be up to REDUCE_THREADS.
template <int N>
__device__ double2 block_reduce(double2 (&sums)[N], int lanes) {
    __shared__ double2 shared[N][REDUCE_THREADS + 2];  // + 2: sums of a lane lie in different banks
    for (int apart = 16; apart >= lanes; apart /= 2) {
#pragma unroll
        for (int k = 0; k < N; ++k) {
            sums[k].x += __shfl_xor_sync(~0u, sums[k].x, apart);
            sums[k].y += __shfl_xor_sync(~0u, sums[k].y, apart);
        }
    }
    const int kept = min(lanes, 32), warp = threadIdx.x / 32, thread = threadIdx.x % 32;
    if (thread < kept) {
#pragma unroll
        for (int k = 0; k < N; ++k) shared[k][warp * kept + thread] = sums[k];
    }
    __syncthreads();
    double2 sum = make_double2(0, 0);
    if (threadIdx.x < lanes * N) {
        const double2* column = shared[threadIdx.x % N] + threadIdx.x / N;
        const int lines = min(WARPS, Lines(lanes).count);
#pragma unroll
        for (int line = 0; line < WARPS; ++line) {
            const double2 part = column[line < lines ? line * lanes : 0];
            sum.x += line < lines ? part.x : 0;
            sum.y += line < lines ? part.y : 0;
        }
    }
    __syncthreads();  // shared may be written again
    return sum;
}

// Adds up what the threads of all blocks summed. True in the last block to come here, which then
// has partials (gridDim.x, channels) complete.
__device__ bool grid_reduce(double2 (&sums)[WIDTH], int channels, int lanes, double2* partials,
                            unsigned* ticket) {
    __shared__ bool last;
    const int lane = threadIdx.x / TOGETHER, k = threadIdx.x % TOGETHER;
#pragma unroll
    for (int from = 0; from < WIDTH; from += TOGETHER) {
        double2 some[TOGETHER];
#pragma unroll
        for (int i = 0; i < TOGETHER; ++i) some[i] = sums[from + i];
        const double2 sum = block_reduce(some, lanes);
        const int channel = (blockIdx.y * lanes + lane) * WIDTH + from + k;
        if (lane < lanes && channel < channels) {
            partials[(i64)blockIdx.x * channels + channel] = sum;
        }
    }
    is_last_block(last, ticket);
    if (last) __threadfence();
    return last;
}

// Calls finish(channel, sums) for each channel, from one thread: in the last block.
template <class Finish>
__device__ void finish_channels(const double2* partials, int channels, Finish finish) {
    const int UNROLL = 8, parts = gridDim.x;
    int wide = 1;
    while (wide < channels && wide < REDUCE_THREADS) wide *= 2;
    const Lines lines(wide);
    for (int base = 0; base < channels; base += wide) {
        const int channel = base + lines.lane;
        double2 sum[1] = {};
        if (channel < channels) {
            for (int part = lines.line; part < parts; part += UNROLL * lines.count) {
                double2 read[UNROLL] = {};
#pragma unroll
                for (int i = 0; i < UNROLL; ++i) {
                    const int from = part + i * lines.count;
                    if (from < parts) read[i] = __ldcg(partials + (i64)from * channels + channel);
                }
#pragma unroll
                for (int i = 0; i < UNROLL; ++i) {
                    sum[0].x += read[i].x;
                    sum[0].y += read[i].y;
                }
            }
        }
        const double2 total = block_reduce(sum, wide);
        if (threadIdx.x < wide && channel < channels) finish(channel, total);
    }
}

// The statistics of x (rows, C), as statistics.cuh says. Sums are of x - x[0]: no one of n values,
// an outlier either, lies further from their mean than sqrt(n) standard deviations, and digits of a
// double are enough for such a distance. Where ranks share the batch, `moments` (C + 1) is given:
// it gets mean and variance of each channel and, behind them, `weight`, what they count; nothing
// else is written.
extern "C" __global__ void __launch_bounds__(REDUCE_THREADS, 1)
    batch_norm_stats(const T* x, i64 rows, int channels, int lanes, double2* partials,
                     unsigned* ticket, A* stats, double eps, double momentum, A* running_mean,
                     A* running_var, i64* batches, double2* moments, double weight) {
    const int UNROLL = 32 / sizeof(A) * TOGETHER / WIDTH;
    const Place place(lanes);
    double2 sums[WIDTH] = {};
    if (place.channel < channels) {
        Row<T> next[UNROLL];
        const auto read = [&](i64 row) {
#pragma unroll
            for (int i = 0; i < UNROLL; ++i) {
                const i64 at = row + i * place.step;
                next[i] = load_row(x + (at < rows ? at : 0) * channels + place.channel);
            }
        };
        read(place.first);  // under way while base comes
        const Row<T> base = load_row(x + place.channel);
        for (i64 row = place.first; row < rows; row += UNROLL * place.step) {
            Row<T> values[UNROLL];
#pragma unroll
            for (int i = 0; i < UNROLL; ++i) values[i] = next[i];
            if (row + UNROLL * place.step < rows) read(row + UNROLL * place.step);
#pragma unroll
            for (int i = 0; i < UNROLL; ++i) {
#pragma unroll
                for (int k = 0; k < WIDTH; ++k) {
                    const double value = (double)(A)values[i][k] - (double)(A)base[k];
                    sums[k].x += value;
                    sums[k].y += value * value;
                }
            }
        }
    }
    if (!grid_reduce(sums, channels, lanes, partials, ticket)) return;
    const Statistics statistics{stats, eps, momentum, running_mean, running_var, batches};
    finish_channels(partials, channels, [=](int c, double2 sum) {
        const double shifted = sum.x / rows, mean = shifted + (double)(A)x[c];
        double var = sum.y / rows - shifted * shifted;
        if (var < 0) var = 0;  // NaN stays
        if (moments) {
            moments[c] = make_double2(mean, var);
        } else {
            statistics.write(c, channels, mean, var, rows);
        }
    });
    if (threadIdx.x != 0) return;
    if (moments) {
        moments[channels] = make_double2(weight, 0);
    } else {
        statistics.count();
    }
}

// --- forward -------------------------------------------------------------------------------------

// How a thread's channels are normalized: (x - mean) * gain + bias, where bias makes up for what
// the mean lost. With each rounding said, so that every kernel has the same y.
struct Affine {
    Pack<A> mean, gain, bias;

    __device__ Affine(const A* stats, const A* weight, const A* bias_, int channels, int channel) {
        mean = load(stats + channel);
        bias = load(bias_ + channel);
        gain = load(weight + channel);
        const Pack<A> scale = load(stats + 2 * channels + channel);
        const Pack<A> lost = load(stats + 3 * channels + channel);
        for (int k = 0; k < WIDTH; ++k) {
            gain.at[k] *= scale.at[k];
            bias.at[k] = fma(-lost.at[k], gain.at[k], bias.at[k]);
        }
    }

    __device__ A operator()(A x, int k) const {
        return fma(x - mean.at[k], gain.at[k], bias.at[k]);
    }
};

#ifdef CAP
__device__ A activated(A y) { return y >= (A)CAP ? (A)CAP : y <= 0 ? (A)0 : y; }

__device__ bool passes(A y) { return !(y >= (A)CAP || y <= 0); }
#else
__device__ A activated(A y) { return RELU && y < 0 ? (A)0 : y; }

// Whether the gradient by what was activated is that by y; NaN passes.
__device__ bool passes(A y) { return !(RELU && y <= 0); }
#endif

#if POOL

// y and argmax (N, H/2, W/2, C): the window's maximum and where it was first, or MASKED.
extern "C" __global__ void __launch_bounds__(THREADS)
    batch_norm_apply(const T* x, i64 windows, int channels, int lanes, const A* stats,
                     const A* weight, const A* bias, T* y, u8* argmax, int height, int width) {
    const Place place(lanes);
    if (place.channel >= channels) return;
    const Affine affine(stats, weight, bias, channels, place.channel);
    for (i64 i = place.first; i < windows; i += place.step) {
        const Window window(i, height / 2, width / 2, Image{height, width});
        Row<T> pixels[4];
        Pack<T> best;
        Pack<u8> tap;
#pragma unroll
        for (int p = 0; p < 4; ++p) pixels[p] = load_row(x + window[p] * channels + place.channel);
#pragma unroll
        for (int k = 0; k < WIDTH; ++k) {
            A most = affine((A)pixels[0][k], k);
            tap.at[k] = 0;
#pragma unroll
            for (int p = 1; p < 4; ++p) {
                const A value = affine((A)pixels[p][k], k);
                if (value > most) tap.at[k] = (u8)p;
                if (value > most || value != value) most = value;  // NaN stays
            }
            if (RELU && most <= 0) tap.at[k] = MASKED;
            best.at[k] = (T)activated(most);
        }
        store(y + i * channels + place.channel, best);
        store(argmax + i * channels + place.channel, tap);
    }
}

#else

extern "C" __global__ void __launch_bounds__(THREADS)
    batch_norm_apply(const T* x, i64 rows, int channels, int lanes, const A* stats,
                     const A* weight, const A* bias, T* y) {
    const int UNROLL = 16 / sizeof(A);
    const Place place(lanes);
    if (place.channel >= channels) return;
    const Affine affine(stats, weight, bias, channels, place.channel);
    for (i64 row = place.first; row < rows; row += UNROLL * place.step) {
        Row<T> values[UNROLL];
#pragma unroll
        for (int i = 0; i < UNROLL; ++i) {
            const i64 at = row + i * place.step;
            if (at < rows) values[i] = load_row(x + at * channels + place.channel);
        }
#pragma unroll
        for (int i = 0; i < UNROLL; ++i) {
            const i64 at = row + i * place.step;
            if (at >= rows) break;
            Pack<T> made;
#pragma unroll
            for (int k = 0; k < WIDTH; ++k) {
                made.at[k] = (T)activated(affine((A)values[i][k], k));
            }
            store(y + at * channels + place.channel, made);
        }
    }
}

#endif

// --- backward ------------------------------------------------------------------------------------

// by_weight (C) = sum of g * normal and by_bias (C) = sum of g, the gradients of weight and bias,
// and factors (3, C), which are for batch_norm_backward_apply. g is grad where ReLU and pool let it
// through, normal = (x - mean) * scale; x has `count` rows. The argmax is read with POOL alone.
// Where ranks share the batch, `totals` (C + 1) is given: it gets both sums of each channel, then
// `count`, which is 0 where x is no part of the batch; and factors get nothing.
extern "C" __global__ void __launch_bounds__(REDUCE_THREADS, 1)
    batch_norm_backward_reduce(const T* grad, const T* x, const u8* argmax, i64 rows, int channels,
                               int lanes, const A* stats, const A* weight, const A* bias,
                               double2* partials, unsigned* ticket, A* by_weight, A* by_bias,
                               A* factors, i64 count, double2* totals, int height, int width) {
    const int UNROLL = (POOL ? 8 : 16) / sizeof(A), PIXELS = POOL ? 4 : 1;
    const Place place(lanes);
    double2 sums[WIDTH] = {};
    if (place.channel < channels) {
        Row<T> g[UNROLL], pixels[UNROLL][PIXELS];
#if POOL
        Row<u8> taps[UNROLL];
#endif
        const auto read = [&](i64 row) {
#pragma unroll
            for (int i = 0; i < UNROLL; ++i) {
                const i64 at = row + i * place.step, used = at < rows ? at : 0;
                const i64 from = used * channels + place.channel;
                g[i] = load_row(grad + from);
#if POOL
                taps[i] = load_row(argmax + from);
                const Window window(used, height / 2, width / 2, Image{height, width});
#pragma unroll
                for (int p = 0; p < 4; ++p) {
                    pixels[i][p] = load_row(x + window[p] * channels + place.channel);
                }
#else
                pixels[i][0] = load_row(x + from);
#endif
            }
        };
        read(place.first);  // under way while mean comes
        const Affine affine(stats, weight, bias, channels, place.channel);
        for (i64 row = place.first; row < rows; row += UNROLL * place.step) {
            if (row != place.first) read(row);
#pragma unroll
            for (int i = 0; i < UNROLL; ++i) {
#pragma unroll
                for (int k = 0; k < WIDTH; ++k) {
                    A passed = (A)g[i][k], value = (A)pixels[i][0][k];
                    bool counts = row + i * place.step < rows;
#if POOL
                    const int p = taps[i][k];
#pragma unroll
                    for (int q = 1; q < 4; ++q) value = p == q ? (A)pixels[i][q][k] : value;
                    counts = counts && p != MASKED;
#elif RELU
                    if (!passes((A)(T)affine(value, k))) passed = 0;
#endif
                    passed = counts ? passed : (A)0;
                    value = counts ? value : affine.mean.at[k];
                    sums[k].x += (double)passed * ((double)value - (double)affine.mean.at[k]);
                    sums[k].y += (double)passed;
                }
            }
        }
    }
    if (!grid_reduce(sums, channels, lanes, partials, ticket)) return;
    finish_channels(partials, channels, [=](int c, double2 sum) {
        const double scale = stats[2 * channels + c], lost = stats[3 * channels + c];
        const double by_scaled = (sum.x - lost * sum.y) * scale;
        by_weight[c] = (A)by_scaled;
        by_bias[c] = (A)sum.y;
        const double2 found = make_double2(by_scaled, sum.y);
        if (totals) {
            totals[c] = found;
        } else {
            write_factors(factors, c, channels, stats, weight, found, count);
        }
    });
    if (totals && threadIdx.x == 0) totals[channels] = make_double2(count, 0);
}

// dx = weight * scale * (g - mean(g) - normal * mean(g * normal)), the means over the rows of x.
// With the factors it is gain * (g - mean_g - (x - mean) * tilt), where mean_g makes up for what
// the mean lost. With `mask_input`, dx is zero unless x is positive: x came out of a ReLU, whose
// gradient is wanted.
struct InputGradient {
    Pack<A> mean, gain, tilt, mean_g;
    int mask_input;

    __device__ InputGradient(const A* stats, const A* factors, int channels, int channel,
                             int mask_input)
        : mask_input(mask_input) {
        mean = load(stats + channel);
        gain = load(factors + channel);
        tilt = load(factors + channels + channel);
        mean_g = load(factors + 2 * channels + channel);
    }

    __device__ T operator()(A g, A x, int k) const {
        const A dx = gain.at[k] * (g - mean_g.at[k] - (x - mean.at[k]) * tilt.at[k]);
        return (T)(mask_input && x <= 0 ? (A)0 : dx);
    }
};

#if POOL

// Each window writes its four pixels of dx; where H or W is odd, so does half a window at the end.
extern "C" __global__ void __launch_bounds__(THREADS)
    batch_norm_backward_apply(const T* grad, const T* x, i64 windows, int channels, int lanes,
                              const A* stats, const A* factors, T* dx, int mask_input,
                              const u8* argmax, int height, int width) {
    const Place place(lanes);
    if (place.channel >= channels) return;
    const InputGradient by_x(stats, factors, channels, place.channel, mask_input);
    const int down = (height + 1) / 2, across = (width + 1) / 2;
    for (i64 i = place.first; i < windows; i += place.step) {
        const Window window(i, down, across, Image{height, width});
        const int row = window.row / 2, column = window.column / 2;
        const bool covered = row < height / 2 && column < width / 2;
        Row<T> g, pixels[4];
        Row<u8> tap;
        bool inside[4];
        if (covered) {
            const i64 line = (i64)window.image * (height / 2) + row;
            const i64 from = line * (width / 2) + column;
            g = load_row(grad + from * channels + place.channel);
            tap = load_row(argmax + from * channels + place.channel);
        }
#pragma unroll
        for (int p = 0; p < 4; ++p) {
            inside[p] = window.row + p / 2 < height && window.column + p % 2 < width;
            if (inside[p]) pixels[p] = load_row(x + window[p] * channels + place.channel);
        }
#pragma unroll
        for (int p = 0; p < 4; ++p) {
            if (!inside[p]) continue;
            Pack<T> made;
#pragma unroll
            for (int k = 0; k < WIDTH; ++k) {
                made.at[k] = by_x(covered && tap[k] == p ? (A)g[k] : (A)0, (A)pixels[p][k], k);
            }
            store(dx + window[p] * channels + place.channel, made);
        }
    }
}

#else

extern "C" __global__ void __launch_bounds__(THREADS)
    batch_norm_backward_apply(const T* grad, const T* x, i64 rows, int channels, int lanes,
                              const A* stats, const A* factors, T* dx, int mask_input,
                              const A* weight, const A* bias) {
    const int UNROLL = 16 / sizeof(A);
    const Place place(lanes);
    if (place.channel >= channels) return;
    const InputGradient by_x(stats, factors, channels, place.channel, mask_input);
#if RELU
    const Affine affine(stats, weight, bias, channels, place.channel);
#endif
    for (i64 row = place.first; row < rows; row += UNROLL * place.step) {
        Row<T> g[UNROLL], values[UNROLL];
#pragma unroll
        for (int i = 0; i < UNROLL; ++i) {
            const i64 at = row + i * place.step;
            if (at >= rows) break;
            g[i] = load_row(grad + at * channels + place.channel);
            values[i] = load_row(x + at * channels + place.channel);
        }
#pragma unroll
        for (int i = 0; i < UNROLL; ++i) {
            const i64 at = row + i * place.step;
            if (at >= rows) break;
            Pack<T> made;
#pragma unroll
            for (int k = 0; k < WIDTH; ++k) {
                const A value = (A)values[i][k];
                A passed = (A)g[i][k];
#if RELU
                if (!passes((A)(T)affine(value, k))) passed = 0;
#endif
                made.at[k] = by_x(passed, value, k);
            }
            store(dx + at * channels + place.channel, made);
        }
    }
}

#endif

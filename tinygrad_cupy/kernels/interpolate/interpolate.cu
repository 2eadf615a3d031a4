// Arrays (outer, D, H, W) resized along their last three axes.
//
// Element i of D or H takes weight[i * taps + k] of place start[i] + k. Along W, EACH neighbours,
// which a thread makes, take those of one window: element EACH * g + j takes weight[g, k, j] of
// place start[g] + k. Where taps are 0 an axis stays. A weight of 0 does not count, whatever stands
// there. Threads side by side have windows side by side; each makes `rows` rows, one below the
// other, with the weights of its window in registers.
//
// Macros: TYPE the dtype, ACC what is added up in, INDEX u32, or u64 where there are more elements;
// WIDTH, which is EACH; TAPS0, TAPS1, TAPS2 of D, H and W, -1 for what the sizes say.

typedef INDEX Index;
constexpr int EACH = WIDTH;

struct Sizes {
    int before[3], after[3], taps[3], rows;
};

template <int TAPS>
struct Axis {
    static constexpr bool STAYS = TAPS == 0;
    int start;
    const T* weight;

    __device__ Axis(int i, int taps, const int* starts, const T* weights)
        : start(STAYS ? i : starts[i]), weight(STAYS ? nullptr : weights + (i64)i * taps) {}

    __device__ A of(int k) const { return STAYS ? (A)1 : (A)weight[k]; }
};

// How often a loop over taps runs: known to the compiler where it can be.
__device__ constexpr int turns(int known, int said) {
    return known < 0 ? said : known ? known : 1;
}

constexpr int UNROLLED = TAPS2 > 0 ? TAPS2 : 1;

extern "C" __global__ void __launch_bounds__(THREADS)
    resize(const T* __restrict__ x, T* __restrict__ y, const int* __restrict__ start0,
           const T* __restrict__ weight0, const int* __restrict__ start1,
           const T* __restrict__ weight1, const int* __restrict__ start2,
           const T* __restrict__ weight2, Index count, Index lines,
           const __grid_constant__ Sizes s) {
    const Index element = (Index)blockIdx.x * THREADS + threadIdx.x;
    if (element >= count) return;
    const int windows = (s.after[2] + EACH - 1) / EACH;
    const Index strip = element / windows;
    const int window = (int)(element - strip * windows), column = window * EACH;
    const bool whole = s.after[2] % EACH == 0;
    const int start = TAPS2 ? start2[window] : column, taps = s.taps[2];
    const T* weights = TAPS2 ? weight2 + (i64)window * taps * EACH : nullptr;
    A share[UNROLLED][EACH];
    if (TAPS2 > 0) {
#pragma unroll
        for (int w = 0; w < UNROLLED; ++w) {
            const Pack<T> found = load(weights + w * EACH);
#pragma unroll
            for (int j = 0; j < EACH; ++j) share[w][j] = (A)found.at[j];
        }
    }
    Index line = strip * s.rows;
    const Index stop = min(lines, line + s.rows), rest = line / s.after[1];
    int h = (int)(line - rest * s.after[1]);
    Index outer = rest / s.after[0];
    int d = (int)(rest - outer * s.after[0]);
    for (; line < stop; ++line) {
        const Axis<TAPS0> deep(d, s.taps[0], start0, weight0);
        const Axis<TAPS1> down(h, s.taps[1], start1, weight1);
        A total[EACH] = {};
#pragma unroll
        for (int k = 0; k < turns(TAPS0, s.taps[0]); ++k) {
            const A u = deep.of(k);
            if (TAPS0 < 0 && u == (A)0) continue;
            const Index plane = outer * s.before[0] + (deep.start + k);
#pragma unroll
            for (int l = 0; l < turns(TAPS1, s.taps[1]); ++l) {
                const A v = u * down.of(l);
                if (TAPS1 < 0 && v == (A)0) continue;
                const T* row = x + (plane * s.before[1] + (down.start + l)) * s.before[2] + start;
                A sum[EACH] = {};
                if (TAPS2 == 0 && whole) {
                    const Pack<T> found = load(row);
#pragma unroll
                    for (int j = 0; j < EACH; ++j) sum[j] = (A)found.at[j];
                } else if (TAPS2 == 0) {
#pragma unroll
                    for (int j = 0; j < EACH; ++j) {
                        if (column + j < s.after[2]) sum[j] = (A)row[j];
                    }
                } else if (TAPS2 > 0) {
                    A value[UNROLLED];
#pragma unroll
                    for (int w = 0; w < UNROLLED; ++w) value[w] = (A)row[w];
#pragma unroll
                    for (int w = 0; w < UNROLLED; ++w) {
#pragma unroll
                        for (int j = 0; j < EACH; ++j) {
                            if (share[w][j] != (A)0) sum[j] += share[w][j] * value[w];
                        }
                    }
                } else {
                    for (int w = 0; w < taps; ++w) {
                        const Pack<T> found = load(weights + w * EACH);
                        const A value = (A)row[w];
#pragma unroll
                        for (int j = 0; j < EACH; ++j) {
                            if ((A)found.at[j] != (A)0) sum[j] += (A)found.at[j] * value;
                        }
                    }
                }
#pragma unroll
                for (int j = 0; j < EACH; ++j) {
                    if (v != (A)0) total[j] += v * sum[j];
                }
            }
        }
        T* to = y + line * s.after[2] + column;
        Pack<T> made;
#pragma unroll
        for (int j = 0; j < EACH; ++j) made.at[j] = (T)total[j];
        if (whole) {
            store(to, made);
        } else {
#pragma unroll
            for (int j = 0; j < EACH; ++j) {
                if (column + j < s.after[2]) to[j] = made.at[j];
            }
        }
        if (++h < s.after[1]) continue;
        h = 0;
        if (++d < s.after[0]) continue;
        d = 0;
        ++outer;
    }
}

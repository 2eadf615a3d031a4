// Arrays (outer, D, H, W) resized along their last three axes: a thread for each element of y.
//
// An element i of an axis takes weight[i * taps + k] of place start[i] + k; where taps are 0 it
// stays. A weight of 0 does not count, whatever stands there. Macros: TYPE the dtype, ACC what is
// added up in, INDEX u32, or u64 where there are more elements.

typedef INDEX Index;

struct Sizes {
    int before[3], after[3], taps[3];
};

struct Axis {
    int start, taps;
    const T* weight;

    __device__ Axis(int i, int taps, const int* starts, const T* weights)
        : start(taps ? starts[i] : i), taps(taps ? taps : 1),
          weight(taps ? weights + (i64)i * taps : nullptr) {}

    __device__ A of(int k) const { return weight ? (A)weight[k] : (A)1; }
};

extern "C" __global__ void __launch_bounds__(THREADS)
    resize(const T* x, T* y, const int* start0, const T* weight0, const int* start1,
           const T* weight1, const int* start2, const T* weight2, Index count,
           const __grid_constant__ Sizes s) {
    const Index element = (Index)blockIdx.x * blockDim.x + threadIdx.x;
    if (element >= count) return;
    Index rest = element / s.after[2];
    const Axis across((int)(element - rest * s.after[2]), s.taps[2], start2, weight2);
    Index outer = rest / s.after[1];
    const Axis down((int)(rest - outer * s.after[1]), s.taps[1], start1, weight1);
    rest = outer / s.after[0];
    const Axis deep((int)(outer - rest * s.after[0]), s.taps[0], start0, weight0);
    outer = rest;
    A total = 0;
    for (int d = 0; d < deep.taps; ++d) {
        const A u = deep.of(d);
        if (u == (A)0) continue;
        const Index plane = outer * s.before[0] + (deep.start + d);
        for (int h = 0; h < down.taps; ++h) {
            const A v = u * down.of(h);
            if (v == (A)0) continue;
            const Index line = plane * s.before[1] + (down.start + h);
            const T* row = x + line * s.before[2] + across.start;
            A sum = 0;
            for (int w = 0; w < across.taps; ++w) {
                const A share = across.of(w);
                if (share != (A)0) sum += share * (A)row[w];
            }
            total += v * sum;
        }
    }
    y[element] = (T)total;
}

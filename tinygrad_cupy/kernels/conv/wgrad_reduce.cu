// Adds up the sums that the blocks of a weight gradient leave, in a fixed order: of type A, to T.
//
// partial (parts, O, taps, C) -> dw (O, C, taps); bias_partial (parts, O) -> db (O). TILE elements
// to a block of THREADS: thread (slice, element) adds every SLICESth part, then the slices are
// added.

constexpr int SLICES = THREADS / TILE;

extern "C" __global__ void conv_wgrad_reduce(const A* __restrict__ partial,
                                             const A* __restrict__ bias_partial,
                                             T* __restrict__ dw, T* __restrict__ db,
                                             int parts, int outputs, int taps, int channels) {
    __shared__ A slices[SLICES][TILE + 1];
    const int count = outputs * taps * channels;
    const int element = blockIdx.x * TILE + threadIdx.x % TILE, slice = threadIdx.x / TILE;
    const bool of_bias = element >= count;
    const A* from = of_bias ? bias_partial + (element - count) : partial + element;
    const size_t step = of_bias ? outputs : count;
    A sum = 0;
    if (element < count + outputs) {
#pragma unroll 4
        for (int part = slice; part < parts; part += SLICES) sum += from[part * step];
    }
    slices[slice][threadIdx.x % TILE] = sum;
    __syncthreads();
    if (slice || element >= count + outputs) return;
    for (int i = 1; i < SLICES; ++i) sum += slices[i][threadIdx.x];
    if (of_bias) {
        db[element - count] = (T)sum;
    } else {
        int c = element % channels, tap = element / channels % taps, o = element / channels / taps;
        dw[((size_t)o * channels + c) * taps + tap] = (T)sum;
    }
}

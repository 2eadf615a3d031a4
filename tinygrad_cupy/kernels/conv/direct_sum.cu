// Adds up the sums that the blocks of direct_wgrad.cu leave, in a fixed order: partial (parts, O,
// taps, C) -> dw (O, C, taps). TILE elements to a block: thread (slice, element) adds every
// SLICESth part, then the slices are added.

constexpr int SLICES = THREADS / TILE;

extern "C" __global__ void __launch_bounds__(THREADS)
    conv_direct_sum(const A* __restrict__ partial, T* __restrict__ dw, int parts, int count,
                    int taps, int channels) {
    __shared__ A slices[SLICES][TILE + 1];
    const int element = blockIdx.x * TILE + threadIdx.x % TILE, slice = threadIdx.x / TILE;
    A sum = 0;
    if (element < count)
#pragma unroll 4
        for (int part = slice; part < parts; part += SLICES)
            sum += partial[(i64)part * count + element];
    slices[slice][threadIdx.x % TILE] = sum;
    __syncthreads();
    if (slice || element >= count) return;
    for (int i = 1; i < SLICES; ++i) sum += slices[i][threadIdx.x];
    const int c = element % channels, tap = element / channels % taps;
    dw[((i64)(element / channels / taps) * channels + c) * taps + tap] = (T)sum;
}

// Softmax of rows without gaps (rows, columns), or with LOG its logarithm, in one pass over memory.

// The largest over the threads of a row, in all of them; NaN does not count.
__device__ __forceinline__ A largest_of_row(A top) {
#pragma unroll
    for (int apart = LANES < 32 ? LANES / 2 : 16; apart; apart /= 2) {
        const A other = __shfl_xor_sync(~0u, top, apart);
        top = other > top ? other : top;
    }
#if LANES > 32
    __shared__ A of_warps[WARPS];
    if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = top;
    __syncthreads();
    const int first = threadIdx.x / LANES * (LANES / 32);
#pragma unroll
    for (int warp = 0; warp < LANES / 32; ++warp) {
        top = of_warps[first + warp] > top ? of_warps[first + warp] : top;
    }
#endif
    return top;
}

// y = exp(x - top) / sum of exp(x - top), or its logarithm; top is the row's largest. A NaN makes
// the sum NaN, and so the row.
extern "C" __global__ void __launch_bounds__(THREADS)
    softmax_forward(const T* __restrict__ x, T* __restrict__ y, i64 rows, int columns) {
    const i64 own = (i64)blockIdx.x * SLOTS + threadIdx.x / LANES;
    const i64 row = own < rows ? own : rows - 1;  // threads beyond wait with the others
    const i64 start = start_of(row, columns, 1);
    Part part(x, start, columns, 1);
    A top = (A)x[start];  // NaN stays, and makes the row NaN
    each_pack(columns, [&](int i, int column) {
        const Pack<A> values = part.at(i, column);
#pragma unroll
        for (int k = 0; k < WIDTH; ++k) top = values.at[k] > top ? values.at[k] : top;
    });
    top = largest_of_row(top);
    double sums[WIDTH] = {};
    each_pack(columns, [&](int i, int column) {
        Pack<A> values = part.at(i, column);
#pragma unroll
        for (int k = 0; k < WIDTH; ++k) {
            const A shifted = values.at[k] - top, e = exp(shifted);
            sums[k] += (double)e;
            values.at[k] = LOG ? shifted : e;
        }
        if (PACKS) part.kept[i] = values;
    });
    double sum[1] = {sum_of(sums)};
    add_over_row(sum);
    if (own >= rows) return;
    const A total = (A)sum[0], less = LOG ? log(total) : (A)0;
    each_pack(columns, [&](int i, int column) {
        const Pack<A> values = part.at(i, column);
        Pack<T> out;
#pragma unroll
        for (int k = 0; k < WIDTH; ++k) {
            A value = values.at[k];
            if (!PACKS) value = LOG ? value - top : exp(value - top);
            out.at[k] = (T)(LOG ? value - less : value / total);
        }
        store(y + start + column, out);
    });
}

// dx = y * (grad - sum of grad * y), or with LOG grad - exp(y) * sum of grad.
extern "C" __global__ void __launch_bounds__(THREADS)
    softmax_backward(const T* __restrict__ grad, const T* __restrict__ y, T* __restrict__ dx,
                     i64 rows, int columns) {
    const i64 own = (i64)blockIdx.x * SLOTS + threadIdx.x / LANES;
    const i64 row = own < rows ? own : rows - 1;
    const i64 start = start_of(row, columns, 1);
    const Part incoming(grad, start, columns, 1), outcome(y, start, columns, 1);
    double sums[WIDTH] = {};
    each_pack(columns, [&](int i, int column) {
        const Pack<A> g = incoming.at(i, column), found = outcome.at(i, column);
#pragma unroll
        for (int k = 0; k < WIDTH; ++k) {
            sums[k] += LOG ? (double)g.at[k] : (double)g.at[k] * (double)found.at[k];
        }
    });
    double sum[1] = {sum_of(sums)};
    add_over_row(sum);
    if (own >= rows) return;
    const A total = (A)sum[0];
    each_pack(columns, [&](int i, int column) {
        const Pack<A> g = incoming.at(i, column), found = outcome.at(i, column);
        Pack<T> out;
#pragma unroll
        for (int k = 0; k < WIDTH; ++k) {
            out.at[k] = (T)(LOG ? g.at[k] - exp(found.at[k]) * total
                                : found.at[k] * (g.at[k] - total));
        }
        store(dx + start + column, out);
    });
}

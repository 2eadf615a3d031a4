// Products with a sparse matrix of M rows: the elements of row i are those from number starts[i] to
// starts[i + 1], of which number j stands in column places[j]. A group of LANES threads makes each
// sum, always in the same order.
//
// Macros: INDEX, int or long long, of starts, places and order; LANES, a power of two up to 32.

__device__ A of_group(A sum) {
#pragma unroll
    for (int by = LANES / 2; by; by /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, by);
    return sum;
}

// y (M, K) = the matrix times x (N, K). Element j has the value values[order[j]], or values[j]
// where order is null.
extern "C" __global__ void __launch_bounds__(THREADS)
    sparse_product(const T* __restrict__ values, const INDEX* __restrict__ order,
                   const INDEX* __restrict__ starts, const INDEX* __restrict__ places,
                   const T* __restrict__ x, T* __restrict__ y, i64 rows, i64 columns) {
    const i64 group = ((i64)blockIdx.x * THREADS + threadIdx.x) / LANES;
    const int lane = threadIdx.x % LANES;
    const bool inside = group < rows * columns;
    A sum = 0;
    if (inside) {
        const i64 row = group / columns, column = group % columns;
        for (INDEX j = starts[row] + lane; j < starts[row + 1]; j += LANES) {
            sum += (A)values[order ? order[j] : j] * (A)x[(i64)places[j] * columns + column];
        }
    }
    sum = of_group(sum);
    if (inside && !lane) y[group] = (T)sum;
}

// out (J) = the products of rows of u (M, K) with rows of v (N, K) where the matrix has elements.
extern "C" __global__ void __launch_bounds__(THREADS)
    sparse_sampled(const T* __restrict__ u, const T* __restrict__ v,
                   const INDEX* __restrict__ rows, const INDEX* __restrict__ places,
                   T* __restrict__ out, i64 count, i64 columns) {
    const i64 j = ((i64)blockIdx.x * THREADS + threadIdx.x) / LANES;
    const int lane = threadIdx.x % LANES;
    A sum = 0;
    if (j < count) {
        const T *left = u + (i64)rows[j] * columns, *right = v + (i64)places[j] * columns;
        for (i64 k = lane; k < columns; k += LANES) sum += (A)left[k] * (A)right[k];
    }
    sum = of_group(sum);
    if (j < count && !lane) out[j] = (T)sum;
}

// Sums of products: of rows with rows, and of the columns of a matrix with a vector.
//
// Each block adds up a part; the block that comes last adds the parts up, in order, so that every
// run gives the same. Sums are doubles until they are done.

constexpr int WARPS = THREADS / 32;

__device__ double of_warp(double sum) {
    for (int by = 16; by; by /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, by);
    return sum;
}

// y (rows) = sum of u * v (rows, length); partials (rows, parts). A block a part.
extern "C" __global__ void __launch_bounds__(THREADS)
    dots(const T* __restrict__ u, const T* __restrict__ v, T* __restrict__ y, double* partials,
         unsigned* ticket, i64 rows, i64 length, int parts) {
    __shared__ double warps[WARPS];
    __shared__ bool last;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const i64 row = blockIdx.x / parts, each = (length + parts - 1) / parts;
    const i64 begin = blockIdx.x % parts * each, end = min(length, begin + each);
    double sum = 0;
#pragma unroll 4
    for (i64 i = begin + threadIdx.x; i < end; i += THREADS) {
        sum += (double)u[row * length + i] * (double)v[row * length + i];
    }
    sum = of_warp(sum);
    if (!lane) warps[warp] = sum;
    __syncthreads();
    if (!threadIdx.x) {
        for (int i = 1; i < WARPS; ++i) sum += warps[i];
        if (parts == 1) {
            y[row] = (T)sum;
        } else {
            partials[blockIdx.x] = sum;
        }
    }
    if (parts == 1 || !is_last_block(last, ticket)) return;
    __threadfence();
    for (i64 of = warp; of < rows; of += WARPS) {
        sum = 0;
        for (int part = lane; part < parts; part += 32) sum += __ldcg(partials + of * parts + part);
        sum = of_warp(sum);
        if (!lane) y[of] = (T)sum;
    }
}

// y (columns) = sum of w (rows) * x (rows, columns); partials (gridDim.y, columns).
extern "C" __global__ void __launch_bounds__(THREADS)
    weighted_sums(const T* __restrict__ x, const T* __restrict__ w, T* __restrict__ y,
                  double* partials, unsigned* ticket, i64 rows, int columns) {
    __shared__ double lanes[DOWN][TILE];
    __shared__ bool last;
    const int across = threadIdx.x % TILE, down = threadIdx.x / TILE;
    const int column = blockIdx.x * TILE + across;
    const i64 each = (rows + gridDim.y - 1) / gridDim.y;
    const i64 begin = blockIdx.y * each, end = min(rows, begin + each);
    double sum = 0;
    if (column < columns) {
#pragma unroll 4
        for (i64 row = begin + down; row < end; row += DOWN) {
            sum += (double)x[row * columns + column] * (double)w[row];
        }
    }
    lanes[down][across] = sum;
    __syncthreads();
    if (!down && column < columns) {
        for (int i = 1; i < DOWN; ++i) sum += lanes[i][across];
        partials[(i64)blockIdx.y * columns + column] = sum;
    }
    if (!is_last_block(last, ticket)) return;
    __threadfence();
    add_up_parts(partials, y, lanes, columns);
}

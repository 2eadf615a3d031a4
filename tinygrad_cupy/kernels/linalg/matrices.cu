// What is done to matrices (count, n, n) element by element, between products and cuSOLVER's work.

// x: what cuSOLVER left of the lower triangle, column by column; NaN where it failed, which is
// where info is not 0.
extern "C" __global__ void linalg_cholesky_finish(T *x, const int *info, int n, i64 size)
{
    i64 place = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (place >= size) return;
    i64 matrix = place / ((i64)n * n);
    int within = (int)(place - matrix * n * n), column = within / n, row = within - column * n;
    if (info[matrix]) x[place] = (T)nan("");
    else if (row < column) x[place] = 0;
}

// The lower triangle alone, with half of the diagonal, in place.
extern "C" __global__ void linalg_lower_half(T *x, int n, i64 size)
{
    i64 place = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (place >= size) return;
    int within = (int)(place % ((i64)n * n)), row = within / n, column = within - row * n;
    if (row == column) x[place] /= 2;
    else if (row < column) x[place] = 0;
}

// (x + xᵀ) / 2 in place, in tiles of TILE by TILE, of which n has `tiles`. A block has a tile and
// the one across the diagonal.
extern "C" __global__ void linalg_symmetrize(T *x, int n, int tiles)
{
    __shared__ T above[TILE][TILE + 1], below[TILE][TILE + 1];
    int matrix = blockIdx.x / (tiles * tiles), tile = blockIdx.x - matrix * tiles * tiles;
    int top = tile / tiles * TILE, left = tile % tiles * TILE;
    if (left < top) return;
    x += (i64)matrix * n * n;
    for (int i = threadIdx.x / TILE; i < TILE; i += blockDim.x / TILE) {
        int j = threadIdx.x % TILE;
        if (top + i < n && left + j < n) above[i][j] = x[(i64)(top + i) * n + left + j];
        if (left + i < n && top + j < n) below[i][j] = x[(i64)(left + i) * n + top + j];
    }
    __syncthreads();
    for (int i = threadIdx.x / TILE; i < TILE; i += blockDim.x / TILE) {
        int j = threadIdx.x % TILE;
        if (top + i < n && left + j < n)
            x[(i64)(top + i) * n + left + j] = (above[i][j] + below[j][i]) / 2;
        if (left + i < n && top + j < n)
            x[(i64)(left + i) * n + top + j] = (below[i][j] + above[j][i]) / 2;
    }
}

// The largest of `count` values in the block, for all of its threads; NaN where there is one.
static __device__ T largest(const T *values, i64 count)
{
    __shared__ T of_warp[32];
    T found = 0;
    for (i64 i = threadIdx.x; i < count; i += blockDim.x) {
        T size = fabs(values[i]);
        found = size > found || size != size ? size : found;
    }
    for (int step = 16; step; step >>= 1) {
        T other = __shfl_xor_sync(~0u, found, step);
        found = other > found || other != other ? other : found;
    }
    __syncthreads();  // what it held before was read
    if ((threadIdx.x & 31) == 0) of_warp[threadIdx.x >> 5] = found;
    __syncthreads();
    found = of_warp[0];
    for (int i = 1; i < blockDim.x >> 5; i++)
        found = of_warp[i] > found || of_warp[i] != of_warp[i] ? of_warp[i] : found;
    return found;
}

// As `spread` in reference.py, by `each` blocks for a matrix: values and by_values of one lie
// `step` elements behind those of the last. alone: 1 where it is a function of the values only.
extern "C" __global__ void linalg_spread(
    const T *turned, const T *values, i64 value_step, const T *by_values, i64 by_value_step, T *out,
    int n, double equal, double noisy, int alone, int each)
{
    i64 matrix = blockIdx.x / each;
    turned += matrix * n * n;
    out += matrix * n * n;
    values += matrix * value_step;
    by_values += matrix * by_value_step;
    T limit = largest(values, n) * (T)equal, eps = (T)noisy;
    int close = 0;  // the values are in order: where two are close, neighbours are
    for (int i = threadIdx.x; i + 1 < n; i += blockDim.x)
        close |= !(fabs(values[i + 1] - values[i]) > limit);
    close = __syncthreads_or(close);
    T noise = close ? largest(turned, (i64)n * n) * eps : (T)0;
    T steep = close ? largest(by_values, n) : (T)0;
    i64 place = (blockIdx.x - matrix * each) * blockDim.x + threadIdx.x;
    if (place >= (i64)n * n) return;
    int i = (int)(place / n), j = (int)(place - (i64)i * n);
    if (i == j) {
        out[place] = by_values[i];
        return;
    }
    T here = turned[place], there = turned[(i64)j * n + i];
    T gap = values[j] - values[i], turning = (here - there) / 2;
    if (!close || !(fabs(gap) <= limit)) {
        out[place] = turning / gap;
        return;
    }
    T by_row = by_values[j], by_column = by_values[i];
    T row = turned[(i64)j * n + j], column = turned[(i64)i * n + i];
    T size = column * column + row * row;
    bool flat = fabs(by_row) <= steep * eps && fabs(by_column) <= steep * eps;
    bool some = fabs(column) > noise || fabs(row) > noise;
    bool ratio = some && fabs(by_column * row - by_row * column) <= noise * steep;
    bool symmetric = fabs(here) <= noise;
    if (!alone) symmetric = symmetric && fabs(by_row - by_column) <= steep * eps;
    if (fabs(here - there) > noise || !(flat || ratio || symmetric)) out[place] = (T)nan("");
    else
        out[place] = size > 0
            ? (by_column * column + by_row * row) / size * ((here + there) / 2)
            : (T)0;
}

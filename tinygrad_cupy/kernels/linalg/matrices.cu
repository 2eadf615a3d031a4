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

// By `each` blocks for a matrix: values and by_values of one lie steps of elements behind those of
// the last.
extern "C" __global__ void linalg_spread(
    const T *turned, const T *values, i64 value_step, const T *by_values, i64 by_value_step, T *out,
    int n, double equal, double noisy, int alone, int each)
{
    i64 matrix = blockIdx.x / each;
    turned += matrix * n * n;
    values += matrix * value_step;
    by_values += matrix * by_value_step;
    Limits limits(turned, n, values, by_values, n, equal, noisy);
    i64 place = (blockIdx.x - matrix * each) * blockDim.x + threadIdx.x;
    if (place >= (i64)n * n) return;
    int i = (int)(place / n), j = (int)(place - (i64)i * n);
    out[matrix * n * n + place] = spread_at(turned, n, values, by_values, i, j, limits, alone);
}

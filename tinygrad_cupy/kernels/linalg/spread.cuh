// The gradient by symmetric matrices in the frame of their eigenvectors, as `spread` in
// reference.py has it: what the kernels of large matrices and of small ones share.

// The largest size of `rows` by `columns` values, rows `pitch` apart, for all threads of the block;
// NaN where there is one.
static __device__ T largest(const T *values, int rows, int columns, int pitch)
{
    __shared__ T of_warp[32];
    T found = 0;
    for (i64 i = threadIdx.x; i < (i64)rows * columns; i += blockDim.x) {
        i64 row = i / columns;
        T size = fabs(values[row * pitch + (i - row * columns)]);
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

// What counts as equal and as nothing in one matrix, whose `turned` has rows `pitch` apart. All
// threads of the block come here together.
struct Limits {
    T equal, eps, noise, steep;
    int close;  // whether any two eigenvalues are; noise and steep are known only then

    __device__ Limits(
        const T *turned, int pitch, const T *values, const T *by_values, int n, double closeness,
        double noisy)
    {
        equal = largest(values, 1, n, n) * (T)closeness;
        eps = (T)noisy;
        int found = 0;  // the values are in order: where two are close, neighbours are
        for (int i = threadIdx.x; i + 1 < n; i += blockDim.x)
            found |= !(fabs(values[i + 1] - values[i]) > equal);
        close = __syncthreads_or(found);
        noise = close ? largest(turned, n, n, pitch) * eps : (T)0;
        steep = close ? largest(by_values, 1, n, n) : (T)0;
    }
};

// Element (i, j). alone: 1 where it is a function of the values only.
static __device__ T spread_at(
    const T *turned, int pitch, const T *values, const T *by_values, int i, int j,
    const Limits &limits, int alone)
{
    T by_row = by_values[j], by_column = by_values[i];
    if (i == j) return by_column;
    T here = turned[(i64)i * pitch + j], there = turned[(i64)j * pitch + i];
    T gap = values[j] - values[i];
    if (!limits.close || !(fabs(gap) <= limits.equal)) return (here - there) / 2 / gap;
    T row = turned[(i64)j * pitch + j], column = turned[(i64)i * pitch + i];
    T size = column * column + row * row;
    T noise = limits.noise, flattest = limits.steep * limits.eps;
    bool flat = fabs(by_row) <= flattest && fabs(by_column) <= flattest;
    bool some = fabs(column) > noise || fabs(row) > noise;
    bool ratio = some && fabs(by_column * row - by_row * column) <= noise * limits.steep;
    bool symmetric = fabs(here) <= noise;
    if (!alone) symmetric = symmetric && fabs(by_row - by_column) <= flattest;
    if (fabs(here - there) > noise || !(flat || ratio || symmetric)) return (T)nan("");
    T share = size == 0 ? (T)0 : (by_column * column + by_row * row) / size;  // NaN stays
    return share * ((here + there) / 2);
}

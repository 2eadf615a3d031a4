// What the kernels of rows (R, C) share: how threads lie on a row.
//
// LANES threads, a power of two, have a row, and a block SLOTS rows at a time. A thread takes every
// LANES-th pack of WIDTH elements and keeps PACKS of them, all it has; with PACKS 0 a row is too
// long to be kept and is read again. With FULL all threads have as many. Sums are in double, and in
// an order that depends on the macros alone. A is what elements are computed in.
//
// With SEGMENT a row is a group of that many channels of an image that has `groups` of them, the
// channels last in memory: a segment of each pixel. Else a row has no gaps.

const int SLOTS = THREADS / LANES;
#if LANES > 32
const int WARPS = THREADS / 32;
#endif

// The column at which pack i of a thread begins.
__device__ __forceinline__ int column_of(int i) {
    return ((int)threadIdx.x % LANES + i * LANES) * WIDTH;
}

// Where a row begins, and where in it a column lies.
__device__ __forceinline__ i64 start_of(i64 row, int columns, int groups) {
    if (!SEGMENT) return row * columns;
    return row / groups * groups * columns + row % groups * SEGMENT;
}
__device__ __forceinline__ i64 place_of(int column, int groups) {
    if (!SEGMENT) return column;
    const int width = SEGMENT ? SEGMENT : 1, pixel = column / width;
    return (i64)pixel * groups * width + (column - pixel * width);
}

// Calls use(i, column) for each pack of this thread.
template <class Use>
__device__ __forceinline__ void each_pack(int columns, Use use) {
#if PACKS
#pragma unroll
    for (int i = 0; i < PACKS; ++i) {
        if (column_of(i) < columns) use(i, column_of(i));
    }
#else
#pragma unroll 4
    for (int i = 0; column_of(i) < columns; ++i) use(i, column_of(i));
#endif
}

// WIDTH neighbours as what they are computed in.
__device__ __forceinline__ Pack<A> wide(const T* from) {
    const Pack<T> read = load(from);
    Pack<A> found;
#pragma unroll
    for (int k = 0; k < WIDTH; ++k) found.at[k] = (A)read.at[k];
    return found;
}

// A thread's part of a row, in registers where they are enough. With FULL no branch parts the
// loads, so that all are under way at once. What is computed has one for each pack all the same: it
// keeps the compiler from doing all packs at a time, for which there are no registers.
struct Part {
    const T* row;
    int groups;
    Pack<A> kept[PACKS ? PACKS : 1];

    __device__ __forceinline__ Part(const T* x, i64 start, int columns, int groups)
        : row(x + start), groups(groups) {
#pragma unroll
        for (int i = 0; i < PACKS; ++i) {
            if (FULL || column_of(i) < columns) kept[i] = read(column_of(i));
        }
    }

    __device__ __forceinline__ Pack<A> read(int column) const {
        return wide(row + place_of(column, groups));
    }

    __device__ __forceinline__ Pack<A> at(int i, int column) const {
        return PACKS ? kept[i] : read(column);
    }
};

// The WIDTH sums of a thread as one.
__device__ __forceinline__ double sum_of(const double (&sums)[WIDTH]) {
    double sum = sums[0];
#pragma unroll
    for (int k = 1; k < WIDTH; ++k) sum += sums[k];
    return sum;
}

// Adds up each of sums over the threads of a row, in all of them. All threads of the block come
// here.
template <int N>
__device__ __forceinline__ void add_over_row(double (&sums)[N]) {
#pragma unroll
    for (int apart = LANES < 32 ? LANES / 2 : 16; apart; apart /= 2) {
#pragma unroll
        for (int n = 0; n < N; ++n) sums[n] += __shfl_xor_sync(~0u, sums[n], apart);
    }
#if LANES > 32
    __shared__ double of_warps[N][WARPS];
    __syncthreads();  // what was in them is read
    if (threadIdx.x % 32 == 0) {
        for (int n = 0; n < N; ++n) of_warps[n][threadIdx.x / 32] = sums[n];
    }
    __syncthreads();
    const int first = threadIdx.x / LANES * (LANES / 32);
#pragma unroll
    for (int n = 0; n < N; ++n) {
        sums[n] = of_warps[n][first];
#pragma unroll
        for (int warp = 1; warp < LANES / 32; ++warp) sums[n] += of_warps[n][first + warp];
    }
#endif
}

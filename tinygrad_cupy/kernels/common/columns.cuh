// Columns that the blocks of a launch have added up in parts, TILE columns wide and DOWN rows high.

constexpr int DOWN = THREADS / TILE;

// sums (columns) of partials (gridDim.y, columns), by the block that came last, in order.
__device__ __forceinline__ void add_up_parts(const double* partials, T* sums,
                                             double (&lanes)[DOWN][TILE], int columns) {
    const int across = threadIdx.x % TILE, down = threadIdx.x / TILE;
    for (int base = 0; base < columns; base += TILE) {
        double sum = 0;
        if (base + across < columns) {
#pragma unroll 4
            for (int part = down; part < gridDim.y; part += DOWN) {
                sum += __ldcg(partials + (i64)part * columns + base + across);
            }
        }
        __syncthreads();
        lanes[down][across] = sum;
        __syncthreads();
        if (!down && base + across < columns) {
            for (int i = 1; i < DOWN; ++i) sum += lanes[i][across];
            sums[base + across] = (T)sum;
        }
    }
}

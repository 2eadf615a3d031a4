// Sums of the columns of a matrix, the gradient of a bias above all; and with them, for a fully
// connected layer, the gradient behind ReLU.
//
// Blocks are TILE columns wide and DOWN rows high, and walk down a part of the rows. Each leaves
// the sums of its part; the block that comes last adds them up, in order, so that every run gives
// the same. Sums are doubles until they are done: however many rows there are, they lose no digits.

// grad, masked (rows, columns), partials (gridDim.y, columns) -> sums (columns).
// y, like grad, is ReLU's output: masked is grad where it is positive, else 0. Both may be null.
extern "C" __global__ void __launch_bounds__(THREADS)
    column_sums(const T* __restrict__ grad, const T* __restrict__ y, T* __restrict__ masked,
                T* __restrict__ sums, double* partials, unsigned* ticket, i64 rows, int columns) {
    __shared__ double lanes[DOWN][TILE];
    __shared__ bool last;
    const int across = threadIdx.x % TILE, down = threadIdx.x / TILE;
    const int column = blockIdx.x * TILE + across;
    const i64 each = (rows + gridDim.y - 1) / gridDim.y;
    const i64 start = blockIdx.y * each, stop = min(rows, start + each);
    double sum = 0;
    if (column < columns) {
#pragma unroll 4
        for (i64 row = start + down; row < stop; row += DOWN) {
            const i64 place = row * columns + column;
            T value = grad[place];
            if (y) {
                if (y[place] <= 0) value = 0;
                masked[place] = value;
            }
            sum += value;
        }
    }
    lanes[down][across] = sum;
    __syncthreads();
    if (!down && column < columns) {
        for (int i = 1; i < DOWN; ++i) sum += lanes[i][across];
        if (gridDim.y == 1) {
            sums[column] = (T)sum;
        } else {
            partials[(i64)blockIdx.y * columns + column] = sum;
        }
    }
    if (gridDim.y == 1) return;
    if (!is_last_block(last, ticket)) return;
    __threadfence();
    add_up_parts(partials, sums, lanes, columns);
}

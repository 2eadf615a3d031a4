// Sums of the columns of a matrix, the gradient of a bias above all; and with them, for a fully
// connected layer, the gradient behind ReLU.
//
// Blocks are 32 columns wide and 8 rows high, and walk down a part of the rows. Each leaves the
// sums of its part; the block that comes last adds them up, in order, so that every run gives the
// same. Sums are doubles until they are done: however many rows there are, they lose no digits.

#ifndef TYPE
#define TYPE float
#endif

typedef TYPE T;
typedef long long i64;

// grad, gated (rows, columns), partials (gridDim.y, columns) -> sums (columns).
// y, like grad, is ReLU's output: gated is grad where it is positive, else 0. Both may be null.
extern "C" __global__ void __launch_bounds__(256)
    gate_and_sum(const T* __restrict__ grad, const T* __restrict__ y, T* __restrict__ gated,
                 T* __restrict__ sums, double* partials, unsigned* ticket, i64 rows,
                 int columns) {
    __shared__ double lanes[8][32];
    __shared__ bool last;
    const int across = threadIdx.x % 32, down = threadIdx.x / 32;
    const int column = blockIdx.x * 32 + across;
    const i64 each = (rows + gridDim.y - 1) / gridDim.y;
    const i64 start = blockIdx.y * each, stop = min(rows, start + each);
    double sum = 0;
    if (column < columns) {
#pragma unroll 4
        for (i64 row = start + down; row < stop; row += 8) {
            const i64 place = row * columns + column;
            T value = grad[place];
            if (y) {
                if (y[place] <= 0) value = 0;
                gated[place] = value;
            }
            sum += value;
        }
    }
    lanes[down][across] = sum;
    __syncthreads();
    if (!down && column < columns) {
        for (int i = 1; i < 8; ++i) sum += lanes[i][across];
        if (gridDim.y == 1) {
            sums[column] = (T)sum;
        } else {
            partials[(i64)blockIdx.y * columns + column] = sum;
        }
    }
    if (gridDim.y == 1) return;
    __threadfence();
    __syncthreads();
    const unsigned blocks = gridDim.x * gridDim.y;
    if (!threadIdx.x) last = atomicInc(ticket, blocks - 1) == blocks - 1;  // back to 0 at the end
    __syncthreads();
    if (!last) return;
    __threadfence();
    for (int base = 0; base < columns; base += 32) {
        sum = 0;
        if (base + across < columns) {
#pragma unroll 4
            for (int part = down; part < gridDim.y; part += 8) {
                sum += __ldcg(partials + (i64)part * columns + base + across);
            }
        }
        __syncthreads();
        lanes[down][across] = sum;
        __syncthreads();
        if (!down && base + across < columns) {
            for (int i = 1; i < 8; ++i) sum += lanes[i][across];
            sums[base + across] = (T)sum;
        }
    }
}

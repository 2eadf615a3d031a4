// Fully connected layers with few outputs, such as a classifier's last one, in float32. They are
// bound by the memory they read and write, not by products: a thread takes four columns of x (a
// quad) at a time and multiplies them with all outputs.
//
// Sizes alone decide which thread adds up what, and in which order: the bits are the same every
// time, wherever the arrays lie.
//
// Macros: OUTPUTS; ALIGNED, whether quads lie at multiples of 16 bytes; for the layer itself LANES,
// ROWS and FORWARD_THREADS, the most of a block; for its gradients QUADS, THREADS of a block, CHUNK
// rows of the gradient in shared memory at a time, and DX, DW and DB for which of them are wanted.

// The quad at `from`, where `left` columns are left; zero beyond the last.
__device__ __forceinline__ float4 load(const float* from, i64 left) {
    if (ALIGNED) return left > 0 ? __ldg((const float4*)from) : make_float4(0, 0, 0, 0);
    return make_float4(left > 0 ? __ldg(from) : 0, left > 1 ? __ldg(from + 1) : 0,
                       left > 2 ? __ldg(from + 2) : 0, left > 3 ? __ldg(from + 3) : 0);
}

__device__ __forceinline__ void store(float* to, float4 quad, i64 left) {
    if (ALIGNED) {
        if (left > 0) __stwb((float4*)to, quad);  // an assignment becomes four stores
    } else {
        if (left > 0) to[0] = quad.x;
        if (left > 1) to[1] = quad.y;
        if (left > 2) to[2] = quad.z;
        if (left > 3) to[3] = quad.w;
    }
}

__device__ __forceinline__ void add_product(float4& sum, float a, float4 b) {
    sum.x += a * b.x, sum.y += a * b.y, sum.z += a * b.z, sum.w += a * b.w;
}

#ifdef LANES
constexpr int TOGETHER = LANES < 32 ? LANES : 32;  // lanes of one warp that share rows
constexpr int GROUP = ROWS * OUTPUTS;              // sums of those rows
constexpr int AHEAD = ALIGNED && GROUP <= 24 ? 2 : 1;  // quads of a row in flight, by registers

// y (rows, OUTPUTS) = x (rows, columns) @ weight (OUTPUTS, columns).T + bias, and ReLU of that
// where asked for. LANES threads, a power of 2, share ROWS rows: each weight that one of them reads
// is used ROWS times. bias may be null.
extern "C" __global__ void __launch_bounds__(FORWARD_THREADS, 2)
    skinny_linear(const float* __restrict__ x, const float* __restrict__ weight,
                  const float* __restrict__ bias, float* __restrict__ y, i64 rows, i64 columns,
                  int relu) {
    __shared__ float parts[FORWARD_THREADS / TOGETHER][GROUP];
    const i64 first = (i64)blockIdx.x * (blockDim.x / LANES) * ROWS;  // of the block
    const float* from[ROWS];
#pragma unroll
    for (int k = 0; k < ROWS; ++k) {  // the last row again where there are no more
        from[k] = x + min(first + threadIdx.x / LANES * ROWS + k, rows - 1) * columns;
    }
    float sums[ROWS][OUTPUTS] = {};
#pragma unroll AHEAD
    for (i64 column = threadIdx.x % LANES * 4; column < columns; column += 4 * LANES) {
        float4 given[ROWS];
#pragma unroll
        for (int k = 0; k < ROWS; ++k) given[k] = load(from[k] + column, columns - column);
#pragma unroll
        for (int o = 0; o < OUTPUTS; ++o) {
            const float4 w = load(weight + o * columns + column, columns - column);
#pragma unroll
            for (int k = 0; k < ROWS; ++k) {
                sums[k][o] += given[k].x * w.x;
                sums[k][o] += given[k].y * w.y;
                sums[k][o] += given[k].z * w.z;
                sums[k][o] += given[k].w * w.w;
            }
        }
    }
#pragma unroll
    for (int i = 0; i < GROUP; ++i) {
        float sum = sums[i / OUTPUTS][i % OUTPUTS];
#pragma unroll
        for (int step = TOGETHER / 2; step; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
        if (threadIdx.x % TOGETHER == 0) parts[threadIdx.x / TOGETHER][i] = sum;
    }
    __syncthreads();
    // What the block gives lies in one piece.
    for (int i = threadIdx.x; i < blockDim.x / LANES * GROUP; i += blockDim.x) {
        if (first * OUTPUTS + i >= rows * OUTPUTS) return;
        float sum = 0;
        for (int warp = 0; warp < LANES / TOGETHER; ++warp) {
            sum += parts[i / GROUP * (LANES / TOGETHER) + warp][i % GROUP];
        }
        if (bias) sum += bias[i % OUTPUTS];
        y[first * OUTPUTS + i] = relu && sum < 0 ? 0 : sum;  // NaN stays
    }
}
#endif

#ifdef QUADS
constexpr int DOWN = THREADS / QUADS;  // threads that share a column
constexpr int WIDTH = (OUTPUTS + 3) / 4;
constexpr int PITCH = WIDTH | 1;  // float4s from row to row: odd, so that 8 rows share no bank
constexpr int AHEAD = 4;          // rows of x in flight

// Every thread's sums by output; a column is QUADS apart, and the rest keeps outputs off each
// other's banks.
struct Sums {
    static constexpr int CELLS = OUTPUTS * QUADS * 4;

    float4 at[OUTPUTS][THREADS + QUADS];

    __device__ void put(const float4* mine) {
#pragma unroll
        for (int o = 0; o < OUTPUTS; ++o) at[o][threadIdx.x] = mine[o];
        __syncthreads();
    }

    // Cell i of (OUTPUTS, QUADS * 4), added up in order.
    __device__ float total(int i) const {
        const float* cells = (const float*)at[i / (QUADS * 4)] + i % (QUADS * 4);
        float sum = 0;
#pragma unroll 16
        for (int down = 0; down < DOWN; ++down) sum += cells[down * QUADS * 4];
        return sum;
    }
};

// dx (rows, columns) = g @ weight, dw (OUTPUTS, columns) = g.T @ x and db (OUTPUTS), the sums of g
// over the rows, for g (rows, OUTPUTS): grad where y, ReLU's output, is positive, else 0, or grad
// itself where y is null. A bias is as good as the weight of one more column of x: one of ones,
// behind the last quad.
//
// Blocks are QUADS quads wide and walk down `each` rows, a multiple of CHUNK. Where several share
// their columns (gridDim.y), each leaves its sums in partials (gridDim.y, gridDim.x, CELLS), and
// the one that comes last adds them up. tickets (gridDim.x) are zero before and after.
extern "C" __global__ void __launch_bounds__(THREADS)
    skinny_linear_backward(const float* __restrict__ grad, const float* __restrict__ y,
                           const float* __restrict__ x, const float* __restrict__ weight,
                           float* __restrict__ dx, float* __restrict__ dw, float* __restrict__ db,
                           float* partials, unsigned* tickets, i64 rows, i64 columns, i64 each) {
    __shared__ float4 given[CHUNK * PITCH];
    const int across = threadIdx.x % QUADS, down = threadIdx.x / QUADS;
    const i64 column = ((i64)blockIdx.x * QUADS + across) * 4, left = columns - column;
    const i64 ones = (columns + 3) / 4 * 4;
    float4 w[OUTPUTS], sums[OUTPUTS];
#pragma unroll
    for (int o = 0; o < OUTPUTS; ++o) {
        if (DX) w[o] = load(weight + o * columns + column, left);
        sums[o] = make_float4(0, 0, 0, 0);
    }
    const i64 start = blockIdx.y * each, stop = min(rows, start + each);
    for (i64 base = start; base < stop; base += CHUNK) {
        const int count = min((i64)CHUNK, stop - base);
        __syncthreads();
#pragma unroll 4
        for (int i = threadIdx.x; i < count * OUTPUTS; i += THREADS) {
            const i64 place = base * OUTPUTS + i;
            float value = grad[place];
            if (y && y[place] <= 0) value = 0;
            ((float*)given)[i / OUTPUTS * PITCH * 4 + i % OUTPUTS] = value;
        }
        __syncthreads();
        if (left <= 0 && !(DB && column == ones)) continue;
        for (int row = down; row < count; row += AHEAD * DOWN) {
            const i64 place = (base + row) * columns + column;
            float4 values[AHEAD];
#pragma unroll
            for (int k = 0; k < AHEAD; ++k) {
                values[k] = make_float4(DB && column == ones, 0, 0, 0);
                if (DW && left > 0 && row + k * DOWN < count) {
                    values[k] = load(x + place + k * DOWN * columns, left);
                }
            }
#pragma unroll
            for (int k = 0; k < AHEAD; ++k) {
                if (row + k * DOWN >= count) break;
                alignas(16) float g[WIDTH * 4];
#pragma unroll
                for (int i = 0; i < WIDTH; ++i) {
                    ((float4*)g)[i] = given[(row + k * DOWN) * PITCH + i];
                }
                float4 found = {};
#pragma unroll
                for (int o = 0; o < OUTPUTS; ++o) {
                    if (DX) add_product(found, g[o], w[o]);
                    if (DW || DB) add_product(sums[o], g[o], values[k]);
                }
                if (DX) store(dx + place + k * DOWN * columns, found, left);
            }
        }
    }
#if DW || DB
    __shared__ Sums all;
    __shared__ bool last;
    const auto give = [&](int i) {
        const int o = i / (QUADS * 4);
        const i64 to = (i64)blockIdx.x * QUADS * 4 + i % (QUADS * 4);
        const float sum = all.total(i);
        if (DW && to < columns) dw[o * columns + to] = sum;
        if (DB && to == ones) db[o] = sum;
    };
    all.put(sums);
    if (gridDim.y == 1) {
        for (int i = threadIdx.x; i < Sums::CELLS; i += THREADS) give(i);
        return;
    }
    float* part = partials + ((i64)blockIdx.y * gridDim.x + blockIdx.x) * Sums::CELLS;
    for (int i = threadIdx.x; i < Sums::CELLS; i += THREADS) part[i] = all.total(i);
    if (!is_last_block<true>(last, tickets)) return;
    __threadfence();
#pragma unroll
    for (int o = 0; o < OUTPUTS; ++o) sums[o] = make_float4(0, 0, 0, 0);
    for (int k = down; k < gridDim.y; k += DOWN) {
        const i64 place = ((i64)k * gridDim.x + blockIdx.x) * Sums::CELLS;
        const float4* from = (const float4*)(partials + place);
#pragma unroll
        for (int o = 0; o < OUTPUTS; ++o) {
            const float4 more = __ldcg(from + o * QUADS + across);
            sums[o].x += more.x, sums[o].y += more.y, sums[o].z += more.z, sums[o].w += more.w;
        }
    }
    all.put(sums);
    for (int i = threadIdx.x; i < Sums::CELLS; i += THREADS) give(i);
#endif
}
#endif

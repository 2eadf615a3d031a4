// The gradients of normalized rows: by x in one pass over memory, with SUMS those by weight and
// bias along with it.
//
// Each block walks over rows, and its threads keep the sums of their columns. What a block has
// added up is a line of partials, and layer_norm_add_up adds up the lines, in order: no atomics, so
// that every run gives the same. Longer rows than have such sums in registers are read once more,
// by layer_norm_columns.

constexpr int DOWN = THREADS / TILE;

#if SUMS
// partials (columns): sums of this block's columns, of which each of its rows has a part.
__device__ __forceinline__ void add_over_block(double (&sums)[PACKS][WIDTH], double* partials,
                                               int columns) {
    constexpr int APART = LANES < 32 ? 32 : LANES, GROUPS = THREADS / APART;
    __shared__ double groups[GROUPS][LANES * WIDTH];
    const int lane = threadIdx.x % APART;
#pragma unroll
    for (int i = 0; i < PACKS; ++i) {
#pragma unroll
        for (int k = 0; k < WIDTH; ++k) {
#pragma unroll
            for (int apart = 16; apart >= LANES; apart /= 2) {
                sums[i][k] += __shfl_xor_sync(~0u, sums[i][k], apart);
            }
            if (lane < LANES) groups[threadIdx.x / APART][lane * WIDTH + k] = sums[i][k];
        }
        __syncthreads();
        for (int at = threadIdx.x; at < LANES * WIDTH; at += THREADS) {
            double sum = groups[0][at];
#pragma unroll
            for (int group = 1; group < GROUPS; ++group) sum += groups[group][at];
            if (i * LANES * WIDTH + at < columns) partials[i * LANES * WIDTH + at] = sum;
        }
        __syncthreads();  // groups may be written again
    }
}
#endif

// dx (rows, columns) and, with SUMS, partials (gridDim.x, 2, columns). stats as the forward gave
// them; weight (columns) or null; inverse is 1 / columns.
extern "C" __global__ void __launch_bounds__(THREADS, 512 / THREADS)
    layer_norm_backward(const T* __restrict__ grad, const T* __restrict__ x,
                        const T* __restrict__ weight, const double* __restrict__ stats,
                        T* __restrict__ dx, double* __restrict__ partials, i64 rows, int columns,
                        int groups, int centred, double inverse) {
#if SUMS
    double by_weight[PACKS][WIDTH] = {}, by_bias[PACKS][WIDTH] = {};
#endif
    for (i64 base = (i64)blockIdx.x * SLOTS; base < rows; base += (i64)gridDim.x * SLOTS) {
        const i64 own = base + threadIdx.x / LANES;
        const bool there = own < rows;  // threads beyond wait with the others
        const i64 row = there ? own : rows - 1;
        const i64 start = start_of(row, columns, groups);
        Part part(x, start, columns, groups), incoming(grad, start, columns, groups);
        const double mean = stats[2 * row], scale = stats[2 * row + 1];
        // What is summed up, of x and grad: the normalized ones, and the gradients by those.
        const auto pair = [&](int i, int column, bool first, Pack<A>& normal, Pack<A>& inner) {
            normal = part.at(i, column), inner = incoming.at(i, column);
            if (PACKS && !first) return;
#pragma unroll
            for (int k = 0; k < WIDTH; ++k) {
                normal.at[k] = (A)(((double)normal.at[k] - mean) * scale);
#if SUMS
                const double g = there ? (double)inner.at[k] : 0;
                by_weight[i][k] += g * (double)normal.at[k];
                by_bias[i][k] += g;
#endif
            }
            if (weight) {
                const Pack<A> gain = wide(weight + column);
#pragma unroll
                for (int k = 0; k < WIDTH; ++k) inner.at[k] *= gain.at[k];
            }
            if (PACKS) part.kept[i] = normal, incoming.kept[i] = inner;
        };
        double all[WIDTH] = {}, along[WIDTH] = {};
        each_pack(columns, [&](int i, int column) {
            Pack<A> normal, inner;
            pair(i, column, true, normal, inner);
#pragma unroll
            for (int k = 0; k < WIDTH; ++k) {
                all[k] += (double)inner.at[k];
                along[k] += (double)inner.at[k] * (double)normal.at[k];
            }
        });
        double sums[2] = {sum_of(all), sum_of(along)};
        add_over_row(sums);
        if (!there) continue;  // the block's last turn
        const A less = centred ? (A)(sums[0] * inverse) : (A)0;
        const A slope = (A)(sums[1] * inverse), factor = (A)scale;
        each_pack(columns, [&](int i, int column) {
            Pack<A> normal, inner;
            pair(i, column, false, normal, inner);
            Pack<T> out;
#pragma unroll
            for (int k = 0; k < WIDTH; ++k) {
                out.at[k] = (T)((inner.at[k] - less - normal.at[k] * slope) * factor);
            }
            store(dx + start + place_of(column, groups), out);
        });
    }
#if SUMS
    double* line = partials + (i64)blockIdx.x * 2 * columns;
    add_over_block(by_weight, line, columns);
    add_over_block(by_bias, line + columns, columns);
#endif
}

// partials (gridDim.y, 2, columns) alone: blocks are TILE columns wide and walk down their rows.
extern "C" __global__ void __launch_bounds__(THREADS)
    layer_norm_columns(const T* __restrict__ grad, const T* __restrict__ x,
                       const double* __restrict__ stats, double* __restrict__ partials, i64 rows,
                       int columns) {
    __shared__ double lines[2][DOWN][TILE];
    const int across = threadIdx.x % TILE, down = threadIdx.x / TILE;
    const int column = blockIdx.x * TILE + across;
    double sums[2] = {};
    if (column < columns) {
#pragma unroll 4
        for (i64 row = (i64)blockIdx.y * DOWN + down; row < rows; row += (i64)gridDim.y * DOWN) {
            const A value = (A)x[row * columns + column], g = (A)grad[row * columns + column];
            const A normal = (A)(((double)value - stats[2 * row]) * stats[2 * row + 1]);
            sums[0] += (double)g * (double)normal;
            sums[1] += (double)g;
        }
    }
    lines[0][down][across] = sums[0];
    lines[1][down][across] = sums[1];
    __syncthreads();
    if (down || column >= columns) return;
    for (int n = 0; n < 2; ++n) {
        for (int i = 1; i < DOWN; ++i) sums[n] += lines[n][i][across];
        partials[((i64)blockIdx.y * 2 + n) * columns + column] = sums[n];
    }
}

// by_weight and by_bias (columns), or null, of partials (parts, 2, columns).
extern "C" __global__ void __launch_bounds__(THREADS)
    layer_norm_add_up(const double* __restrict__ partials, T* __restrict__ by_weight,
                      T* __restrict__ by_bias, int parts, int columns) {
    __shared__ double lines[DOWN][TILE];
    const int across = threadIdx.x % TILE, down = threadIdx.x / TILE;
    const i64 at = (i64)blockIdx.x * TILE + across;
    double sum = 0;
    if (at < 2 * (i64)columns) {
#pragma unroll 8
        for (int part = down; part < parts; part += DOWN) {
            sum += partials[(i64)part * 2 * columns + at];
        }
    }
    lines[down][across] = sum;
    __syncthreads();
    if (down || at >= 2 * (i64)columns) return;
    for (int i = 1; i < DOWN; ++i) sum += lines[i][across];
    T* to = at < columns ? by_weight : by_bias;
    if (to) to[at < columns ? at : at - columns] = (T)(A)sum;
}

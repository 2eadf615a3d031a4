// Attention, backward: the weights p are made again from the scores and their logarithms. With
// g the gradient by y,
//
//     dv = pᵀ g,  ds = p (g vᵀ - rowsum(g y)),  dq = scale · ds k,  dk = scale · dsᵀ q.
//
// One kernel has rows of queries and walks over keys, for dq; one has rows of keys and walks over
// queries, for dk and dv, its scores transposed. So nothing is added up by two blocks.

constexpr int TILE_BYTES = COLUMNS * ROW, STAGE_BYTES = 2 * TILE_BYTES + 2 * COLUMNS * 4;
constexpr int ROWS_BYTES = BM * ROW;  // of each of the two left operands

// dots (B, H, L) = rowsum(g · y), a warp for each row.
extern "C" __global__ void __launch_bounds__(BLOCK)
    attention_backward_dots(const Operand* __restrict__ g, const Operand* __restrict__ y,
                            float* __restrict__ dots, const __grid_constant__ Attention a,
                            i64 rows) {
    const i64 row = (i64)blockIdx.x * WARPS + threadIdx.x / 32;
    if (row >= rows) return;
    const i64 count = row / a.queries;
    const int query = (int)(row - count * a.queries);
    const int batch = (int)(count / a.heads), head = (int)(count - (i64)batch * a.heads);
    g += place(a.g, batch, head) + query * a.g.row;
    y += place(a.y, batch, head) + query * a.y.row;
    float sum = 0;
    for (int i = threadIdx.x % 32; i < a.width; i += 32) {
#if KIND == 0
        sum += g[i] * y[i];
#else
        sum += from_bits(g[i], KIND) * from_bits(y[i], KIND);
#endif
    }
#pragma unroll
    for (int by = 16; by; by /= 2) sum += __shfl_xor_sync(0xffffffff, sum, by);
    if (threadIdx.x % 32 == 0) dots[row] = sum;
}

extern "C" __global__ void __launch_bounds__(BLOCK, BLOCKS)
    attention_backward_queries(const Operand* __restrict__ q, const Operand* __restrict__ k,
                               const Operand* __restrict__ v, const Mask* __restrict__ mask,
                               const Operand* __restrict__ g, const float* __restrict__ logs,
                               const float* __restrict__ dots, Operand* __restrict__ dq,
                               const __grid_constant__ Attention a) {
    extern __shared__ __align__(128) u8 memory[];
    const u32 own = shared_address(memory), stages = own + 2 * ROWS_BYTES;
    const Task task(a.queries, BM, a.heads, CAUSAL);
    const Lane lane;
    const int block = task.block * BM, first = block + lane.warp * TALLNESS;
    const int seen = CAUSAL ? min(a.keys, block + BM) : a.keys;
    const int tiles = (seen + COLUMNS - 1) / COLUMNS;
    k += place(a.k, task.batch, task.head / a.shared);
    v += place(a.v, task.batch, task.head / a.shared);
    if (MASK) mask += task.batch * a.mask_batch + task.head * a.mask_head;

    const auto copy = [&](int tile) {
        const u32 to = stages + tile % 2 * STAGE_BYTES;
        const int key = tile * COLUMNS;
        copy_tile<COLUMNS>(to, k + key * a.k.row, a.k.row, a.keys - key, a.width);
        copy_tile<COLUMNS>(to + TILE_BYTES, v + key * a.v.row, a.v.row, a.keys - key, a.width);
        copies_end_group();
    };
    const auto arrive = [&](int tile) {
        const u32 at = stages + tile % 2 * STAGE_BYTES;
        copies_wait<0>();
        settle_tile<COLUMNS>(at);
        settle_tile<COLUMNS>(at + TILE_BYTES);
    };
    copy_tile<BM>(own, q + place(a.q, task.batch, task.head) + block * a.q.row, a.q.row,
                  a.queries - block, a.width);
    copy_tile<BM>(own + ROWS_BYTES, g + place(a.g, task.batch, task.head) + block * a.g.row,
                  a.g.row, a.queries - block, a.width);
    copy(0);
    float log[TALL][2], dot[TALL][2];
#pragma unroll
    for (int i = 0; i < TALL; ++i)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int row = first + 16 * i + 8 * half + lane.g;
            const i64 at = (i64)task.count * a.queries + row;
            log[i][half] = row < a.queries ? logs[at] : infinite();
            dot[i][half] = row < a.queries ? dots[at] : 0;
        }
    arrive(0);
    settle_tile<BM>(own);
    settle_tile<BM>(own + ROWS_BYTES);
    __syncthreads();
    Left queries, grads;
    queries.open(own, lane.warp * TALLNESS, lane.own);
    grads.open(own + ROWS_BYTES, lane.warp * TALLNESS, lane.own);

    Found found;
    clear(found);
    const float factor = unit(a);
    for (int tile = 0; tile < tiles; ++tile) {
        if (tile > 0) {
            arrive(tile);
            __syncthreads();  // and all have read the other tile
        }
        if (tile + 1 < tiles) copy(tile + 1);
        const u32 keys = stages + tile % 2 * STAGE_BYTES;
#pragma unroll 1
        for (int part = 0; part < COLUMNS; part += PART) {
            const int key = tile * COLUMNS + part;
            Sums scores, slopes;
            multiply_rows(scores, queries, keys, part, lane);
            multiply_rows(slopes, grads, keys + TILE_BYTES, part, lane);
            const bool some = needs_mask(first, key, PART, a);
            const int query = first + lane.g, own = key + 2 * lane.t;
            const Mask* corner = place(mask, query, own, a);
#pragma unroll
            for (int i = 0; i < TALL; ++i)
#pragma unroll
                for (int j = 0; j < PART / 8; ++j)
#pragma unroll
                    for (int e = 0; e < 4; ++e) {
                        float score = scores[i][j][e];
                        if (some)
                            score = masked(score, query, own, corner, 16 * i + e / 2 * 8,
                                           8 * j + e % 2, a);
                        const float weight = power_of_two(fmaf(score, factor, -log[i][e / 2]));
                        scores[i][j][e] = weight * (slopes[i][j][e] - dot[i][e / 2]);
                    }
            Weights weights;
            as_left(weights, scores);
            multiply_columns(found, weights, keys, part, lane);
        }
    }
    dq += place(a.dq, task.batch, task.head);
    store_rows(dq, a.dq.row, found, first, a.queries, a.width, lane,
               [&](int, int) { return a.scale; });
}

extern "C" __global__ void __launch_bounds__(BLOCK, BLOCKS)
    attention_backward_keys(const Operand* __restrict__ q, const Operand* __restrict__ k,
                            const Operand* __restrict__ v, const Mask* __restrict__ mask,
                            const Operand* __restrict__ g, const float* __restrict__ logs,
                            const float* __restrict__ dots, Operand* __restrict__ dk,
                            Operand* __restrict__ dv, const __grid_constant__ Attention a) {
    extern __shared__ __align__(128) u8 memory[];
    const u32 own = shared_address(memory), stages = own + 2 * ROWS_BYTES;
    const Task task(a.keys, BM, a.heads / a.shared, false);  // its heads are those of keys
    const Lane lane;
    const int block = task.block * BM, first = block + lane.warp * TALLNESS;
    const int all = (a.queries + COLUMNS - 1) / COLUMNS;
    const int from = CAUSAL ? min(block / COLUMNS, all) : 0;  // sooner ones see none of these keys
    const int tiles = all - from, steps = tiles * a.shared;

    // Step by step the tiles of a head of queries, then those of the next that shares the keys.
    const auto copy = [&](int step) {
        const u32 to = stages + step % 2 * STAGE_BYTES;
        const int shared = step / tiles, query = (from + step - shared * tiles) * COLUMNS;
        const int head = task.head * a.shared + shared;
        const int left = a.queries - query;
        copy_tile<COLUMNS>(to, q + place(a.q, task.batch, head) + query * a.q.row, a.q.row, left,
                           a.width);
        copy_tile<COLUMNS>(to + TILE_BYTES, g + place(a.g, task.batch, head) + query * a.g.row,
                           a.g.row, left, a.width);
        const i64 row = ((i64)task.batch * a.heads + head) * a.queries + query;
        for (int i = threadIdx.x; i < COLUMNS; i += BLOCK) {
            const u32 at = to + 2 * TILE_BYTES + 4 * i;
            if (i < left) {
                copy_float(at, logs + row + i);
                copy_float(at + 4 * COLUMNS, dots + row + i);
            } else {
                share(at, infinite());
                share(at + 4 * COLUMNS, 0.0f);
            }
        }
        copies_end_group();
    };
    const auto arrive = [&](int step) {
        const u32 at = stages + step % 2 * STAGE_BYTES;
        copies_wait<0>();
        settle_tile<COLUMNS>(at);
        settle_tile<COLUMNS>(at + TILE_BYTES);
    };
    copy_tile<BM>(own, k + place(a.k, task.batch, task.head) + block * a.k.row, a.k.row,
                  a.keys - block, a.width);
    copy_tile<BM>(own + ROWS_BYTES, v + place(a.v, task.batch, task.head) + block * a.v.row,
                  a.v.row, a.keys - block, a.width);
    copies_end_group();
    if (steps > 0) copy(0);
    copies_wait<0>();
    settle_tile<BM>(own);
    settle_tile<BM>(own + ROWS_BYTES);
    if (steps > 0) arrive(0);
    __syncthreads();
    Left keys, values;
    keys.open(own, lane.warp * TALLNESS, lane.own);
    values.open(own + ROWS_BYTES, lane.warp * TALLNESS, lane.own);

    Found by_keys, by_values;
    clear(by_keys);
    clear(by_values);
    const float factor = unit(a);
    for (int step = 0; step < steps; ++step) {
        if (step > 0) {
            arrive(step);
            __syncthreads();  // and all have read the other tile
        }
        if (step + 1 < steps) copy(step + 1);
        const u32 queries = stages + step % 2 * STAGE_BYTES;
        const int shared = step / tiles, tile = (from + step - shared * tiles) * COLUMNS;
        const Mask* of_head = mask;
        if (MASK)
            of_head += task.batch * a.mask_batch
                       + (i64)(task.head * a.shared + shared) * a.mask_head;
#pragma unroll 1
        for (int part = 0; part < COLUMNS; part += PART) {
            const int query = tile + part;
            const u32 rows = queries + 2 * TILE_BYTES + 4 * (part + 2 * lane.t);
            Sums scores, slopes;
            multiply_rows(scores, keys, queries, part, lane);
            multiply_rows(slopes, values, queries + TILE_BYTES, part, lane);
            const bool some = needs_mask(query, first, TALLNESS, a);
            const int row = query + 2 * lane.t, key = first + lane.g;
            const Mask* corner = place(of_head, row, key, a);
#pragma unroll
            for (int j = 0; j < PART / 8; ++j)
#pragma unroll
                for (int odd = 0; odd < 2; ++odd) {
                    const float log = shared_float(rows + 4 * (8 * j + odd));
                    const float dot = shared_float(rows + 4 * (COLUMNS + 8 * j + odd));
#pragma unroll
                    for (int i = 0; i < TALL; ++i)
#pragma unroll
                        for (int e = odd; e < 4; e += 2) {
                            float score = scores[i][j][e];
                            if (some)
                                score = masked(score, row, key, corner, 8 * j + odd,
                                               16 * i + e / 2 * 8, a);
                            const float weight = power_of_two(fmaf(score, factor, -log));
                            scores[i][j][e] = weight;
                            slopes[i][j][e] = weight * (slopes[i][j][e] - dot);
                        }
                }
            Weights weights;
            as_left(weights, scores);
            multiply_columns(by_values, weights, queries + TILE_BYTES, part, lane);
            as_left(weights, slopes);
            multiply_columns(by_keys, weights, queries, part, lane);
        }
    }
    dk += place(a.dk, task.batch, task.head);
    dv += place(a.dv, task.batch, task.head);
    store_rows(dk, a.dk.row, by_keys, first, a.keys, a.width, lane,
               [&](int, int) { return a.scale; });
    store_rows(dv, a.dv.row, by_values, first, a.keys, a.width, lane,
               [&](int, int) { return 1.0f; });
}

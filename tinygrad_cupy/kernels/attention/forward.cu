// Attention, forward: a block has BM queries, and walks over tiles of COLUMNS keys and values, one
// of which is multiplied while the next arrives in shared memory. Of each row the greatest score m
// and the sum of 2^(score - m) are kept, and what was summed up is scaled down where m grows
// (Milakov and Gimelshein 2018).
//
// Here HALVES is 1: the greatest score of a tile must be known before its first weight.

constexpr int TILE_BYTES = COLUMNS * ROW, STAGE_BYTES = 2 * TILE_BYTES;

// y, and `logs` (B, H, L): log2 of the sum of 2^score; infinite for a row that sees no key.
extern "C" __global__ void __launch_bounds__(BLOCK, BLOCKS)
    attention_forward(const Operand* __restrict__ q, const Operand* __restrict__ k,
                      const Operand* __restrict__ v, const Mask* __restrict__ mask,
                      Operand* __restrict__ y, float* __restrict__ logs,
                      const __grid_constant__ Attention a) {
    extern __shared__ __align__(128) u8 memory[];
    const u32 queries = shared_address(memory), stages = queries + BM * ROW;
    const Task task(a.queries, BM, a.heads, CAUSAL);
    const Lane lane;
    const int block = task.block * BM, first = block + lane.warp * TALLNESS;
    const int seen = CAUSAL ? min(a.keys, block + BM) : a.keys;
    const int tiles = (seen + COLUMNS - 1) / COLUMNS;
    q += place(a.q, task.batch, task.head) + block * a.q.row;
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
    copy_tile<BM>(queries, q, a.q.row, a.queries - block, a.width);
    copy(0);
    arrive(0);
    settle_tile<BM>(queries);
    __syncthreads();
    Left left;
    left.open(queries, lane.warp * TALLNESS, lane.own);

    Found found;
    clear(found);
    float most[TALL][2], sum[TALL][2];
#pragma unroll
    for (int i = 0; i < TALL; ++i)
#pragma unroll
        for (int half = 0; half < 2; ++half) most[i][half] = -infinite(), sum[i][half] = 0;
    const float factor = unit(a);

    for (int tile = 0; tile < tiles; ++tile) {
        if (tile > 0) {
            arrive(tile);
            __syncthreads();  // and all have read the other tile
        }
        if (tile + 1 < tiles) copy(tile + 1);
        const u32 keys = stages + tile % 2 * STAGE_BYTES;
        const int key = tile * COLUMNS;
        Sums scores;
        multiply_rows(scores, left, keys, 0, lane);
        if (needs_mask(first, key, COLUMNS, a)) {
            const int query = first + lane.g, own = key + 2 * lane.t;
            const Mask* corner = place(mask, query, own, a);
#pragma unroll
            for (int i = 0; i < TALL; ++i)
#pragma unroll
                for (int j = 0; j < PART / 8; ++j)
#pragma unroll
                    for (int e = 0; e < 4; ++e)
                        scores[i][j][e] =
                            masked(scores[i][j][e], query, own, corner, 16 * i + e / 2 * 8,
                                   8 * j + e % 2, a);
        }
        bool grew = false;
        float down[TALL][2];
#pragma unroll
        for (int i = 0; i < TALL; ++i)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                float top = most[i][half];
#pragma unroll
                for (int j = 0; j < PART / 8; ++j)
                    top = fmaxf(top, fmaxf(scores[i][j][2 * half], scores[i][j][2 * half + 1]));
                top = fmaxf(top, __shfl_xor_sync(0xffffffff, top, 1));
                top = fmaxf(top, __shfl_xor_sync(0xffffffff, top, 2));
                const float base = top == -infinite() ? 0 : top * factor;
                down[i][half] = power_of_two(most[i][half] * factor - base);
                grew = grew || top != most[i][half];
                most[i][half] = top;
                float part = 0;
#pragma unroll
                for (int j = 0; j < PART / 8; ++j)
#pragma unroll
                    for (int e = 2 * half; e < 2 * half + 2; ++e) {
                        scores[i][j][e] = power_of_two(fmaf(scores[i][j][e], factor, -base));
                        part += scores[i][j][e];
                    }
                sum[i][half] = sum[i][half] * down[i][half] + part;
            }
        if (__any_sync(0xffffffff, grew)) {
#pragma unroll
            for (int i = 0; i < TALL; ++i)
#pragma unroll
                for (int j = 0; j < TILES; ++j)
#pragma unroll
                    for (int e = 0; e < 4; ++e) found[i][j][e] *= down[i][e / 2];
        }
        Weights weights;
        as_left(weights, scores);
        multiply_columns(found, weights, keys + TILE_BYTES, 0, lane);
    }

#pragma unroll
    for (int i = 0; i < TALL; ++i)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            float& total = sum[i][half];
            total += __shfl_xor_sync(0xffffffff, total, 1);
            total += __shfl_xor_sync(0xffffffff, total, 2);
            const int row = first + 16 * i + 8 * half + lane.g;
            if (lane.t == 0 && row < a.queries)
                logs[(i64)task.count * a.queries + row] =
                    total == 0 ? infinite() : most[i][half] * factor + log2f(total);
        }
    y += place(a.y, task.batch, task.head);
    store_rows(y, a.y.row, found, first, a.queries, a.width, lane, [&](int i, int half) {
        return sum[i][half] == 0 ? 0.0f : 1 / sum[i][half];
    });
}

// Attention, forward, by wgmma: a block has OWN queries and walks over tiles of KEYS keys and
// values, which lie in the ring in turns. While the tensor cores are at the scores of a tile and at
// the products of the weights before, the next weights are made of scores that are there.

constexpr int KEYS = ACROSS;  // of a tile
constexpr int TILE_BYTES = KEYS * ROW;

__device__ __forceinline__ void copy_tiles(const Operand* q, const Operand* k, const Operand* v,
                                           const Attention& a, int block, int tiles, u32 queries,
                                           const Ring& ring) {
    const int thread = threadIdx.x - GROUPS * 128;
    Stage stage;
    OnTheirWay on_their_way;
    copy_tile<OWN>(queries, q + block * a.q.row, a.q.row, a.queries - block, a.width, thread);
    for (int tile = 0; tile < tiles; ++tile) {
        const int key = tile * KEYS, left = a.keys - key;
#pragma unroll 1
        for (int second = 0; second < 2; ++second) {
            on_their_way.make_way(ring, stage);
            const u32 to = ring.slices + stage.number * TILE_BYTES;
            const i64 stride = second ? a.v.row : a.k.row;
            copy_tile<KEYS>(to, (second ? v : k) + key * stride, stride, left, a.width, thread);
            stage.next();
            on_their_way.one_more(ring);
        }
    }
    on_their_way.all(ring);
}

// Of a thread's two rows, g and g + 8 of its warp's: the greatest score, a part of the sum of
// 2^(score - it), and by what the last tile scaled sums down.
struct Softmax {
    float most[2], sum[2], down[2];
    bool grew;

    __device__ Softmax() {
        most[0] = most[1] = -infinite();
        sum[0] = sum[1] = 0;
    }
    // Scores become weights; times `factor` they are in units of log 2.
    __device__ __forceinline__ void weigh(float (&scores)[KEYS / 2], float factor) {
        grew = false;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            float top = most[half];
#pragma unroll
            for (int j = 0; j < KEYS / 8; ++j)
                top = fmaxf(top, fmaxf(scores[4 * j + 2 * half], scores[4 * j + 2 * half + 1]));
            top = fmaxf(top, __shfl_xor_sync(0xffffffff, top, 1));
            top = fmaxf(top, __shfl_xor_sync(0xffffffff, top, 2));
            const float base = top == -infinite() ? 0 : top * factor;
            down[half] = power_of_two(most[half] * factor - base);
            grew = grew || top != most[half];
            most[half] = top;
            float part = 0;
#pragma unroll
            for (int j = 0; j < KEYS / 8; ++j)
#pragma unroll
                for (int e = 4 * j + 2 * half; e < 4 * j + 2 * half + 2; ++e) {
                    scores[e] = power_of_two(fmaf(scores[e], factor, -base));
                    part += scores[e];
                }
            sum[half] = sum[half] * down[half] + part;
        }
    }
    __device__ __forceinline__ void scale_down(float (&found)[WIDTH / 2]) const {
        if (!__any_sync(0xffffffff, grew)) return;
#pragma unroll
        for (int i = 0; i < WIDTH / 2; ++i) found[i] *= down[i / 2 % 2];
    }
};

// Scores of keys that a query does not see; its row and key are those of the thread's first score.
__device__ __forceinline__ void mask_scores(float (&scores)[KEYS / 2], int query, int key,
                                            const Attention& a) {
#pragma unroll
    for (int i = 0; i < KEYS / 2; ++i) {
        const int column = key + i / 4 * 8 + i % 2, row = query + i / 2 % 2 * 8;
        if (column >= a.keys || (CAUSAL && column > row)) scores[i] = -infinite();
    }
}

__device__ __forceinline__ void multiply_tiles(Operand* y, float* logs, const Attention& a,
                                               int block, int tiles, u32 queries,
                                               const Ring& ring) {
    const int group = threadIdx.x / 128, lane = threadIdx.x % 32;
    const int own = threadIdx.x / 32 * 16, row = block + own + lane / 4;  // of the block; of all
    const u32 left = queries + group * 64 * SLAB_ROW;
    const float factor = a.scale * LOG2_E;
    const auto slice = [&](const Stage& stage) { return ring.slices + stage.number * TILE_BYTES; };
    Stage of_keys, of_values;
    of_values.next();

    float scores[KEYS / 2], found[WIDTH / 2];
    u32 weights[KEYS / 16][4];
    Softmax softmax;
    clear(found);
    const auto weigh = [&](int tile) {
        const int key = tile * KEYS;
        if (key + KEYS > a.keys || (CAUSAL && key + KEYS - 1 > block + own))
            mask_scores(scores, row, key + lane % 4 * 2, a);
        softmax.weigh(scores, factor);
    };
    const auto go_on = [&](Stage& stage) {
        __syncwarp();
        ring.hand_back(stage.number);
        stage.next(), stage.next();
    };

    ring.wait_full(of_keys);
    products_may_begin();
    multiply_rows<OWN, KEYS>(scores, left, slice(of_keys));
    products_end_group();
    products_wait<0>();
    sums_are_there(scores);
    go_on(of_keys);
    weigh(0);
    as_left<KEYS>(weights, scores);
    if (tiles > 1) ring.wait_full(of_keys);
    for (int tile = 1; tile < tiles; ++tile) {
        products_may_begin();
        multiply_rows<OWN, KEYS>(scores, left, slice(of_keys));
        products_end_group();
        ring.wait_full(of_values);
        products_may_begin();
        multiply_columns<KEYS>(found, weights, slice(of_values));
        products_end_group();
        products_wait<1>();
        sums_are_there(scores);
        go_on(of_keys);
        weigh(tile);
        // The next keys are waited for here: without a branch the compiler puts all that is made of
        // the scores behind the wait for the products, where nothing is at work.
        sums_are_there(scores);
        if (tile + 1 < tiles) ring.wait_full(of_keys);
        products_wait<0>();
        sums_are_there(found);
        go_on(of_values);
        softmax.scale_down(found);
        as_left<KEYS>(weights, scores);
    }
    ring.wait_full(of_values);
    products_may_begin();
    multiply_columns<KEYS>(found, weights, slice(of_values));
    products_end_group();
    products_wait<0>();
    sums_are_there(found);

    float by[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        float total = softmax.sum[half];
        total += __shfl_xor_sync(0xffffffff, total, 1);
        total += __shfl_xor_sync(0xffffffff, total, 2);
        by[half] = total == 0 ? 0 : 1 / total;
        const int query = row + 8 * half;
        if (lane % 4 == 0 && query < a.queries)
            logs[query] =
                total == 0 ? infinite() : softmax.most[half] * factor + log2f(total);
    }
    meet(1 + group, 128);  // all of the group have read the queries
    const int first = block + own;
    store_rows<OWN>(queries, own, found, by[0], by[1], y + first * a.y.row, a.y.row,
                    a.queries - first, a.width);
}

// y, and `logs` (B, H, L): log2 of the sum of 2^score; infinite for a row that sees no key.
extern "C" __global__ void __launch_bounds__(GROUPS * 128 + 128, 1)
    attention_wgmma_forward(const Operand* __restrict__ q, const Operand* __restrict__ k,
                            const Operand* __restrict__ v, Operand* __restrict__ y,
                            float* __restrict__ logs, const __grid_constant__ Attention a) {
    extern __shared__ __align__(128) u8 memory[];
    const u32 queries = (shared_address(memory) + 1023) / 1024 * 1024;
    const Ring ring(queries + OWN * ROW, TILE_BYTES);
    const Task task(a.queries, OWN, a.heads, CAUSAL);
    const int block = task.block * OWN;
    const int seen = CAUSAL ? min(a.keys, block + OWN) : a.keys;
    const int tiles = (seen + KEYS - 1) / KEYS;
    if (threadIdx.x >= GROUPS * 128) {
        give_registers<OF_COPIERS>();
        const int shared = task.head / a.shared;
        copy_tiles(q + place(a.q, task.batch, task.head), k + place(a.k, task.batch, shared),
                   v + place(a.v, task.batch, shared), a, block, tiles, queries, ring);
    } else {
        take_registers<OF_OTHERS>();
        multiply_tiles(y + place(a.y, task.batch, task.head), logs + (i64)task.count * a.queries,
                       a, block, tiles, queries, ring);
    }
}

// Attention, backward, by wgmma. With g the gradient by y, and p the weights, which are made again
// from the scores and their logarithms,
//
//     dv = pᵀ g,  ds = p (g vᵀ - rowsum(g y)),  dk = scale · dsᵀ q,  dq = scale · ds k.
//
// A block has OWN keys and walks over tiles of QUERIES queries, the last ones first. It multiplies
// scores transposed, a warpgroup 64 keys, so that pᵀ and dsᵀ are left operands in registers for dv
// and dk; for dq, all of the block's ds goes through shared memory.
//
// All blocks of a head add to `sums` of dq, in the order of their keys: the one of the first keys
// stores, and one that has added counts the tile's turn up, for which the next one waits. A thread
// that neither copies nor multiplies sees to that. Blocks take their work in that order from a
// counter, so what one waits for has begun before it.

constexpr int QUERIES = ACROSS;  // of a tile
constexpr int TILE_BYTES = QUERIES * ROW, SLOPES_BYTES = OWN * QUERIES * 2;
constexpr int STAGE_BYTES = 2 * TILE_BYTES + 1024;  // q, g, and of each row what Row is
constexpr int WARPS = GROUPS * 4;
constexpr int PARTS = 2;  // of dq's tile, 64 rows or columns, one for each group
constexpr int OF_ROWS = QUERIES / 64;
static_assert(GROUPS == PARTS && QUERIES * WIDTH == 64 * 64 * PARTS, "a group's part of dq");

struct Row {
    float log, dot;  // log2 of the sum of 2^score; rowsum(g · y)
};
static_assert(QUERIES * sizeof(Row) <= 1024 && QUERIES * sizeof(Row) / 16 <= COPIERS, "rows");

// Where things lie: tiles of keys and values, two of dsᵀ, the ring, barriers for the turns.
struct Places {
    u32 keys, values, slopes, ring;
    __device__ explicit Places(u32 memory) {
        keys = (memory + 1023) / 1024 * 1024;
        values = keys + OWN * ROW, slopes = values + OWN * ROW, ring = slopes + 2 * SLOPES_BYTES;
    }
    // Barriers: it is the block's turn; its warps have added. Then the block's number.
    __device__ u32 turn() const { return ring + STAGES * (STAGE_BYTES + 16); }
    __device__ u32 added() const { return turn() + 8; }
    __device__ u32 number() const { return turn() + 16; }
};

// The work of a block: its keys, in tasks of `together` heads of keys at a time.
struct Work {
    int key, batch, head;
    int order;         // how many blocks come before
    int tiles, first;  // of queries in all, and the first that sees these keys

    __device__ Work(int number, int together, const Attention& a) {
        const int heads = a.heads / a.shared, blocks = (a.keys + OWN - 1) / OWN;
        const int bundle = number / (together * blocks), rest = number - bundle * together * blocks;
        const int those = min(together, (int)gridDim.x / blocks - bundle * together);
        order = rest / those;
        const int count = bundle * together + rest - order * those;
        batch = count / heads, head = count - batch * heads;
        key = order * OWN;
        tiles = (a.queries + QUERIES - 1) / QUERIES;
        first = CAUSAL ? min(key / QUERIES, tiles) : 0;
    }
    __device__ int steps(const Attention& a) const { return (tiles - first) * a.shared; }
};

// A step: a tile of a head of queries, and its number among all tiles.
struct Step {
    int head, query;
    i64 number;
    __device__ Step(int step, const Work& work, const Attention& a) {
        const int each = work.tiles - work.first, shared = step / each;
        const int tile = work.tiles - 1 - (step - shared * each);
        head = work.head * a.shared + shared, query = tile * QUERIES;
        number = ((i64)work.batch * a.heads + head) * work.tiles + tile;
    }
};

__device__ __forceinline__ void copy_tiles(const Operand* q, const Operand* k, const Operand* v,
                                           const Operand* g, const Row* rows, const Attention& a,
                                           const Work& work, const Places& places,
                                           const Ring& ring) {
    const int thread = threadIdx.x - GROUPS * 128, left_keys = a.keys - work.key;
    const int steps = work.steps(a);
    Stage stage;
    OnTheirWay on_their_way;
    if (steps == 0) return;
    copy_tile<OWN>(places.keys, k + place(a.k, work.batch, work.head) + work.key * a.k.row,
                   a.k.row, left_keys, a.width, thread);
    copy_tile<OWN>(places.values, v + place(a.v, work.batch, work.head) + work.key * a.v.row,
                   a.v.row, left_keys, a.width, thread);
    for (int i = 0; i < steps; ++i) {
        const Step step(i, work, a);
        const int left = a.queries - step.query;
        on_their_way.make_way(ring, stage);
        const u32 to = ring.slices + stage.number * STAGE_BYTES;
        copy_tile<QUERIES>(to, q + place(a.q, work.batch, step.head) + step.query * a.q.row,
                           a.q.row, left, a.width, thread);
        copy_tile<QUERIES>(to + TILE_BYTES,
                           g + place(a.g, work.batch, step.head) + step.query * a.g.row, a.g.row,
                           left, a.width, thread);
        if (thread < QUERIES / 2)
            copy_piece(to + 2 * TILE_BYTES + 16 * thread,
                       rows + step.number * QUERIES + 2 * thread, 16);
        stage.next();
        on_their_way.one_more(ring);
    }
    on_their_way.all(ring);
}

// One thread tells the block's others when it is their turn to add to a tile of dq, and other
// blocks when they have.
__device__ __forceinline__ void take_turns(u32* turns, const Attention& a, const Work& work,
                                           const Places& places) {
    for (int i = 0; i < work.steps(a); ++i) {
        u32* turn = turns + Step(i, work, a).number;
        wait_for_count(turn, work.order);
        barrier_arrive(places.turn());
        barrier_wait(places.added(), i % 2);
        count_up(turn);
    }
}

__device__ __forceinline__ void multiply_tiles(float* sums, Operand* dk, Operand* dv,
                                               const Attention& a, const Work& work,
                                               const Places& places, const Ring& ring) {
    const int group = threadIdx.x / 128, lane = threadIdx.x % 32;
    const int own = threadIdx.x / 32 * 16, key = work.key + own + lane / 4;  // of the block; of all
    const float factor = a.scale * LOG2_E;
    const u32 own_keys = places.keys + group * 64 * SLAB_ROW;
    const u32 own_values = places.values + group * 64 * SLAB_ROW;
    const u32 columns = places.keys + (OF_ROWS == 1 ? group * OWN * SLAB_ROW : 0);
    const Writer writer;
    const int steps = work.steps(a);

    float by_keys[WIDTH / 2], by_values[WIDTH / 2];
    clear(by_keys);
    clear(by_values);
    u32 weights[QUERIES / 16][4], slopes_left[QUERIES / 16][4];
    Stage stage;
    if (steps > 0) ring.wait_full(stage);
    for (int i = 0; i < steps; ++i) {
        const Step step(i, work, a);
        const u32 queries = ring.slices + stage.number * STAGE_BYTES;
        const int number = stage.number;
        const u32 grads = queries + TILE_BYTES, rows = queries + 2 * TILE_BYTES;
        float scores[QUERIES / 2], slopes[QUERIES / 2], by_queries[32];
        products_may_begin();
        multiply_rows<OWN, QUERIES>(scores, own_keys, queries);
        products_end_group();
        multiply_rows<OWN, QUERIES>(slopes, own_values, grads);
        products_end_group();
        products_wait<1>();
        sums_are_there(scores);

        if (work.key + own + 16 > a.keys || (CAUSAL && work.key + own + 15 > step.query)) {
#pragma unroll
            for (int e = 0; e < QUERIES / 2; ++e) {
                const int query = step.query + lane % 4 * 2 + e / 4 * 8 + e % 2;
                const int of = key + e / 2 % 2 * 8;
                if (of >= a.keys || (CAUSAL && of > query)) scores[e] = -infinite();
            }
        }
        const u32 own_rows = rows + lane % 4 * 16;  // two for each eight columns
#pragma unroll
        for (int j = 0; j < QUERIES / 8; ++j) {
            const float4 two = shared_float4(own_rows + 64 * j);
#pragma unroll
            for (int e = 4 * j; e < 4 * j + 4; ++e)
                scores[e] = power_of_two(fmaf(scores[e], factor, e % 2 ? -two.z : -two.x));
        }
        // As in wgmma_forward.cu, weights are made while products are at work.
        sums_are_there(scores);
        stage.next();
        if (i + 1 < steps) ring.wait_full(stage);
        products_wait<0>();
        sums_are_there(slopes);
#pragma unroll
        for (int j = 0; j < QUERIES / 8; ++j) {
            const float4 two = shared_float4(own_rows + 64 * j);
#pragma unroll
            for (int e = 4 * j; e < 4 * j + 4; ++e)
                slopes[e] = scores[e] * (slopes[e] - (e % 2 ? two.w : two.y));
        }
        as_left<QUERIES>(weights, scores);
        as_left<QUERIES>(slopes_left, slopes);
        const u32 shared_slopes = places.slopes + i % 2 * SLOPES_BYTES;
#pragma unroll
        for (int k = 0; k < QUERIES / 16; ++k)
            writer.store<OWN>(shared_slopes, own, k, slopes_left[k]);
        async_proxy_fence();
        meet(1, GROUPS * 128);

        products_may_begin();
        const u64 left = descriptor_transposed(
            shared_slopes + (OF_ROWS == 1 ? 0 : group * OWN * SLAB_ROW), OWN * SLAB_ROW);
        const u64 right = descriptor_transposed(columns, OWN * SLAB_ROW);
#pragma unroll
        for (int k = 0; k < OWN / 16; ++k) {
            const int next = k * (16 * SLAB_ROW / UNIT);
            multiply<1, 1>(by_queries, left + next, right + next, k > 0);
        }
        products_end_group();
        multiply_columns<QUERIES>(by_values, weights, grads);
        multiply_columns<QUERIES>(by_keys, slopes_left, queries);
        products_end_group();
        products_wait<1>();
        sums_are_there(by_queries);
        // As threads have them: of each eight columns four numbers of each thread of the group.
        float* to = sums + step.number * (QUERIES * WIDTH) + threadIdx.x / 128 * 4096
                    + threadIdx.x % 128 * 4;
        barrier_wait(places.turn(), i % 2);
        if (work.order > 0) {
#pragma unroll
            for (int j = 0; j < 32; j += 4)
                add_four(to + j * 128, by_queries[j], by_queries[j + 1], by_queries[j + 2],
                         by_queries[j + 3]);
        } else {
#pragma unroll
            for (int j = 0; j < 32; j += 4)
                *(float4*)(to + j * 128) = make_float4(by_queries[j], by_queries[j + 1],
                                                       by_queries[j + 2], by_queries[j + 3]);
        }
        __syncwarp();
        if (lane == 0) barrier_arrive(places.added());
        products_wait<0>();
        sums_are_there(by_keys);
        sums_are_there(by_values);
        __syncwarp();
        ring.hand_back(number);
    }
    meet(1, GROUPS * 128);  // all have read the keys
    const int first = work.key + own, left = a.keys - first;
    dk += place(a.dk, work.batch, work.head) + first * a.dk.row;
    dv += place(a.dv, work.batch, work.head) + first * a.dv.row;
    store_rows<OWN>(places.keys, own, by_keys, a.scale, a.scale, dk, a.dk.row, left, a.width);
    store_rows<OWN>(places.values, own, by_values, 1, 1, dv, a.dv.row, left, a.width);
}

// dk, dv, and `sums` of dq / scale. turns: a counter of blocks, then one of each tile of queries,
// all 0.
extern "C" __global__ void __launch_bounds__(GROUPS * 128 + 128, 1)
    attention_wgmma_backward(const Operand* __restrict__ q, const Operand* __restrict__ k,
                             const Operand* __restrict__ v, const Operand* __restrict__ g,
                             const Row* __restrict__ rows, float* sums, u32* turns,
                             Operand* __restrict__ dk, Operand* __restrict__ dv,
                             const __grid_constant__ Attention a, int together) {
    extern __shared__ __align__(128) u8 memory[];
    const Places places(shared_address(memory));
    u32* number = (u32*)(memory + (places.number() - shared_address(memory)));
    if (threadIdx.x == 0) {
        barrier_init(places.turn(), 1);
        barrier_init(places.added(), WARPS);
        *number = atomicAdd(turns, 1);
    }
    const Ring ring(places.ring, STAGE_BYTES);
    const Work work(*number, together, a);
    ++turns;
    if (threadIdx.x >= GROUPS * 128) {
        give_registers<OF_COPIERS>();
        if (threadIdx.x < GROUPS * 128 + COPIERS)
            copy_tiles(q, k, v, g, rows, a, work, places, ring);
        else if (threadIdx.x == GROUPS * 128 + COPIERS)
            take_turns(turns, a, work, places);
    } else {
        take_registers<OF_OTHERS>();
        multiply_tiles(sums, dk, dv, a, work, places, ring);
    }
}

// What goes before: rows (B, H, L up to whole tiles), and turns of 0. PIECES threads have a row.
extern "C" __global__ void __launch_bounds__(256)
    attention_wgmma_backward_rows(const Operand* __restrict__ g, const Operand* __restrict__ y,
                                  const float* __restrict__ logs, Row* __restrict__ rows,
                                  u32* __restrict__ turns, const __grid_constant__ Attention a,
                                  i64 count) {
    const i64 row = ((i64)blockIdx.x * 256 + threadIdx.x) / PIECES;
    const int piece = threadIdx.x % PIECES;
    const int padded = (a.queries + QUERIES - 1) / QUERIES * QUERIES;
    const i64 of = row / padded;
    const int query = (int)(row - of * padded);
    const int batch = (int)(of / a.heads), head = (int)(of - (i64)batch * a.heads);
    const bool there = row < count && query < a.queries;
    float sum = 0;
    if (there && piece * 8 < a.width) {
        const i64 at = piece * 8;
        const uint4 x = *(const uint4*)(g + place(a.g, batch, head) + query * a.g.row + at);
        const uint4 z = *(const uint4*)(y + place(a.y, batch, head) + query * a.y.row + at);
        const u32 pairs[4] = {x.x, x.y, x.z, x.w}, others[4] = {z.x, z.y, z.z, z.w};
#pragma unroll
        for (int i = 0; i < 8; ++i)
            if (piece * 8 + i < a.width)
                sum += from_bits((u16)(pairs[i / 2] >> i % 2 * 16), KIND)
                       * from_bits((u16)(others[i / 2] >> i % 2 * 16), KIND);
    }
#pragma unroll
    for (int by = PIECES / 2; by; by /= 2) sum += __shfl_xor_sync(0xffffffff, sum, by);
    if (piece || row >= count) return;
    rows[row] = {there ? logs[of * a.queries + query] : infinite(), there ? sum : 0};
    if (row == 0) *turns = 0;
    if (row % QUERIES == 0) turns[1 + row / QUERIES] = 0;
}

// What comes behind: dq = scale · sums. A thread has eight columns of a row.
extern "C" __global__ void __launch_bounds__(256)
    attention_wgmma_backward_queries(const float* __restrict__ sums, Operand* __restrict__ dq,
                                     const __grid_constant__ Attention a, i64 count) {
    const i64 row = ((i64)blockIdx.x * 256 + threadIdx.x) / PIECES;
    const int piece = threadIdx.x % PIECES, columns = a.width - piece * 8;
    if (row >= count || columns <= 0) return;
    const i64 of = row / a.queries;
    const int query = (int)(row - of * a.queries);
    const int batch = (int)(of / a.heads), head = (int)(of - (i64)batch * a.heads);
    const int tiles = (a.queries + QUERIES - 1) / QUERIES, tile = query / QUERIES;
    const int part = OF_ROWS == 1 ? piece / 8 : query % QUERIES / 64;
    const int lane = query % 64 / 16 * 32 + query % 8 * 4, half = query / 8 % 2;
    const float* from = sums + (of * tiles + tile) * (QUERIES * WIDTH)
                        + (part * 4096 + piece % 8 * 512 + lane * 4 + half * 2);
    u32 eight[4];
#pragma unroll
    for (int i = 0; i < 4; ++i)
        eight[i] = to_bits(from[4 * i] * a.scale, from[4 * i + 1] * a.scale, KIND);
    Operand* to = dq + place(a.dq, batch, head) + query * a.dq.row + piece * 8;
    if (a.width % 8 == 0) {
        *(uint4*)to = make_uint4(eight[0], eight[1], eight[2], eight[3]);
    } else {
#pragma unroll
        for (int i = 0; i < 8; ++i)
            if (i < columns) to[i] = (u16)(eight[i / 2] >> i % 2 * 16);
    }
}

// Places (M) of rows in ascending order, and where each stood; equal ones stay in their order.
//
// A few are ranked: each counts what belongs before it. Many are sorted by their digits, the lowest
// first: every block counts the digits of its chunk, and then deals it out, in order, behind what
// the chunks before have. Some are so few that each block counts all of them itself, and a launch
// is saved. No block waits for another, and no order depends on which comes first.
//
// Macros: ITEMS of a thread at a time, DIGITS (as many as THREADS), LANES that rank a place.

const int TILE = THREADS * ITEMS, WARPS = THREADS / 32, OF_WARP = 32 * ITEMS;
const u32 RANKED = 1024;  // places that a block looks at together

// --- a few --------------------------------------------------------------------------------------

extern "C" __global__ void __launch_bounds__(THREADS)
    rank_places(const i64* __restrict__ places, u32* __restrict__ found, u32* __restrict__ order,
                u32 count, i64 rows) {
    __shared__ u32 keys[RANKED];
    const u32 m = (blockIdx.x * THREADS + threadIdx.x) / LANES, lane = threadIdx.x % LANES;
    const u32 mine = m < count ? (u32)row_of(places[m], rows) : 0;
    u32 rank = 0;
    for (u32 base = 0; base < count; base += RANKED) {
        const u32 here = min(count - base, RANKED);
        __syncthreads();
        for (u32 j = threadIdx.x; j < here; j += THREADS) keys[j] = row_of(places[base + j], rows);
        __syncthreads();
        for (u32 j = lane; j < here; j += LANES) {
            rank += keys[j] < mine || (keys[j] == mine && base + j < m);
        }
    }
    for (int by = LANES / 2; by; by /= 2) rank += __shfl_xor_sync(0xffffffffu, rank, by);
    if (lane || m >= count) return;
    found[rank] = mine;
    order[rank] = m;
}

// --- many ---------------------------------------------------------------------------------------

// What is sorted: places as they were given, or keys, and the order in which they are by now.
struct Given {
    const i64* places;
    i64 rows;
    __device__ u32 key(u32 at) const { return row_of(places[at], rows); }
    __device__ u32 origin(u32 at) const { return at; }
};
struct Sorted {
    const u32 *keys, *order;
    __device__ u32 key(u32 at) const { return keys[at]; }
    __device__ u32 origin(u32 at) const { return order ? order[at] : at; }
};

__device__ u32 digit(u32 key, int shift) { return key >> shift & (DIGITS - 1); }

// The sum of what all threads below this one give.
__device__ u32 below(u32 mine, u32* warps) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    u32 sum = mine;
    for (int by = 1; by < 32; by *= 2) {
        const u32 other = __shfl_up_sync(0xffffffffu, sum, by);
        if (lane >= by) sum += other;
    }
    __syncthreads();
    if (lane == 31) warps[warp] = sum;
    __syncthreads();
    u32 before = sum - mine;
    for (int i = 0; i < warp; ++i) before += warps[i];
    return before;
}

// counts (chunks, DIGITS): how often each digit is in each chunk of ``each`` keys. A block a chunk.
template <typename From>
__device__ void count_digits(From from, u32* counts, u32 count, u32 each, int shift) {
    __shared__ u32 mine[DIGITS];
    mine[threadIdx.x] = 0;
    __syncthreads();
    const u32 begin = blockIdx.x * each, end = min(count, begin + each);
#pragma unroll 4
    for (u32 at = begin + threadIdx.x; at < end; at += THREADS) {
        atomicAdd(mine + digit(from.key(at), shift), 1u);
    }
    __syncthreads();
    counts[blockIdx.x * DIGITS + threadIdx.x] = mine[threadIdx.x];
}

// How often this thread's digit is among all keys, and among those of the chunks before.
template <typename From>
__device__ void count_all(From from, u32* of_all, u32* of_before, u32 count, u32 begin, int shift,
                          u32& all, u32& before) {
    of_all[threadIdx.x] = of_before[threadIdx.x] = 0;
    __syncthreads();
#pragma unroll 4
    for (u32 at = threadIdx.x; at < count; at += THREADS) {
        atomicAdd((at < begin ? of_before : of_all) + digit(from.key(at), shift), 1u);
    }
    __syncthreads();
    before = of_before[threadIdx.x];
    all = before + of_all[threadIdx.x];
}

// keys and order, by this digit, each where it belongs; counts null: of all by every block. A block
// a chunk, tile after tile: each warp ranks the keys of its part of the tile, which are then put
// together and written, as they lie side by side.
template <typename From>
__device__ void deal(From from, u32* keys, u32* order, const u32* counts, u32 count, u32 each,
                     int shift) {
    __shared__ u32 of_warp[WARPS][DIGITS + 1];  // the last for what is behind the end
    __shared__ u32 next[DIGITS], start[DIGITS], warps[WARPS], tile_keys[TILE], tile_order[TILE];
    const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
    const u32 begin = blockIdx.x * each, end = min(count, begin + each);
    u32 all = 0, before = 0;
    if (!counts) count_all(from, of_warp[0], of_warp[1], count, begin, shift, all, before);
    if (counts) {
#pragma unroll 8
        for (u32 chunk = 0; chunk < gridDim.x; ++chunk) {
            const u32 n = counts[chunk * DIGITS + thread];
            all += n;
            before += chunk < blockIdx.x ? n : 0;
        }
    }
    next[thread] = below(all, warps) + before;
    __syncthreads();
    for (u32 base = begin; base < end; base += TILE) {
        for (int d = lane; d <= DIGITS; d += 32) of_warp[warp][d] = 0;
        __syncwarp();
        u32 key[ITEMS], rank[ITEMS];
#pragma unroll
        for (int k = 0; k < ITEMS; ++k) {
            const u32 at = base + warp * OF_WARP + k * 32 + lane;
            key[k] = at < end ? from.key(at) : 0;
            const u32 mine = at < end ? digit(key[k], shift) : DIGITS;
            const u32 equal = __match_any_sync(0xffffffffu, mine);
            const u32 known = of_warp[warp][mine];
            __syncwarp();
            if (lane == 31 - __clz(equal)) of_warp[warp][mine] = known + __popc(equal);
            __syncwarp();
            rank[k] = known + __popc(equal & ((1u << lane) - 1));
        }
        __syncthreads();
        u32 sum = 0;
        for (int w = 0; w < WARPS; ++w) {
            const u32 n = of_warp[w][thread];
            of_warp[w][thread] = sum;
            sum += n;
        }
        start[thread] = below(sum, warps);
        __syncthreads();
#pragma unroll
        for (int k = 0; k < ITEMS; ++k) {
            const u32 at = base + warp * OF_WARP + k * 32 + lane;
            if (at < end) {
                const u32 mine = digit(key[k], shift);
                const u32 place = start[mine] + of_warp[warp][mine] + rank[k];
                tile_keys[place] = key[k];
                tile_order[place] = from.origin(at);
            }
        }
        __syncthreads();
        for (u32 i = thread; i < min(end - base, (u32)TILE); i += THREADS) {
            const u32 mine = digit(tile_keys[i], shift), to = next[mine] + i - start[mine];
            keys[to] = tile_keys[i];
            order[to] = tile_order[i];
        }
        __syncthreads();
        next[thread] += sum;
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    count_of_places(const i64* places, i64 rows, u32* counts, u32 count, u32 each, int shift) {
    count_digits(Given{places, rows}, counts, count, each, shift);
}
extern "C" __global__ void __launch_bounds__(THREADS)
    count_of_keys(const u32* keys, u32* counts, u32 count, u32 each, int shift) {
    count_digits(Sorted{keys, nullptr}, counts, count, each, shift);
}
extern "C" __global__ void __launch_bounds__(THREADS)
    deal_places(const i64* places, i64 rows, u32* keys, u32* order, const u32* counts, u32 count,
                u32 each, int shift) {
    deal(Given{places, rows}, keys, order, counts, count, each, shift);
}
extern "C" __global__ void __launch_bounds__(THREADS)
    deal_keys(const u32* old_keys, const u32* old_order, u32* keys, u32* order, const u32* counts,
              u32 count, u32 each, int shift) {
    deal(Sorted{old_keys, old_order}, keys, order, counts, count, each, shift);
}

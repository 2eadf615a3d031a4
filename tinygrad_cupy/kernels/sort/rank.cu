// Lines of some elements in ascending order, in one launch: each element counts what belongs before
// it. NaN comes last, -0 and 0 are equal, and equal ones stay in their order.
//
// x (P, L, K), lines along L; values or order may be null. Macros: TYPE; WIDE, that has an order in
// order.cuh and holds all of TYPE; KEY, of that order; LANES, the threads that rank an element of a
// longer line.

const u32 TILE = 1024;  // keys of a line that a block looks at together

__device__ KEY key_of(T x) { return in_order(one_zero((WIDE)x)); }

// Short lines: a thread an element, which looks at all of its line in memory.
extern "C" __global__ void __launch_bounds__(THREADS)
    rank_short(const T* __restrict__ x, T* __restrict__ values, i64* __restrict__ order, i64 size,
               u32 length, u32 columns) {
    const i64 i = (i64)blockIdx.x * THREADS + threadIdx.x;
    if (i >= size) return;
    const u32 place = i / columns % length;
    const T* line = x + i - (i64)place * columns;
    const T value = x[i];
    const KEY mine = key_of(value);
    u32 rank = 0;
#pragma unroll 8
    for (u32 j = 0; j < length; ++j) {
        const KEY other = key_of(line[(i64)j * columns]);
        rank += other < mine || (other == mine && j < place);
    }
    const i64 to = i + ((i64)rank - place) * columns;
    if (values) values[to] = value;
    if (order) order[to] = place;
}

// Longer lines: ``parts`` blocks a line, that see its keys in shared memory, tile after tile.
extern "C" __global__ void __launch_bounds__(THREADS)
    rank_long(const T* __restrict__ x, T* __restrict__ values, i64* __restrict__ order, u32 length,
              u32 columns, u32 parts) {
    __shared__ KEY keys[TILE];
    const u32 place = (blockIdx.x % parts * THREADS + threadIdx.x) / LANES;
    const u32 lane = threadIdx.x % LANES;
    const i64 number = blockIdx.x / parts;
    const i64 start = number / columns * length * columns + number % columns;
    const bool there = place < length;
    const T value = x[start + (i64)(there ? place : 0) * columns];
    const KEY mine = key_of(value);
    u32 rank = 0;
    for (u32 base = 0; base < length; base += TILE) {
        const u32 here = min(length - base, TILE);
        __syncthreads();
        for (u32 j = threadIdx.x; j < here; j += THREADS) {
            keys[j] = key_of(x[start + (i64)(base + j) * columns]);
        }
        __syncthreads();
#pragma unroll 8
        for (u32 j = lane; j < here; j += LANES) {
            rank += keys[j] < mine || (keys[j] == mine && base + j < place);
        }
    }
    for (int by = LANES / 2; by; by /= 2) rank += __shfl_xor_sync(0xffffffffu, rank, by);
    if (lane || !there) return;
    const i64 to = start + (i64)rank * columns;
    if (values) values[to] = value;
    if (order) order[to] = place;
}

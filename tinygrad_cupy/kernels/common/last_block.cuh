// Which block of a launch is the last: it finishes what all have begun. Each takes a ticket, as in
// NVIDIA's sample threadFenceReduction. A ticket's counter is zero before and after
// (backend/block_counter.py): atomicInc sets it back.

// The ticket of one of `blocks`, counted from 0: the last one's is blocks - 1.
__device__ __forceinline__ u32 take_ticket(u32* counter, u32 blocks) {
    return atomicInc(counter, blocks - 1);
}

// Whether this block, all of its threads, is the last; with COLUMN of those that share blockIdx.x,
// which have counters side by side. `last` is in shared memory. What the others wrote before is
// seen behind another __threadfence().
template <bool COLUMN = false>
__device__ __forceinline__ bool is_last_block(bool& last, u32* counter) {
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        const u32 blocks = COLUMN ? gridDim.y : gridDim.x * gridDim.y;
        last = take_ticket(counter + (COLUMN ? blockIdx.x : 0), blocks) == blocks - 1;
    }
    __syncthreads();
    return last;
}

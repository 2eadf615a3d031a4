// Philox4x64-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
//
// Block number b of four words is philox(counter + 1 + b): the words that
// numpy.random.Philox(key=..., counter=...).random_raw gives in that order. `state` holds the seed,
// the counter of the stream and a ticket: a launch moves the counter itself, so that a captured one
// draws anew at every replay. A launch has as many blocks as run at once, RESIDENT on each
// multiprocessor, and they walk: the less is spent on starting them, on tickets and on finding
// places.

// What a launch draws from, and the ticket of this block.
struct Stream {
    u64 seed, number, counter;
    u32 ticket;
};

// A block takes its ticket as soon as its threads have read the counter: at the end it would first
// have to wait for all that it wrote.
__device__ __forceinline__ Stream begin(u64* state, u64 number) {
    Stream stream = {state[0], number, state[1], 0};
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        stream.ticket = atomicAdd((u32*)(state + 2), 1u);
    }
    return stream;
}

// The block with the last ticket moves the counter, which every block has read by then.
__device__ __forceinline__ void end(const Stream& stream, u64* state, long long count) {
    if (threadIdx.x || stream.ticket != gridDim.x * gridDim.y - 1) return;
    *(u32*)(state + 2) = 0;
    state[1] += (count + 3) / 4;
}

struct Words {
    u64 word[4];
};

// The block of words of the elements from 4 * block on.
__device__ __forceinline__ Words philox(const Stream& stream, long long block) {
    const u64 step = (u64)block + 1;
    u64 c0 = stream.counter + step, c1 = c0 < step ? 1 : 0, c2 = 0, c3 = 0;
    u64 k0 = stream.seed, k1 = stream.number;
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        if (round) {  // the key schedule adds Weyl constants between rounds
            k0 += 0x9E3779B97F4A7C15ULL;
            k1 += 0xBB67AE8584CAA73BULL;
        }
        const u64 m0 = 0xD2E7470EE14C6C93ULL, m1 = 0xCA5A826395121157ULL;
        u64 high0 = __umul64hi(m0, c0), low0 = m0 * c0;
        u64 high1 = __umul64hi(m1, c2), low1 = m1 * c2;
        c0 = high1 ^ c1 ^ k0;
        c1 = low1;
        c2 = high0 ^ c3 ^ k1;
        c3 = low0;
    }
    return {{c0, c1, c2, c3}};
}

// Philox4x64-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
// Thread b writes the four words of block philox(counter + 1 + b): the words that
// numpy.random.Philox(key=..., counter=...).random_raw gives in that order.

typedef unsigned long long u64;

extern "C" __global__ void philox_words(u64* words, long long count, u64 key0, u64 key1,
                                        const u64* counter) {
    long long block = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (block * 4 >= count) return;
    u64 step = (u64)block + 1;
    u64 c0 = counter[0] + step, c1 = c0 < step ? 1 : 0, c2 = 0, c3 = 0;
    u64 k0 = key0, k1 = key1;
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
    u64 out[4] = {c0, c1, c2, c3};
    for (int i = 0; i < 4 && block * 4 + i < count; ++i) words[block * 4 + i] = out[i];
}

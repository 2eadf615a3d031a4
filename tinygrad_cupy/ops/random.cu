// Philox4x64-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") and dropout.
//
// Block number b of four words is philox(counter + 1 + b): the words that
// numpy.random.Philox(key=..., counter=...).random_raw gives in that order. `state` holds the seed,
// the counter of the stream and a ticket: a launch moves the counter itself, in its last block, so
// that a captured one draws anew at every replay.

typedef unsigned long long u64;
typedef unsigned int u32;
typedef unsigned char u8;

struct Words {
    u64 word[4];
};

__device__ __forceinline__ Words philox(u64 step, const u64* state, u64 stream) {
    u64 c0 = state[1] + step, c1 = c0 < step ? 1 : 0, c2 = 0, c3 = 0;
    u64 k0 = state[0], k1 = stream;
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

// The last block to come here moves the counter; by then every block has read it.
__device__ __forceinline__ void advance(u64* state, long long count) {
    __syncthreads();
    if (threadIdx.x) return;
    __threadfence();
    u32* ticket = (u32*)(state + 2);
    if (atomicAdd(ticket, 1u) != gridDim.x - 1) return;
    *ticket = 0;
    state[1] += (count + 3) / 4;
}

extern "C" __global__ void philox_words(u64* words, long long count, u64* state, u64 stream) {
    const long long block = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (block * 4 < count) {
        const Words drawn = philox((u64)block + 1, state, stream);
        for (int i = 0; i < 4 && block * 4 + i < count; ++i) words[block * 4 + i] = drawn.word[i];
    }
    advance(state, count);
}

// y = x * mask * scale, the mask drawn: element i in C order is kept where its word is >= least.
// A thread takes four elements, one block of words; arrays begin at multiples of 16 bytes.
extern "C" __global__ void drop(const float* __restrict__ x, float* __restrict__ y,
                                u8* __restrict__ mask, long long count, float scale, u64 least,
                                u64* state, u64 stream) {
    const long long block = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    const long long first = block * 4;
    if (first < count) {
        const Words drawn = philox((u64)block + 1, state, stream);
        u8 keep[4];
#pragma unroll
        for (int k = 0; k < 4; ++k) keep[k] = drawn.word[k] >= least;
        if (first + 4 <= count) {
            const float4 v = *(const float4*)(x + first);
            *(float4*)(y + first) = make_float4(v.x * keep[0] * scale, v.y * keep[1] * scale,
                                                v.z * keep[2] * scale, v.w * keep[3] * scale);
            *(uchar4*)(mask + first) = make_uchar4(keep[0], keep[1], keep[2], keep[3]);
        } else {
            for (int k = 0; first + k < count; ++k) {
                mask[first + k] = keep[k];
                y[first + k] = x[first + k] * keep[k] * scale;
            }
        }
    }
    advance(state, count);
}

// Four pixels in a row of one channel, of x stored N, H, W, C: neighbouring threads have neighbouring
// channels. Sets where they lie there, and returns their place in C order.
__device__ __forceinline__ long long four_pixels(long long i, int channels, int pixels,
                                                 long long& last) {
    const int c = i % channels;
    const long long place = i / channels;
    const int quads = pixels / 4, quad = place % quads;
    const long long n = place / quads;
    last = (n * pixels + 4 * quad) * channels + c;
    return (n * channels + c) * pixels + 4 * quad;
}

// The same for x stored N, H, W, C; y and mask are in C order. pixels = H * W, divisible by 4.
extern "C" __global__ void drop_channels_last(const float* __restrict__ x, float* __restrict__ y,
                                              u8* __restrict__ mask, long long count, int channels,
                                              int pixels, float scale, u64 least, u64* state,
                                              u64 stream) {
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i * 4 < count) {
        long long last;
        const long long first = four_pixels(i, channels, pixels, last);
        const Words drawn = philox((u64)(first / 4) + 1, state, stream);
        u8 keep[4];
        float value[4];
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            keep[k] = drawn.word[k] >= least;
            value[k] = x[last + (long long)k * channels] * keep[k] * scale;
        }
        *(float4*)(y + first) = make_float4(value[0], value[1], value[2], value[3]);
        *(uchar4*)(mask + first) = make_uchar4(keep[0], keep[1], keep[2], keep[3]);
    }
    advance(state, count);
}

// y = x * mask * scale for a mask that was drawn, x and mask in C order, y stored N, H, W, C.
extern "C" __global__ void keep_channels_last(const float* __restrict__ x,
                                              const u8* __restrict__ mask, float* __restrict__ y,
                                              long long count, int channels, int pixels,
                                              float scale) {
    const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i * 4 >= count) return;
    long long last;
    const long long first = four_pixels(i, channels, pixels, last);
    const float4 value = *(const float4*)(x + first);
    const uchar4 keep = *(const uchar4*)(mask + first);
    y[last] = value.x * keep.x * scale;
    y[last + channels] = value.y * keep.y * scale;
    y[last + 2LL * channels] = value.z * keep.z * scale;
    y[last + 3LL * channels] = value.w * keep.w * scale;
}

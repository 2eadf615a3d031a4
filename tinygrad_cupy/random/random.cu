// Philox4x64-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") and dropout.
//
// Block number b of four words is philox(counter + 1 + b): the words that
// numpy.random.Philox(key=..., counter=...).random_raw gives in that order. `state` holds the seed,
// the counter of the stream and a ticket: a launch moves the counter itself, so that a captured one
// draws anew at every replay. A launch has as many blocks as run at once, and they walk: the less
// is spent on starting them, on tickets and on finding places.

typedef unsigned long long u64;
typedef unsigned int u32;
typedef unsigned char u8;

constexpr int THREADS = 256;
constexpr int TOGETHER = 6;  // blocks on a multiprocessor, as in random/__init__.py
constexpr u64 DROPOUT = 2;   // its stream, as there; the round's keys are constants with it

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

// `least` is the upper half of the smallest word that is kept, whose lower half is zero.
__device__ __forceinline__ uchar4 mask_of(const Words& drawn, u32 least) {
    bool keep[4];
#pragma unroll
    for (int k = 0; k < 4; ++k) keep[k] = (u32)(drawn.word[k] >> 32) >= least;
    return make_uchar4(keep[0], keep[1], keep[2], keep[3]);
}

// value * mask * scale: NaN stays NaN.
__device__ __forceinline__ float kept(float value, bool keep, float scale) {
    return value * (keep ? 1.0f : 0.0f) * scale;
}

__device__ __forceinline__ float4 kept(float4 v, uchar4 keep, float scale) {
    return make_float4(kept(v.x, keep.x, scale), kept(v.y, keep.y, scale),
                       kept(v.z, keep.z, scale), kept(v.w, keep.w, scale));
}

extern "C" __global__ void __launch_bounds__(THREADS, TOGETHER)
philox_words(u64* __restrict__ words, long long count, u64* state, u64 number) {
    const Stream stream = begin(state, number);
    const long long step = (long long)gridDim.x * THREADS;
    for (long long i = (long long)blockIdx.x * THREADS + threadIdx.x; 4 * i < count; i += step) {
        const Words drawn = philox(stream, i);
        if (4 * i + 4 <= count) {
            ((ulonglong2*)words)[2 * i] = make_ulonglong2(drawn.word[0], drawn.word[1]);
            ((ulonglong2*)words)[2 * i + 1] = make_ulonglong2(drawn.word[2], drawn.word[3]);
        } else {
#pragma unroll
            for (int k = 0; k < 3; ++k)
                if (4 * i + k < count) words[4 * i + k] = drawn.word[k];
        }
    }
    end(stream, state, count);
}

// y = x * mask * scale, the mask drawn: element i in C order is kept where word i is large enough.
// A thread takes four elements at a time; arrays begin at multiples of 16 bytes.
extern "C" __global__ void __launch_bounds__(THREADS, TOGETHER)
drop(const float* __restrict__ x, float* __restrict__ y, u8* __restrict__ mask, long long count,
     float scale, u32 least, u64* state) {
    const Stream stream = begin(state, DROPOUT);
    const long long step = (long long)gridDim.x * THREADS;
    for (long long i = (long long)blockIdx.x * THREADS + threadIdx.x; 4 * i < count; i += step) {
        const int there = min(4LL, count - 4 * i);
        float4 v = {};
        if (there == 4) v = ((const float4*)x)[i];  // comes while the words are drawn
        const uchar4 keep = mask_of(philox(stream, i), least);
        if (there == 4) {
            ((float4*)y)[i] = kept(v, keep, scale);
            ((uchar4*)mask)[i] = keep;
        } else {
            const u8 keeps[3] = {keep.x, keep.y, keep.z};
#pragma unroll
            for (int k = 0; k < 3; ++k)
                if (k < there) {
                    mask[4 * i + k] = keeps[k];
                    y[4 * i + k] = kept(x[4 * i + k], keeps[k], scale);
                }
        }
    }
    end(stream, state, count);
}

// Where four pixels in a row of one channel lie, in C order and stored N, H, W, C.
struct Place {
    long long first, last;
};

// An image in tiles of 32 pixels and 8 channels, a thread for four pixels. A warp has 16 pixels:
// runs of 32 bytes where x lies N, H, W, C, and of 64 in C order.
__device__ __forceinline__ Place place_of(u32 i, u32 channels, u32 pixels) {
    const u32 across = pixels / 4, band = i / (8 * channels), of_band = i - 8 * channels * band;
    const u32 fours = min(8, across - 8 * band);  // of the band, in a row
    const u32 tile = of_band / (8 * fours), of_tile = of_band - 8 * fours * tile;
    const u32 wide = min(8, channels - 8 * tile);
    const u32 c = 8 * tile + of_tile % wide, four = 8 * band + of_tile / wide;
    return {c * pixels + 4 * four, 4 * four * channels + c};
}

// Calls task(place) for every place of this thread, whose block (i, j) walks from image i to other
// images and then from tile j to other tiles: a place is found once for all the images. An image
// has fewer than 2^31 elements.
template <class Task>
__device__ __forceinline__ void each_place(long long images, u32 channels, u32 pixels, Task task) {
    const u32 size = channels * pixels;
    const long long step = (long long)gridDim.x * size;
    for (u32 i = blockIdx.y * THREADS + threadIdx.x; i < size / 4; i += gridDim.y * THREADS) {
        Place place = place_of(i, channels, pixels);
        place.first += (long long)blockIdx.x * size, place.last += (long long)blockIdx.x * size;
        for (long long n = blockIdx.x; n < images; n += gridDim.x) {
            task(place);
            place.first += step, place.last += step;
        }
    }
}

// `drop` for x stored N, H, W, C; y and mask are in C order. pixels = H * W, divisible by 4.
extern "C" __global__ void __launch_bounds__(THREADS, TOGETHER)
drop_channels_last(const float* __restrict__ x, float* __restrict__ y, u8* __restrict__ mask,
                   long long images, int channels, int pixels, float scale, u32 least,
                   u64* state) {
    const Stream stream = begin(state, DROPOUT);
    each_place(images, channels, pixels, [&](Place place) {
        float v[4];
#pragma unroll
        for (int k = 0; k < 4; ++k) v[k] = x[place.last + (long long)k * channels];
        const uchar4 keep = mask_of(philox(stream, place.first / 4), least);
        *(float4*)(y + place.first) = kept(make_float4(v[0], v[1], v[2], v[3]), keep, scale);
        *(uchar4*)(mask + place.first) = keep;
    });
    end(stream, state, images * channels * pixels);
}

// y = x * mask * scale for a mask that was drawn, x and mask in C order, y stored N, H, W, C. Of
// four pixels in a row of one channel a thread each, neighbouring threads have neighbouring
// channels.
extern "C" __global__ void __launch_bounds__(THREADS)
keep_channels_last(const float* __restrict__ x, const u8* __restrict__ mask,
                   float* __restrict__ y, long long images, int channels, int pixels,
                   float scale) {
    const long long i = (long long)blockIdx.x * THREADS + threadIdx.x;
    const int c = i % channels, quads = pixels / 4;
    const long long place = i / channels, n = place / quads;
    if (n >= images) return;
    const int first = 4 * (int)(place - n * quads);
    const long long from = (n * channels + c) * pixels + first;
    const float4 found = kept(*(const float4*)(x + from), *(const uchar4*)(mask + from), scale);
    float* to = y + (n * pixels + first) * channels + c;
    to[0] = found.x, to[channels] = found.y;
    to[2LL * channels] = found.z, to[3LL * channels] = found.w;
}

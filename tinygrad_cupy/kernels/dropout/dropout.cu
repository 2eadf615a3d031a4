// Dropout: the mask comes from STREAM's words (random/philox.cuh), x and y are float32.

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

// y = x * mask * scale, the mask drawn: element i in C order is kept where word i is large enough.
// A thread takes four elements at a time; arrays begin at multiples of 16 bytes. x is a part of
// what `total` words are for, its own begin with block `first`.
extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
    dropout_draw(const float* __restrict__ x, float* __restrict__ y, u8* __restrict__ mask,
                 long long count, float scale, u32 least, long long first, long long total,
                 u64* state) {
    const Stream stream = begin(state, STREAM);
    const long long step = (long long)gridDim.x * THREADS;
    for (long long i = (long long)blockIdx.x * THREADS + threadIdx.x; 4 * i < count; i += step) {
        const int there = min(4LL, count - 4 * i);
        float4 v = {};
        if (there == 4) v = ((const float4*)x)[i];  // comes while the words are drawn
        const uchar4 keep = mask_of(philox(stream, first + i), least);
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
    end(stream, state, total);
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

// `dropout_draw` for x stored N, H, W, C; y and mask are in C order. pixels = H * W, divisible by
// 4.
extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
    dropout_draw_channels_last(const float* __restrict__ x, float* __restrict__ y,
                               u8* __restrict__ mask, long long images, int channels, int pixels,
                               float scale, u32 least, long long first, long long total,
                               u64* state) {
    const Stream stream = begin(state, STREAM);
    each_place(images, channels, pixels, [&](Place place) {
        float v[4];
#pragma unroll
        for (int k = 0; k < 4; ++k) v[k] = x[place.last + (long long)k * channels];
        const uchar4 keep = mask_of(philox(stream, first + place.first / 4), least);
        *(float4*)(y + place.first) = kept(make_float4(v[0], v[1], v[2], v[3]), keep, scale);
        *(uchar4*)(mask + place.first) = keep;
    });
    end(stream, state, total);
}

// y = x * mask * scale for a mask that was drawn, x and mask in C order, y stored N, H, W, C. Of
// four pixels in a row of one channel a thread each, neighbouring threads have neighbouring
// channels.
extern "C" __global__ void __launch_bounds__(THREADS)
    dropout_apply_channels_last(const float* __restrict__ x, const u8* __restrict__ mask,
                                float* __restrict__ y, long long images, int channels, int pixels,
                                float scale) {
    const long long i = (long long)blockIdx.x * THREADS + threadIdx.x;
    const int c = i % channels, quads = pixels / 4;
    const long long place = i / channels, n = place / quads;
    if (n >= images) return;
    const int first = 4 * (int)(place - n * quads);
    const long long from = (n * channels + c) * pixels + first;
    const float4 four = kept(*(const float4*)(x + from), *(const uchar4*)(mask + from), scale);
    float* to = y + (n * pixels + first) * channels + c;
    to[0] = four.x, to[channels] = four.y;
    to[2LL * channels] = four.z, to[3LL * channels] = four.w;
}

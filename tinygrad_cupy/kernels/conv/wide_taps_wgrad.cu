// The weight gradient of a wide layer on Hopper (sm_90a) in 16 bits, of stride 1 and few taps: sums
// over pixels of g times x. Each pixel is copied once for all taps.
//
// Pixels of x and g are counted in one row, as in wide_taps.cu, with zeros where there is none.
// What tap k reads for neighbours in g are neighbours in x, shift[k] further on. In shared memory a
// row of 128 bytes is 64 channels of a pixel, in the 128-byte swizzle. The tensor cores may begin
// at any row: so a tap is the same rows, further on.
//
// Rows of a product are 64 outputs, columns 64 channels of each of the TAPS taps of a run, which
// are equally far apart, and K is pixels. Each of GROUPS warpgroups has a run. A block works
// through items: all taps of 64 outputs and 64 channels, over a part of the pixels, a split, of
// which it takes a chunk of CHUNK pixels of g at a time. Its sums go to `partial`, which
// conv_wide_sum adds up in order.
//
// Macros: KIND, 1 bfloat16, 2 float16; GROUPS, TAPS, CHUNK, STAGES; COPIERS, threads that copy.

typedef u16 Operand;      // bits
constexpr int UNIT = 8;   // channels of a piece of 16 bytes
constexpr int SLICE = 8;  // pieces of a row
constexpr int ROW_BYTES = 128;
constexpr int LINES = COPIERS / SLICE;  // rows that are copied together
constexpr int G_BYTES = CHUNK * ROW_BYTES;
static_assert(CHUNK % 16 == 0 && LINES % 8 == 0, "whole products; a piece lies as in row 0");

struct Space {
    int images, lines, pitch;            // of both
    int height, width, channels;         // x (N, H, W, C), C a multiple of UNIT
    int out_height, out_width, outputs;  // g (N, OH, OW, O), O likewise
    int low, reach;                      // the least shift; pixels of x that a chunk reads
    int taps, length, parts;             // of all; of a row of the kernel, and runs in it
    int across_tap, down_tap;            // number of a tap from tap to tap, from row to row
    int across, down;                    // pixels likewise
    int group;                           // pieces: see wide.cuh
    int tiles, blocks;                   // of 64 channels, of 64 outputs
    int splits, chunks, each;            // of all pixels, of a split
};
static_assert(sizeof(Space) == SPACE_BYTES, "as taps_wgrad_plan.py packs it");

// A tile of channels, a block of outputs, and the chunks of a split.
struct Item {
    int tile, block, split, first, chunks;
    __device__ Item(int number, const Space& s) {
        const int rest = number / s.tiles;
        tile = number - rest * s.tiles;
        split = rest / s.blocks;
        block = rest - split * s.blocks;
        first = split * s.each;
        chunks = max(0, min(s.each, s.chunks - first));
    }
};

// --- copies -------------------------------------------------------------------------------------

// A pixel by its number, or a number of pixels.
struct Pixel {
    int image, row, column;
    __device__ Pixel(int number, const Space& s) {
        const int line = (u32)number / (u32)s.pitch;
        column = number - line * s.pitch;
        image = (u32)line / (u32)s.lines;
        row = line - image * s.lines;
    }
    __device__ void advance(const Pixel& by, const Space& s) {
        column += by.column, row += by.row, image += by.image;
        if (column >= s.pitch) column -= s.pitch, ++row;
        if (row >= s.lines) row -= s.lines, ++image;
    }
};

// Images (N, H, W, C) of which a thread copies one piece of each pixel.
struct Images {
    const Operand* from;
    int images, height, width, channels;
    __device__ Images(const Operand* all, int height, int width, int channels, int channel,
                      const Space& s)
        : from(all), images(0), height(height), width(width), channels(channels) {
        if (channel < channels) from += channel, images = s.images;  // else zeros
    }
    // Every LINES-th of `pixels` pixels, from `pixel` on, which lies in row `first`.
    __device__ __forceinline__ void copy(u32 to, Pixel pixel, const Pixel& apart, int first,
                                         int pixels, const Space& s) const {
#pragma unroll 4
        for (int r = first; r < pixels; r += LINES) {
            const bool inside = (u32)pixel.image < (u32)images && pixel.row < height &&
                                pixel.column < width;
            const u32 at = inside ? (pixel.image * height + pixel.row) * width + pixel.column : 0;
            copy_piece(to, from + (u64)at * (u32)channels, inside ? 16 : 0);
            to += LINES * ROW_BYTES;
            pixel.advance(apart, s);
        }
    }
};

__device__ __forceinline__ void copy_items(const Operand* x, const Operand* g, const Space& s,
                                           const Ring& ring, int stage_bytes) {
    const int thread = threadIdx.x - GROUPS * 128;
    const int mine = thread % SLICE, first = thread / SLICE;
    const u32 place = first * ROW_BYTES + (mine ^ first % 8) * 16;
    const Pixel apart(LINES, s), chunk_apart(CHUNK, s);
    Stage stage;
    OnTheirWay on_their_way;

    for (int number = blockIdx.x; number < s.tiles * s.blocks * s.splits; number += gridDim.x) {
        const Item item(number, s);
        const Images of_x(x, s.height, s.width, s.channels, (item.tile * SLICE + mine) * UNIT, s);
        const Images of_g(g, s.out_height, s.out_width, s.outputs,
                          (item.block * SLICE + mine) * UNIT, s);
        Pixel of_chunk(item.first * CHUNK + first, s);
        // The first of x lies before image 0, but not by a whole image.
        Pixel seen(item.first * CHUNK + first + s.low + s.lines * s.pitch, s);
        --seen.image;
        for (int chunk = 0; chunk < item.chunks; ++chunk) {
            on_their_way.make_way(ring, stage);
            const u32 to = ring.slices + stage.number * stage_bytes + place;
            of_g.copy(to, of_chunk, apart, first, CHUNK, s);
            of_x.copy(to + G_BYTES, seen, apart, first, s.reach, s);
            of_chunk.advance(chunk_apart, s), seen.advance(chunk_apart, s);
            stage.next();
            on_their_way.one_more(ring);
        }
    }
    on_their_way.all(ring);
}

// --- products -----------------------------------------------------------------------------------

__device__ __forceinline__ void multiply_items(float* partial, const Space& s, const Ring& ring,
                                               int stage_bytes) {
    const int group = threadIdx.x / 128, lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
    const int row = group / s.parts, column = (group - row * s.parts) * TAPS;
    const int shift = row * s.down + column * s.across;
    Stage stage;
    for (int number = blockIdx.x; number < s.tiles * s.blocks * s.splits; number += gridDim.x) {
        const Item item(number, s);
        float sums[TAPS * 32] = {};
        int before = -1;  // a stage whose products may be under way
        for (int chunk = 0; chunk < item.chunks; ++chunk) {
            ring.wait_full(stage);
            const u32 slice = ring.slices + stage.number * stage_bytes;
            const u64 of_g = descriptor_transposed(slice, G_BYTES);
            const u64 of_x = descriptor_transposed(slice + G_BYTES + shift * ROW_BYTES,
                                                   TAPS > 1 ? s.across * ROW_BYTES : 0);
            products_may_begin();
#pragma unroll
            for (int k = 0; k < CHUNK / 16; ++k)
                multiply<1, 1>(sums, of_g + 128 * k, of_x + 128 * k);
            products_end_group();
            products_wait<1>();
            if (before >= 0) ring.hand_back(before);
            before = stage.number;
            stage.next();
        }
        products_wait<0>();
        sums_are_there(sums);
        if (before >= 0) ring.hand_back(before);

        // Rows of `partial` are (group of pieces, tap, piece of the group, channel of it).
        const int pieces = s.channels / UNIT, in_groups = item.tile * SLICE / s.group * s.group;
        const int first = in_groups * s.taps + item.tile * SLICE - in_groups;
        const int wide = s.blocks * 64, o = item.block * 64 + warp * 16 + lane / 4;
        float* to = partial + (i64)item.split * s.taps * s.channels * wide + o;
#pragma unroll
        for (int t = 0; t < TAPS; ++t) {
            const int tap = row * s.down_tap + (column + t) * s.across_tap;
#pragma unroll
            for (int j = 0; j < SLICE; ++j) {
                if (column + t >= s.length || item.tile * SLICE + j >= pieces) continue;
                const int c = (first + tap * s.group + j) * UNIT + lane % 4 * 2;
#pragma unroll
                for (int e = 0; e < 4; ++e)
                    to[(i64)(c + e % 2) * wide + e / 2 * 8] = sums[t * 32 + j * 4 + e];
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(GROUPS * 128 + COPIERS, 1)
    conv_wide_taps_wgrad(const Operand* __restrict__ x, const Operand* __restrict__ g,
                         float* __restrict__ partial, const __grid_constant__ Space s) {
    extern __shared__ u8 memory[];
    const int stage_bytes = G_BYTES + (s.reach + 7) / 8 * 8 * ROW_BYTES;
    const Ring ring(shared_address(memory), stage_bytes);
    if (threadIdx.x >= GROUPS * 128)
        copy_items(x, g, s, ring, stage_bytes);
    else
        multiply_items(partial, s, ring, stage_bytes);
}

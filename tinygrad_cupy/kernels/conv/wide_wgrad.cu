// The weight gradient of a wide layer on Hopper (sm_90a): sums over pixels of x, as each tap sees
// it, times g. Rows are taps times channels, columns are output channels, and K is pixels of y.
//
// As in wide.cu, warpgroups multiply what others copy. K runs along the pixels, across what lies
// together in memory. In 16 bits the tensor cores take operands so: rows of shared memory are
// pixels, 64 channels of x or g (of one tap or of several) each, in the 128-byte swizzle. In TF32
// they do not: a pixel's BM channels lie behind one another and come through registers, which turns
// them, pieces of 16 bytes swapped so that a warp reads them from different banks. There g comes
// TURNED, by wide_pack.cu, as the weights in wide.cu lie; in 16 bits where that makes up for its
// time, as it is then copied in bulk.
//
// A block works through tiles of BM rows and BN columns, each over a part of the pixels: a split.
// Its sums go to `partial`, which a second kernel adds up in order.
//
// Macros as of wide.cu, and TURNED: 0 or 1.

constexpr int BM = GROUPS * WM * 64;
constexpr int PIXELS = ROW_BYTES / sizeof(Operand);  // of a slice: 32 or 64
constexpr int PIECES = BM / UNIT;                    // of a pixel
constexpr int APART = COPIERS / PIECES;              // pixels that are copied together
constexpr int ROWS = PIXELS / APART;                 // that a copying thread has
constexpr int A_BYTES = PIXELS * BM * sizeof(Operand), B_BYTES = BN * ROW_BYTES;
constexpr int STAGE_BYTES = A_BYTES + B_BYTES;
#if TURNED
typedef u8 Gradient;
#else
typedef Operand Gradient;
#endif
constexpr int WIDE_BYTES = PIXELS * ROW_BYTES;  // in 16 bits, of 64 channels of a slice

struct Work {
    int tiles, splits, slices, each;  // of rows; of all pixels, and of a split
};

// A tile of rows, a block of columns, and the slices of a split.
struct Item {
    int tile, block, split, first, slices;
    __device__ Item(int number, const Layer& l, const Work& work) {
        const int rest = number / work.tiles;
        tile = number - rest * work.tiles;
        split = rest / l.blocks;
        block = rest - split * l.blocks;
        first = split * work.each;
        slices = max(0, min(work.each, work.slices - first));
    }
};

// Where piece p of a pixel lies.
__device__ __forceinline__ u32 place_of(int pixel, int piece) {
#if KIND == 0
    return pixel * BM * sizeof(Operand) + (piece ^ pixel % 4 * 2) * 16;
#else
    return piece / SLICE * WIDE_BYTES + pixel * ROW_BYTES + (piece % SLICE ^ pixel % 8) * 16;
#endif
}

#if TURNED
__device__ __forceinline__ void copy_gradient(u32 to, const u8* turned, const Layer& l,
                                              const Item& item, int slice, int, const Ring& ring,
                                              const Stage& stage) {
    if (threadIdx.x != GROUPS * 128) return;
    const u8* from = turned + ((i64)(item.first + slice) * l.blocks + item.block) * B_BYTES;
    ring.bulk<B_BYTES>(stage, to, from);
}
#else
__device__ __forceinline__ void copy_gradient(u32 to, const Operand* g, const Layer& l,
                                              const Item& item, int slice, int pixels,
                                              const Ring&, const Stage&) {
    const int thread = threadIdx.x - GROUPS * 128, wide = (l.outputs + UNIT - 1) / UNIT * UNIT;
#pragma unroll 4  // of all of them places would fill registers
    for (int i = 0; i < PIXELS * (BN / UNIT) / COPIERS; ++i) {
        const int number = thread + i * COPIERS, pixel = number / (BN / UNIT);
        const int piece = number - pixel * (BN / UNIT), o = item.block * BN + piece * UNIT;
        const int at = (item.first + slice) * PIXELS + pixel;
        const bool there = at < pixels && o < wide;
        copy_piece(to + place_of(pixel, piece), there ? g + ((i64)at * wide + o) : g,
                   there ? 16 : 0);
    }
}
#endif

__device__ __forceinline__ void copy_tiles(const Operand* x, const Gradient* g, const Layer& l,
                                           const Work& work, const Ring& ring) {
    const Phase& p = l.phase[0];
    const int thread = threadIdx.x - GROUPS * 128, lane = thread % 32;
    const int mine = thread % PIECES, first = thread / PIECES;
    const int taps = p.taps_down * p.taps_across, groups = l.channels / (l.group * UNIT);
    const int pixels = l.images * p.rows * p.columns;
    Stage stage;
    OnTheirWay on_their_way;

    for (int number = blockIdx.x; number < work.tiles * l.blocks * work.splits;
         number += gridDim.x) {
        const Item item(number, l, work);
        const int q = item.tile * PIECES + mine, tap_and_group = q / l.group;
        const int group = tap_and_group / taps, tap = tap_and_group - group * taps;
        const int down = tap / p.taps_across * l.tap_down + p.first_row;
        const int across = tap % p.taps_across * l.tap_across + p.first_column;
        const int channel = (group * l.group + q - tap_and_group * l.group) * UNIT;
        const bool there = group < groups;

        for (int slice = 0; slice < item.slices; ++slice) {
            // Each lane looks up PIXELS / 32 pixels of the slice, for all.
            int bases[PIXELS / 32], rows[PIXELS / 32], columns[PIXELS / 32];
#pragma unroll
            for (int k = 0; k < PIXELS / 32; ++k) {
                const int number = (item.first + slice) * PIXELS + k * 32 + lane;
                const int line = (u32)number / (u32)p.columns, image = (u32)line / (u32)p.rows;
                rows[k] = (line - image * p.rows) * l.down;
                columns[k] = (number - line * p.columns) * l.across;
                bases[k] = (image * l.height + rows[k]) * l.width + columns[k];
                if (number >= pixels) rows[k] = -(1 << 29);
            }
            ring.wait_empty(stage);
            const u32 a = ring.slices + stage.number * STAGE_BYTES;
            copy_gradient(a + A_BYTES, g, l, item, slice, pixels, ring, stage);
#pragma unroll
            for (int i = 0; i < ROWS; ++i) {
                const int pixel = first + i * APART, k = i * APART / 32;
                const int row = __shfl_sync(0xffffffffu, rows[k], pixel % 32) + down;
                const int column = __shfl_sync(0xffffffffu, columns[k], pixel % 32) + across;
                const int base = __shfl_sync(0xffffffffu, bases[k], pixel % 32);
                const bool inside = there && (u32)row < (u32)l.height &&
                                    (u32)column < (u32)l.width;
                const i64 at = base + down * l.width + across;
                copy_piece(a + place_of(pixel, mine),
                           inside ? x + (at * l.channels + channel) : x, inside ? 16 : 0);
            }
            stage.next();
            on_their_way.one_more(ring);
        }
    }
    on_their_way.all(ring);
}

// The products of a slice, which is read when this has returned, or is done with by then.
constexpr bool READ_LATER = KIND != 0;
__device__ __forceinline__ void multiply_slice(float (&sums)[WM][BN / 2], u32 a) {
    const int group = threadIdx.x / 128;
#if KIND == 0
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4, g = lane / 4, t = lane % 4;
    u32 rows[WM][4][4];  // 64 rows and 32 bytes of K each, as registers
#pragma unroll
    for (int step = 0; step < 4; ++step)
#pragma unroll
        for (int i = 0; i < WM; ++i)
#pragma unroll
            for (int k = 0; k < 4; ++k) {
                const int m = (group * WM + i) * 64 + warp * 16 + g + k % 2 * 8;
                const int pixel = step * 8 + k / 2 * 4 + t;
                const float value = shared_float(a + place_of(pixel, m / 4) + m % 4 * 4);
                // Tensor cores cut bits off: see tiles.cu.
                rows[i][step][k] = __float_as_uint(value * 1.00035f);
            }
    const u64 columns = descriptor(a + A_BYTES);
    products_may_begin();
#pragma unroll
    for (int k = 0; k < 4; ++k)
#pragma unroll
        for (int i = 0; i < WM; ++i) multiply(sums[i], rows[i][k], columns + 2 * k);
    products_end_group();
    products_wait<0>();
#pragma unroll
    for (int i = 0; i < WM; ++i) sums_are_there(sums[i]);
#else
    const u64 columns = TURNED ? descriptor(a + A_BYTES)
                               : descriptor_transposed(a + A_BYTES, WIDE_BYTES);
    products_may_begin();
#pragma unroll
    for (int k = 0; k < 4; ++k)
#pragma unroll
        for (int i = 0; i < WM; ++i) {
            const u64 rows = descriptor_transposed(a + (group * WM + i) * WIDE_BYTES, WIDE_BYTES);
            multiply<1, !TURNED>(sums[i], rows + 128 * k, columns + (TURNED ? 2 : 128) * k);
        }
    products_end_group();
#endif
}

__device__ __forceinline__ void multiply_tiles(float* partial, const Layer& l, const Work& work,
                                               const Ring& ring) {
    const int group = threadIdx.x / 128, lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
    Stage stage;
    for (int number = blockIdx.x; number < work.tiles * l.blocks * work.splits;
         number += gridDim.x) {
        const Item item(number, l, work);
        float sums[WM][BN / 2] = {};
        int before = -1;  // a slice whose products may be under way
        for (int slice = 0; slice < item.slices; ++slice) {
            ring.wait_full(stage);
            multiply_slice(sums, ring.slices + stage.number * STAGE_BYTES);
            if (READ_LATER) {
                products_wait<1>();
                if (before >= 0) ring.hand_back(before);
                before = stage.number;
            } else {
                ring.hand_back(stage.number);
            }
            stage.next();
        }
        if (READ_LATER) {
            products_wait<0>();
#pragma unroll
            for (int i = 0; i < WM; ++i) sums_are_there(sums[i]);
            if (before >= 0) ring.hand_back(before);
        }
        const int wide = l.blocks * BN;
        const i64 all = (i64)work.tiles * BM;
#pragma unroll
        for (int i = 0; i < 2 * WM; ++i) {
            const int row =
                item.tile * BM + (group * WM + i / 2) * 64 + warp * 16 + i % 2 * 8 + lane / 4;
            float* to = partial + ((item.split * all + row) * wide + item.block * BN);
#pragma unroll
            for (int j = 0; j < BN / 8; ++j)
                *(float2*)(to + j * 8 + lane % 4 * 2) = make_float2(
                    sums[i / 2][j * 4 + i % 2 * 2], sums[i / 2][j * 4 + i % 2 * 2 + 1]);
        }
    }
}

extern "C" __global__ void __launch_bounds__(GROUPS * 128 + COPIERS, BLOCKS)
    conv_wide_wgrad(const Operand* __restrict__ x, const Gradient* __restrict__ g,
                    float* __restrict__ partial, const __grid_constant__ Layer l, int tiles,
                    int splits, int slices, int each) {
    extern __shared__ u8 memory[];
    const Ring ring(shared_address(memory), STAGE_BYTES);
    const Work work = {tiles, splits, slices, each};
    if (threadIdx.x >= GROUPS * 128) {
        if (BLOCKS == 1) give_registers<88>();
        copy_tiles(x, g, l, work, ring);
    } else {
        if (BLOCKS == 1) take_registers<208>();
        multiply_tiles(partial, l, work, ring);
    }
}

// The weight gradient of a wide layer on Hopper (sm_90a): sums over pixels of x, as each tap sees
// it, times g. Rows are taps times channels, columns are output channels, and K is pixels of y.
//
// As in wide.cu, warpgroups multiply what others copy. Rows of x lie in shared memory as in x, a
// pixel's BM channels (of one tap or of several) behind one another, and come through registers to
// the tensor cores, which turns them; g comes turned, by wide_pack.cu, as the weights in wide.cu
// lie. Pieces of 16 bytes of a pixel are swapped so that a warp reads them from different banks.
//
// A block works through tiles of BM rows and BN columns, each over a part of the pixels: a split.
// Its sums go to `partial`, which a second kernel adds up in order.
//
// Macros as of wide.cu.

constexpr int BM = GROUPS * WM * 64;
constexpr int PIXELS = ROW_BYTES / sizeof(Operand);  // of a slice: 32 or 64
constexpr int PIECES = BM / UNIT;                    // of a pixel
constexpr int APART = COPIERS / PIECES;              // pixels that are copied together
constexpr int ROWS = PIXELS / APART;                 // that a copying thread has
constexpr int PIXEL_BYTES = BM * sizeof(Operand);
constexpr int A_BYTES = PIXELS * PIXEL_BYTES, B_BYTES = BN * ROW_BYTES;
constexpr int STAGE_BYTES = A_BYTES + B_BYTES;

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
    return pixel * PIXEL_BYTES + (piece ^ (KIND == 0 ? pixel % 4 * 2 : pixel % 8)) * 16;
}

__device__ __forceinline__ void copy_tiles(const Operand* x, const u8* turned, const Layer& l,
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
        const u8* slice_of_g = turned + ((i64)item.first * l.blocks + item.block) * B_BYTES;

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
            if (thread == 0) ring.bulk<B_BYTES>(stage, a + A_BYTES, slice_of_g);
            slice_of_g += (i64)l.blocks * B_BYTES;
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

// 64 rows of 32 bytes of K as registers: those of step `step` of a slice from row `row` on, which
// is the warp's first of 16.
__device__ __forceinline__ void load_rows(u32 (&to)[4], u32 a, int row, int step) {
    const int lane = threadIdx.x % 32;
#if KIND == 0
    const int g = lane / 4, t = lane % 4;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
        const int m = row + g + k % 2 * 8, pixel = step * 8 + k / 2 * 4 + t;
        const float value = shared_float(a + place_of(pixel, m / 4) + m % 4 * 4);
        to[k] = __float_as_uint(value * 1.00035f);  // tensor cores cut bits off: see tiles.cu
    }
#else
    const int pixel = step * 16 + lane / 16 * 8 + lane % 8;
    load_transposed(to, a + place_of(pixel, row / 8 + lane / 8 % 2));
#endif
}

__device__ __forceinline__ void multiply_tiles(float* partial, const Layer& l, const Work& work,
                                               const Ring& ring) {
    const int group = threadIdx.x / 128, lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
    Stage stage;
    for (int number = blockIdx.x; number < work.tiles * l.blocks * work.splits;
         number += gridDim.x) {
        const Item item(number, l, work);
        float sums[WM][BN / 2];
#pragma unroll
        for (int i = 0; i < WM; ++i)
#pragma unroll
            for (int j = 0; j < BN / 2; ++j) sums[i][j] = 0;
        for (int slice = 0; slice < item.slices; ++slice) {
            ring.wait_full(stage);
            const u32 a = ring.slices + stage.number * STAGE_BYTES;
            u32 rows[WM][4][4];
#pragma unroll
            for (int k = 0; k < 4; ++k)
#pragma unroll
                for (int i = 0; i < WM; ++i)
                    load_rows(rows[i][k], a, (group * WM + i) * 64 + warp * 16, k);
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
            ring.hand_back(stage.number);
            stage.next();
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
    conv_wide_wgrad(const Operand* __restrict__ x, const u8* __restrict__ turned,
                    float* __restrict__ partial, const __grid_constant__ Layer l, int tiles,
                    int splits, int slices, int each) {
    extern __shared__ u8 memory[];
    const Ring ring(shared_address(memory), STAGE_BYTES);
    const Work work = {tiles, splits, slices, each};
    if (threadIdx.x >= GROUPS * 128) {
        if (BLOCKS == 1) give_registers<88>();
        copy_tiles(x, turned, l, work, ring);
    } else {
        if (BLOCKS == 1) take_registers<208>();
        multiply_tiles(partial, l, work, ring);
    }
}

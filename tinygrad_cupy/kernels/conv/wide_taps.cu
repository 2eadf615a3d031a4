// The product of a wide layer on Hopper (sm_90a) whose taps lie one pixel apart: y = windows of x
// times packed weights, plus bias and ReLU. Each pixel is copied once for all taps.
//
// Pixels of x and y are counted in one row: pixel (n, row, column) is (n * lines + row) * pitch +
// column, where lines and pitch are so much larger than the images that what a tap reads beside
// them is no pixel: a zero. So what tap k reads for pixel i of y is pixel i + shift[k] of x, and in
// shared memory the rows of a tile of y, BM pixels, are for each tap the same rows of x, some
// further on. The tensor cores may begin at any row: where the pieces of a row are swapped depends
// on the address alone.
//
// A block has two warpgroups that multiply; of a third two warps copy pixels, one thread weights.
// Pixels of a tile, and those that its taps reach, lie in one of two regions, 128 bytes of their
// channels at a time; while it is multiplied, the next is copied. Weights come tap by tap, as in
// wide.cu, through a ring of STAGES. K is in the order (slice of channels, tap). Blocks are
// persistent.
//
// Macros: WM times 64 rows a warpgroup, BN columns, STAGES, BLOCKS of a multiprocessor, and what
// wide_tile.cuh is told.

constexpr int BM = GROUPS * WM * 64;
constexpr int B_BYTES = BN * ROW_BYTES;
constexpr int LINES = 8;                   // rows that are copied together
constexpr int ROW_COPIERS = LINES * SLICE;  // threads
constexpr int MOST_TAPS = 25;

struct Space {
    int images, lines, pitch;         // of both
    int height, width, channels;      // x (N, H, W, C), C a multiple of UNIT
    int outputs, out_height, out_width;  // y (N, OH, OW, O)
    int slices, taps;                 // of channels
    int low, rows;                    // the least shift; rows of a region, a multiple of LINES
    int tiles, blocks;                // of pixels, of columns
    int shift[MOST_TAPS];             // from the least one
};
static_assert(sizeof(Space) == SPACE_BYTES, "as taps_plan.py packs it");

// Which pixel a number is, by coordinates that may be beyond an image.
struct Pixel {
    int image, row, column;

    __device__ Pixel(int number, const Space& s) {
        const u32 image_pixels = (u32)s.lines * (u32)s.pitch;
        const u32 moved = (u32)number + image_pixels;  // it may be as much below zero
        image = (int)(moved / image_pixels) - 1;
        const u32 inside = moved - (u32)(image + 1) * image_pixels;
        row = (int)(inside / (u32)s.pitch);
        column = (int)(inside - (u32)row * (u32)s.pitch);
    }
    __device__ bool inside(int images, int height, int width) const {
        return (u32)image < (u32)images && row < height && column < width;
    }
};

// Addresses in shared memory: of the regions, of the weights' stages, and of barriers that say that
// one is full or empty.
struct Memory {
    u32 regions, region_bytes, weights, full, empty;

    __device__ Memory(u32 memory, int rows) {
        regions = (memory + 1023) / 1024 * 1024;
        region_bytes = rows * ROW_BYTES;
        weights = regions + 2 * region_bytes;
        full = weights + STAGES * B_BYTES, empty = full + 8 * (STAGES + 2);
        if (threadIdx.x == 0) {
            for (int i = 0; i < STAGES + 2; ++i) {  // the last two are the regions'
                barrier_init(full + 8 * i, i < STAGES ? 1 : ROW_COPIERS / 32);
                barrier_init(empty + 8 * i, GROUPS * 4);
            }
            barriers_are_ready();
        }
        __syncthreads();
    }
    // For a warp that has read it.
    __device__ void hand_back(u32 number) const {
        if (threadIdx.x % 32 == 0) barrier_arrive(empty + 8 * number);
    }
};

// The tiles and slices of channels of a block, one after the other.
struct Item {
    int number, slice = 0;  // of a tile in a block of columns

    __device__ bool there(const Space& s) const { return number < s.tiles * s.blocks; }
    __device__ int tile(const Space& s) const { return number / s.blocks; }
    __device__ void next(const Space& s) {
        if (++slice == s.slices) slice = 0, number += gridDim.x;
    }
};

// A pixel that a copying thread is at, and where x has it. It goes on by LINES: few instructions,
// one after the other, are all that a warp does between two copies.
struct Cursor {
    Pixel pixel;
    int at;

    __device__ Cursor(int number, const Space& s) : pixel(number, s) {
        at = (pixel.image * s.height + pixel.row) * s.width + pixel.column;
    }
    __device__ void next(const Space& s) {
        pixel.column += LINES;
        at += LINES;
        while (pixel.column >= s.pitch) {
            pixel.column -= s.pitch;
            at += s.width - s.pitch;
            if (++pixel.row == s.lines) {
                pixel.row = 0;
                ++pixel.image;
                at += (s.height - s.lines) * s.width;
            }
        }
    }
};

// By ROW_COPIERS threads, each of which has one piece of every LINES-th row.
__device__ __forceinline__ void copy_pixels(const Operand* x, const Space& s,
                                            const Memory& memory) {
    const int thread = threadIdx.x - GROUPS * 128, piece = thread % SLICE, row = thread / SLICE;
    const u32 place = memory.regions + row * ROW_BYTES + (piece ^ row) * 16;
    Turn<2> region;
    for (Item item = {(int)blockIdx.x}; item.there(s); item.next(s)) {
        const int number = STAGES + region.number, channel = (item.slice * SLICE + piece) * UNIT;
        const bool there = channel < s.channels;
        const Operand* from = x + channel;
        Cursor cursor(item.tile(s) * BM + s.low + row, s);
        u32 to = place + region.number * memory.region_bytes;
        barrier_wait(memory.empty + 8 * number, region.parity ^ 1);
#pragma unroll 4
        for (int left = s.rows / LINES; left > 0; --left) {
            const bool inside = there && cursor.pixel.inside(s.images, s.height, s.width);
            copy_piece(to, inside ? from + (i64)cursor.at * s.channels : from, inside ? 16 : 0);
            to += LINES * ROW_BYTES;
            cursor.next(s);
        }
        copies_end_group();
        copies_wait<0>();
        async_proxy_fence();
        __syncwarp();
        if (threadIdx.x % 32 == 0) barrier_arrive(memory.full + 8 * number);
        region.next();
    }
}

// By one thread.
__device__ __forceinline__ void copy_weights(const u8* weights, const Space& s,
                                             const Memory& memory) {
    Turn<STAGES> stage;
    for (Item item = {(int)blockIdx.x}; item.there(s); item.next(s)) {
        const int first = (item.number % s.blocks * s.slices + item.slice) * s.taps;
        for (int tap = 0; tap < s.taps; ++tap) {
            const u32 full = memory.full + 8 * stage.number;
            barrier_wait(memory.empty + 8 * stage.number, stage.parity ^ 1);
            barrier_arrive_expecting(full, B_BYTES);
            copy_bulk(memory.weights + stage.number * B_BYTES,
                      weights + (i64)(first + tap) * B_BYTES, B_BYTES, full);
            stage.next();
        }
    }
}

__device__ __forceinline__ void multiply_tiles(const Result* bias, Result* y, const Space& s,
                                               const Memory& memory) {
    const int group = threadIdx.x / 128, lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
    Turn<STAGES> stage;
    Turn<2> region;
    for (Item item = {(int)blockIdx.x}; item.there(s); item.number += gridDim.x) {
        float sums[WM][BN / 2] = {};
        int tap = 0;
        u32 before = 0, region_before = 0;  // barriers of what is still read
        for (int step = 0; step < s.slices * s.taps; ++step) {
            if (tap == 0) barrier_wait(memory.full + 8 * (STAGES + region.number), region.parity);
            barrier_wait(memory.full + 8 * stage.number, stage.parity);
            const u64 rows = descriptor(memory.regions + region.number * memory.region_bytes +
                                        (group * WM * 64 + s.shift[tap]) * ROW_BYTES);
            const u64 columns = descriptor(memory.weights + stage.number * B_BYTES);
            multiply_slice(sums, rows, columns);
            products_wait<1>();  // those of the tap before are done
            if (step > 0) memory.hand_back(before);
            if (step > 0 && tap == 0) memory.hand_back(region_before);
            before = stage.number;
            stage.next();
            if (++tap == s.taps) {
                tap = 0;
                region_before = STAGES + region.number;
                region.next();
            }
        }
        products_wait<0>();
#pragma unroll
        for (int i = 0; i < WM; ++i) sums_are_there(sums[i]);
        memory.hand_back(before);
        memory.hand_back(region_before);

        const int block = item.number % s.blocks, first = item.tile(s) * BM;
#pragma unroll
        for (int i = 0; i < 2 * WM; ++i) {
            const Pixel pixel(
                first + (group * WM + i / 2) * 64 + warp * 16 + i % 2 * 8 + lane / 4, s);
            const bool there = pixel.inside(s.images, s.out_height, s.out_width);
            const i64 line = (i64)pixel.image * s.out_height + pixel.row;
            Result* to = y + (line * s.out_width + pixel.column) * s.outputs;
            store_row(&sums[i / 2][i % 2 * 2], to, bias, block * BN, there, s.outputs);
        }
    }
}

extern "C" __global__ void __launch_bounds__(GROUPS * 128 + COPIERS, BLOCKS)
    conv_wide_taps(const Operand* __restrict__ x, const u8* __restrict__ weights,
                   const Result* __restrict__ bias, Result* __restrict__ y,
                   const __grid_constant__ Space s) {
    extern __shared__ u8 memory[];
    const Memory places(shared_address(memory), s.rows);
    const int copier = (int)threadIdx.x - GROUPS * 128;
    if (copier < 0)
        multiply_tiles(bias, y, s, places);
    else if (copier < ROW_COPIERS)
        copy_pixels(x, s, places);
    else if (copier == ROW_COPIERS)
        copy_weights(weights, s, places);
}

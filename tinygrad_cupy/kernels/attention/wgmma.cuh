// Attention of 16-bit numbers by wgmma (sm_90a): what its kernels share. Of a block, GROUPS
// warpgroups multiply what COPIERS threads copy (Shah et al. 2024, FlashAttention-3).
//
// Tiles in shared memory have rows of WIDTH numbers. They are SLABS slabs of 64 columns, rows of
// 128 bytes in the 128-byte swizzle (hopper.cuh), slab behind slab.
//
// Macros: WIDTH, the head's size, rounded up to 64 or 128; ACROSS, rows of the tiles that are
// walked over; GROUPS, COPIERS and STAGES (ring.cuh).

constexpr int BULK = 0;                // see ring.cuh
constexpr int OWN = GROUPS * 64;       // rows of a block
constexpr int PIECES = WIDTH / 8;      // of 16 bytes, of a row
constexpr int SLAB_ROW = 128;          // bytes
constexpr int ROW = WIDTH * 2;         // bytes of a tile for each row
constexpr u32 UNIT = 16;               // bytes, of descriptors
// Registers of a thread that copies and of one that multiplies. The multiprocessor has 128 for each
// of 512 threads, 168 for each of 384.
constexpr int OF_COPIERS = GROUPS == 3 ? 32 : 40, OF_OTHERS = GROUPS == 3 ? 160 : 232;
static_assert(WIDTH == 64 || WIDTH == 128, "slabs");
static_assert(GROUPS == 2 || GROUPS == 3, "registers");

// Where piece p of a row lies in a tile of COUNT rows.
template <int COUNT>
__device__ __forceinline__ u32 place_of(u32 row, u32 piece) {
    return piece / 8 * (COUNT * SLAB_ROW) + row * SLAB_ROW + ((piece ^ row) & 7) * 16;
}

// COUNT rows from global memory by copying thread `thread`, zeros behind the last and behind the
// width.
template <int COUNT>
__device__ __forceinline__ void copy_tile(u32 tile, const Operand* from, i64 stride, int rows,
                                          int width, int thread) {
    constexpr int TOGETHER = COPIERS / PIECES;  // rows
    static_assert(COUNT % TOGETHER == 0, "rows of a thread");
    const int first = thread / PIECES, piece = thread % PIECES;
    const int bytes = max(0, min(16, (width - piece * 8) * 2));
    const Operand* source = from + first * stride + piece * 8;
#pragma unroll 2
    for (int begin = 0; begin < COUNT; begin += TOGETHER) {
        const int row = begin + first;
        const bool there = row < rows && bytes > 0;
        copy_piece(tile + place_of<COUNT>(row, piece), there ? source : from, there ? bytes : 0);
        source += TOGETHER * stride;
    }
}

// sums = 64 rows of a tile of LEFT rows times all of one of COUNT rows, over the head's size.
template <int LEFT, int COUNT>
__device__ __forceinline__ void multiply_rows(float (&sums)[COUNT / 2], u32 left, u32 tile) {
    const u64 a = descriptor(left), b = descriptor(tile);
#pragma unroll
    for (int step = 0; step < WIDTH / 16; ++step) {
        const int slab = step / 4, column = step % 4 * 2;
        multiply(sums, a + (slab * LEFT * SLAB_ROW / UNIT + column),
                 b + (slab * COUNT * SLAB_ROW / UNIT + column), step > 0);
    }
}

// found += weights (64, COUNT) times a tile of COUNT rows.
template <int COUNT>
__device__ __forceinline__ void multiply_columns(float (&found)[WIDTH / 2],
                                                 const u32 (&weights)[COUNT / 16][4], u32 tile) {
    const u64 b = descriptor_transposed(tile, COUNT * SLAB_ROW);
#pragma unroll
    for (int step = 0; step < COUNT / 16; ++step)
        multiply<1>(found, weights[step], b + step * (16 * SLAB_ROW / UNIT));
}

// Sums become a left operand without leaving their threads.
template <int COUNT>
__device__ __forceinline__ void as_left(u32 (&weights)[COUNT / 16][4],
                                        const float (&sums)[COUNT / 2]) {
#pragma unroll
    for (int step = 0; step < COUNT / 16; ++step)
#pragma unroll
        for (int i = 0; i < 4; ++i)
            weights[step][i] = to_bits(sums[8 * step + 2 * i], sums[8 * step + 2 * i + 1], KIND);
#pragma unroll
    for (int step = 0; step < COUNT / 16; ++step) values_are_there(weights[step]);
}

template <int SIZE>
__device__ __forceinline__ void clear(float (&sums)[SIZE]) {
#pragma unroll
    for (int i = 0; i < SIZE; ++i) sums[i] = 0;
}

// Where a lane stores matrices of a left operand: its row of 16, and which of two pieces.
struct Writer {
    int row, piece;
    __device__ Writer() : row(threadIdx.x % 16), piece(threadIdx.x % 32 / 16) {}
    // Columns from 16 `step` on, in rows from `first` of a tile of COUNT rows.
    template <int COUNT>
    __device__ __forceinline__ void store(u32 tile, int first, int step,
                                          const u32 (&matrices)[4]) const {
        store_matrices(tile + place_of<COUNT>(first + row, 2 * step + piece), matrices);
    }
};

// A warp's 16 rows, times a factor for each half of them, through the warp's rows of a tile in
// shared memory to an array, whose rows from `first` on are `left` many.
template <int COUNT>
__device__ __forceinline__ void store_rows(u32 tile, int first, float (&found)[WIDTH / 2],
                                           float above, float below, Operand* to, i64 stride,
                                           int left, int width) {
    const Writer writer;
#pragma unroll
    for (int i = 0; i < WIDTH / 2; ++i) found[i] *= i % 4 < 2 ? above : below;
    u32 rounded[WIDTH / 16][4];
    as_left<WIDTH>(rounded, found);
#pragma unroll
    for (int step = 0; step < WIDTH / 16; ++step)
        writer.store<COUNT>(tile, first, step, rounded[step]);
    __syncwarp();
    constexpr int TOGETHER = 32 / PIECES;  // rows
    const int lane = threadIdx.x % 32, piece = lane % PIECES;
#pragma unroll
    for (int begin = 0; begin < 16; begin += TOGETHER) {
        const int row = begin + lane / PIECES, columns = width - piece * 8;
        if (row >= left || columns <= 0) continue;
        const float4 eight = shared_float4(tile + place_of<COUNT>(first + row, piece));
        Operand* place = to + row * stride + piece * 8;
        if (width % 8 == 0) {
            *(float4*)place = eight;
        } else {
            const u32 pairs[4] = {__float_as_uint(eight.x), __float_as_uint(eight.y),
                                  __float_as_uint(eight.z), __float_as_uint(eight.w)};
#pragma unroll
            for (int i = 0; i < 8; ++i)
                if (i < columns) place[i] = (u16)(pairs[i / 2] >> i % 2 * 16);
        }
    }
}

// The product of a wide layer on Hopper (sm_90a): y = windows of x times packed weights, plus bias
// and ReLU. See wide.cuh for what rows, columns and K are.
//
// A block has two warpgroups that multiply and one that copies. A ring of STAGES slices lies in
// shared memory: BM rows of x and BN columns of weights, 128 bytes each. Rows are copied by
// cp.async, 16 bytes a thread, zeros where the padding is; weights, which `wide_pack.cu` has laid
// out as they lie here, by one bulk copy. The tensor cores read both from shared memory, in the
// order that they call 128-byte swizzle: of the eight pieces of row r, piece p lies at p ^ (r % 8).
// Blocks are persistent: while the multiplying warps store a tile, the others copy the next.
//
// Macros: WM times 64 rows a warpgroup, BN columns, STAGES, BLOCKS of a multiprocessor, and what
// wide_tile.cuh is told.

constexpr int BM = GROUPS * WM * 64;
constexpr int ROWS = BM / (COPIERS / SLICE);  // that a copying thread has
constexpr int A_BYTES = BM * ROW_BYTES, B_BYTES = BN * ROW_BYTES, STAGE_BYTES = A_BYTES + B_BYTES;

// --- tiles --------------------------------------------------------------------------------------

// A tile: which phase, which of its rows, which columns.
struct Tile {
    const Phase* phase;
    int block, row, rows;  // of columns; the first row, and how many there are in the phase
    __device__ Tile(int tile, const Layer& l) {
        const int of_rows = tile / l.blocks;
        block = tile - of_rows * l.blocks;
        int p = 0;
        while (p + 1 < l.phases && l.phase[p + 1].first_tile <= of_rows) ++p;
        phase = &l.phase[p];
        row = (of_rows - phase->first_tile) * BM;
        rows = l.images * phase->rows * phase->columns;
    }
};

// A row of a phase as a pixel of it.
struct Pixel {
    int image, row, column;
    __device__ Pixel(int number, const Phase& p) {
        const int line = (u32)number / (u32)p.columns;
        column = number - line * p.columns;
        image = (u32)line / (u32)p.rows;
        row = line - image * p.rows;
    }
};

__device__ __forceinline__ void copy_tiles(const Operand* x, const u8* weights, const Layer& l,
                                           const Ring& ring) {
    const int thread = threadIdx.x - GROUPS * 128;
    const int mine = thread % SLICE, first = thread / SLICE;
    const u32 place = first * ROW_BYTES + (mine ^ first % 8) * 16;
    const int groups = l.channels / (l.group * UNIT);
    Stage stage;
    OnTheirWay on_their_way;

    for (int number = blockIdx.x; number < l.tiles * l.blocks;
         number += gridDim.x) {
        const Tile tile(number, l);
        const Phase& p = *tile.phase;
        int pixels[ROWS], rows[ROWS], columns[ROWS];
#pragma unroll
        for (int i = 0; i < ROWS; ++i) {
            const int row = tile.row + first + i * (COPIERS / SLICE);
            const bool there = row < tile.rows;
            const Pixel pixel(there ? row : 0, p);
            rows[i] = there ? pixel.row * l.down + p.first_row : -(1 << 29);
            columns[i] = pixel.column * l.across + p.first_column;
            pixels[i] = (pixel.image * l.height + (there ? rows[i] : 0)) * l.width + columns[i];
        }
        const u8* slice_of_weights =
            weights + ((i64)p.first_slice * l.blocks + (i64)tile.block * p.slices) * B_BYTES;
        Piece piece(mine, l, p);
        for (int slice = 0; slice < p.slices; ++slice) {
            ring.wait_empty(stage);
            const u32 a = ring.slices + stage.number * STAGE_BYTES;
            if (thread == 0) ring.bulk<B_BYTES>(stage, a + A_BYTES, slice_of_weights);
            slice_of_weights += B_BYTES;
            const int down = piece.row * l.tap_down, across = piece.column * l.tap_across;
            const int shift = down * l.width + across, channel = piece.channel(l);
            const bool in_k = piece.group < groups;
#pragma unroll
            for (int i = 0; i < ROWS; ++i) {
                const bool there = in_k && (u32)(rows[i] + down) < (u32)l.height &&
                                   (u32)(columns[i] + across) < (u32)l.width;
                const Operand* from = x + ((i64)(pixels[i] + shift) * l.channels + channel);
                copy_piece(a + place + i * (COPIERS / SLICE * ROW_BYTES), there ? from : x,
                           there ? 16 : 0);
            }
            piece.piece += SLICE;
            piece.settle(l, p);
            stage.next();
            on_their_way.one_more(ring);
        }
    }
    on_their_way.all(ring);
}

__device__ __forceinline__ void multiply_tiles(const Result* bias, Result* y, const Layer& l,
                                               const Ring& ring) {
    const int group = threadIdx.x / 128, lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
    Stage stage;
    for (int number = blockIdx.x; number < l.tiles * l.blocks;
         number += gridDim.x) {
        const Tile tile(number, l);
        const Phase& p = *tile.phase;
        float sums[WM][BN / 2] = {};
        int before = 0;
        for (int slice = 0; slice < p.slices; ++slice) {
            ring.wait_full(stage);
            const u32 a = ring.slices + stage.number * STAGE_BYTES;
            const u64 rows = descriptor(a + group * WM * 64 * ROW_BYTES);
            const u64 columns = descriptor(a + A_BYTES);
            multiply_slice(sums, rows, columns);
            products_wait<1>();  // those of the slice before are done
            if (slice > 0) ring.hand_back(before);
            before = stage.number;
            stage.next();
        }
        products_wait<0>();
#pragma unroll
        for (int i = 0; i < WM; ++i) sums_are_there(sums[i]);
        if (p.slices > 0) ring.hand_back(before);

#pragma unroll
        for (int i = 0; i < 2 * WM; ++i) {
            const int row = tile.row + (group * WM + i / 2) * 64 + warp * 16 + i % 2 * 8 + lane / 4;
            const bool there = row < tile.rows;
            const Pixel pixel(there ? row : 0, p);
            const int line = pixel.image * l.out_height + pixel.row * l.out_down + p.out_row;
            const int place = pixel.column * l.out_across + p.out_column;
            Result* to = y + ((i64)line * l.out_width + place) * l.outputs;
            store_row(&sums[i / 2][i % 2 * 2], to, bias, tile.block * BN, there, l.outputs);
        }
    }
}

extern "C" __global__ void __launch_bounds__(GROUPS * 128 + COPIERS, BLOCKS)
    conv_wide(const Operand* __restrict__ x, const u8* __restrict__ weights,
              const Result* __restrict__ bias, Result* __restrict__ y,
              const __grid_constant__ Layer l) {
    extern __shared__ u8 memory[];
    const Ring ring(shared_address(memory), STAGE_BYTES);
    if (threadIdx.x >= GROUPS * 128)
        copy_tiles(x, weights, l, ring);
    else
        multiply_tiles(bias, y, l, ring);
}

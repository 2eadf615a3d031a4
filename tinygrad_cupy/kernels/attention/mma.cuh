// Attention by mma.sync (sm_80): what its kernels share. Scores are made in registers, tile by
// tile, and made again for the gradient (Dao 2023, FlashAttention-2).
//
// Tiles in shared memory have rows of WIDTH elements, PIECES pieces of 16 bytes; piece p of row r
// lies at p ^ swizzled(r), so that the eight rows that a matrix load takes lie in different banks.
// A fragment is what a thread holds of a matrix for `multiply`; sums c (16, 8) hold for thread
// (g, t) = (lane / 4, lane % 4) the elements (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1).
//
// Macros: WIDTH, the head's size, rounded up to a multiple of 32; WARPS of a block, each with TALL
// times 16 rows; COLUMNS of a tile that is walked over, HALVES, that many parts of which are held
// in registers at once; KEPT, whether a warp's own rows are.

constexpr int BLOCK = WARPS * 32;  // threads
constexpr int TALLNESS = TALL * 16, BM = WARPS * TALLNESS;
constexpr int STEP = 32 / sizeof(Operand), STEPS = WIDTH / STEP;  // of K in a product
constexpr int TILES = WIDTH / 8;                                  // of sums, over a head's size
constexpr int ROW = WIDTH * sizeof(Operand), PIECES = ROW / 16;
constexpr int SWIZZLE = PIECES % 8 ? 3 : 7;
constexpr int PART = COLUMNS / HALVES;
static_assert(PIECES % 4 == 0 && PART % 16 == 0, "tiles");

// --- tiles --------------------------------------------------------------------------------------

__device__ __forceinline__ u32 swizzled(u32 row) {
    return (SWIZZLE == 7 ? row : row / 2) & SWIZZLE;
}

// Calls task(row, piece, place) for every piece of this thread in a tile of COUNT rows.
template <int COUNT, class Task>
__device__ __forceinline__ void each_piece(Task task) {
    if constexpr (BLOCK % PIECES == 0) {
        constexpr int TOGETHER = BLOCK / PIECES;  // rows
        const int first = threadIdx.x / PIECES, piece = threadIdx.x % PIECES;
#pragma unroll
        for (int begin = 0; begin < COUNT; begin += TOGETHER) {
            const int row = begin + first;
            if (COUNT % TOGETHER && row >= COUNT) break;
            task(row, piece, row * ROW + (piece ^ swizzled(row)) * 16);
        }
    } else {
#pragma unroll
        for (int begin = 0; begin < COUNT * PIECES; begin += BLOCK) {
            const int i = begin + threadIdx.x, row = i / PIECES, piece = i % PIECES;
            if (COUNT * PIECES % BLOCK && i >= COUNT * PIECES) break;
            task(row, piece, row * ROW + (piece ^ swizzled(row)) * 16);
        }
    }
}

// COUNT rows from global memory, zeros behind the last and behind the width.
template <int COUNT>
__device__ __forceinline__ void copy_tile(u32 tile, const Operand* from, i64 stride, int rows,
                                          int width) {
    each_piece<COUNT>([&](int row, int piece, u32 place) {
        const int left = (width - piece * (STEP / 2)) * (int)sizeof(Operand);
        const bool there = row < rows && left > 0;
        const Operand* source = there ? from + row * stride + piece * (STEP / 2) : from;
        copy_piece(tile + place, source, there ? min(left, 16) : 0);
    });
}

// What this thread has copied is made ready for the tensor cores, which would cut TF32's digits
// off instead of rounding.
template <int COUNT>
__device__ __forceinline__ void settle_tile(u32 tile) {
#if KIND == 0
    each_piece<COUNT>([&](int, int, u32 place) {
        const float4 v = shared_float4(tile + place);
        share(tile + place, rounded_to_tf32(v.x), rounded_to_tf32(v.y), rounded_to_tf32(v.z),
              rounded_to_tf32(v.w));
    });
#endif
}

// Where a lane reads matrices: its row, and which of two neighbouring pieces.
struct Reader {
    u32 row, piece;
    __device__ Reader(int row_, int half) : row(row_ * ROW), piece(half ^ swizzled(row_)) {}
    // Of pieces 2 * pair and 2 * pair + 1 in rows from `first`, a multiple of 8.
    __device__ u32 at(u32 tile, int first, int pair) const {
        return tile + row + first * ROW + ((piece ^ (2 * pair & SWIZZLE)) * 16)
               + (2 * pair & ~SWIZZLE) * 16;
    }
};

// A warp's own rows, the left operand: TALL times 16 of them, in registers or read again each
// time.
struct Left {
    u32 kept[KEPT ? TALL : 1][KEPT ? STEPS : 1][4];
    u32 tile;
    int first;

    __device__ __forceinline__ void open(u32 tile_, int first_, const Reader& reader) {
        tile = tile_, first = first_;
        if (KEPT)
#pragma unroll
            for (int i = 0; i < (KEPT ? TALL : 1); ++i)
#pragma unroll
                for (int step = 0; step < (KEPT ? STEPS : 1); ++step)
                    load_matrices(kept[i][step], reader.at(tile, first + 16 * i, step));
    }
    __device__ __forceinline__ void get(u32 (&a)[4], int i, int step, const Reader& reader) const {
        if (KEPT) {
#pragma unroll
            for (int j = 0; j < 4; ++j) a[j] = kept[KEPT ? i : 0][KEPT ? step : 0][j];
        } else {
            load_matrices(a, reader.at(tile, first + 16 * i, step));
        }
    }
};

struct Lane {
    int warp, g, t;
    Reader own, across;  // of 16 rows: as a left operand; as a right one whose rows are columns
    __device__ Lane()
        : warp(threadIdx.x / 32),
          g(threadIdx.x % 32 / 4),
          t(threadIdx.x % 4),
          own(threadIdx.x % 16, threadIdx.x % 32 / 16),
          across(threadIdx.x % 8 + threadIdx.x % 32 / 16 * 8, threadIdx.x / 8 % 2) {}
};

// --- products -----------------------------------------------------------------------------------

typedef float Sums[TALL][PART / 8][4];   // of a warp's rows and PART columns
typedef float Found[TALL][TILES][4];     // of a warp's rows and a head's size
typedef u32 Weights[TALL][PART / STEP][4];  // PART columns as a left operand

// sums = the warp's rows times rows `first` to first + PART of a tile, over the head's size.
__device__ __forceinline__ void multiply_rows(Sums& sums, const Left& left, u32 tile, int first,
                                              const Lane& lane) {
#pragma unroll
    for (int i = 0; i < TALL; ++i)
#pragma unroll
        for (int j = 0; j < PART / 8; ++j)
#pragma unroll
            for (int e = 0; e < 4; ++e) sums[i][j][e] = 0;
#pragma unroll
    for (int step = 0; step < STEPS; ++step) {
        u32 a[TALL][4];
#pragma unroll
        for (int i = 0; i < TALL; ++i) left.get(a[i], i, step, lane.own);
#pragma unroll
        for (int j = 0; j < PART / 8; j += 2) {
            u32 b[4];
            load_matrices(b, lane.across.at(tile, first + 8 * j, step));
#pragma unroll
            for (int i = 0; i < TALL; ++i) {
                multiply(sums[i][j], a[i], b[0], b[1]);
                multiply(sums[i][j + 1], a[i], b[2], b[3]);
            }
        }
    }
}

// Sums become a left operand without leaving their threads. The columns of TF32's eight are
// taken in the order 0, 2, 4, 6, 1, 3, 5, 7 for that.
__device__ __forceinline__ void as_left(Weights& weights, const Sums& sums) {
#pragma unroll
    for (int i = 0; i < TALL; ++i)
#pragma unroll
        for (int step = 0; step < PART / STEP; ++step) {
            u32(&a)[4] = weights[i][step];
#if KIND == 0
            const float(&c)[4] = sums[i][step];
            a[0] = rounded_to_tf32(c[0]), a[1] = rounded_to_tf32(c[2]);
            a[2] = rounded_to_tf32(c[1]), a[3] = rounded_to_tf32(c[3]);
#else
            const float(&c)[4] = sums[i][2 * step], (&d)[4] = sums[i][2 * step + 1];
            a[0] = to_bits(c[0], c[1], KIND), a[1] = to_bits(c[2], c[3], KIND);
            a[2] = to_bits(d[0], d[1], KIND), a[3] = to_bits(d[2], d[3], KIND);
#endif
        }
}

// found += weights times rows `first` to first + PART of a tile.
__device__ __forceinline__ void multiply_columns(Found& found, const Weights& weights, u32 tile,
                                                 int first, const Lane& lane) {
#pragma unroll
    for (int step = 0; step < PART / STEP; ++step)
#pragma unroll
        for (int pair = 0; pair < WIDTH / 16; ++pair) {
            u32 b[4];
#if KIND == 0
#pragma unroll
            for (int j = 0; j < 2; ++j) {
                const int row = 2 * lane.t;  // of eight, and the next one: see as_left
                const u32 place = tile + (first + 8 * step + row) * ROW + lane.g % 4 * 4;
                const int piece = 4 * pair + 2 * j + lane.g / 4;
                b[2 * j] = __float_as_uint(shared_float(place + (piece ^ row) * 16));
                b[2 * j + 1] =
                    __float_as_uint(shared_float(place + ROW + (piece ^ (row + 1)) * 16));
            }
#else
            load_transposed(b, lane.own.at(tile, first + 16 * step, pair));
#endif
#pragma unroll
            for (int i = 0; i < TALL; ++i) {
                multiply(found[i][2 * pair], weights[i][step], b[0], b[1]);
                multiply(found[i][2 * pair + 1], weights[i][step], b[2], b[3]);
            }
        }
}

__device__ __forceinline__ void clear(Found& found) {
#pragma unroll
    for (int i = 0; i < TALL; ++i)
#pragma unroll
        for (int j = 0; j < TILES; ++j)
#pragma unroll
            for (int e = 0; e < 4; ++e) found[i][j][e] = 0;
}

// --- rows ---------------------------------------------------------------------------------------

__device__ __forceinline__ void store(Operand* to, float first, float second, int left) {
#if KIND == 0
    if (left > 1 && (u64)to % 8 == 0) {
        *(float2*)to = make_float2(first, second);
    } else {
        if (left > 0) to[0] = first;
        if (left > 1) to[1] = second;
    }
#else
    const u32 both = to_bits(first, second, KIND);
    if (left > 1 && (u64)to % 4 == 0) {
        *(u32*)to = both;
    } else {
        if (left > 0) to[0] = (u16)both;
        if (left > 1) to[1] = (u16)(both >> 16);
    }
#endif
}

// A warp's rows, times a factor for each row (of i and half), to rows from `first` of a matrix.
template <class Factor>
__device__ __forceinline__ void store_rows(Operand* to, i64 stride, const Found& found, int first,
                                           int rows, int width, const Lane& lane, Factor factor) {
#pragma unroll
    for (int i = 0; i < TALL; ++i)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int row = first + 16 * i + 8 * half + lane.g;
            if (row >= rows) continue;
            const float by = factor(i, half);
#pragma unroll
            for (int j = 0; j < TILES; ++j) {
                const int column = 8 * j + 2 * lane.t;
                store(to + row * stride + column, found[i][j][2 * half] * by,
                      found[i][j][2 * half + 1] * by, width - column);
            }
        }
}

// --- scores -------------------------------------------------------------------------------------

// What a product of q and k times this is, in units of log 2, is the score; a mask of numbers has
// been added by then.
__device__ __forceinline__ float unit(const Attention& a) {
    return MASK == 2 ? 1.0f : a.scale * LOG2_E;
}

// A score's place behind the first one of a tile that a thread has: constants where loops are
// unrolled, so that addresses take few registers.
__device__ __forceinline__ float masked(float product, int query, int key, const Mask* of_first,
                                        int rows, int columns, const Attention& a) {
    bool seen = key + columns < a.keys && (!CAUSAL || key + columns <= query + rows);
#if MASK
    const bool there = seen && query + rows < a.queries;
    const Mask* at = of_first + (rows * a.mask_row + columns * a.mask_column);
#if MASK == 1
    seen = there && *at;
#else
    product = product * (a.scale * LOG2_E) + (there ? *at * LOG2_E : 0.0f);
    seen = there;
#endif
#endif
    return seen ? product : -infinite();
}

__device__ __forceinline__ const Mask* place(const Mask* mask, int query, int key,
                                             const Attention& a) {
    return mask + ((i64)query * a.mask_row + (i64)key * a.mask_column);
}

// Whether some product of these queries and keys needs `masked`.
__device__ __forceinline__ bool needs_mask(int query, int key, int keys, const Attention& a) {
    return MASK || key + keys > a.keys || (CAUSAL && key + keys - 1 > query);
}

// Direct convolution, which reads sequences, images and volumes as they lie, N, C, D, H, W: what
// its product (direct.cu) and its weight gradient (direct_wgrad.cu) share.
//
// A tile is a box of output places: some images by some planes, rows and columns. What the box sees
// of a few channels is copied to shared memory once, zeros where the padding is, and all taps read
// it from there. A lane has two numbers for each of its operands: where a place of the box begins
// in the copy, and how far from there a channel's tap is; their sum is where the operand lies. So
// strides, dilations and the number of axes cost nothing in the inner loop.
//
// Macros: CHANNELS of the input and OUTPUTS of a group; KD KH KW, SD SH SW, PD PH PW (may be below
// 0), DD DH DW the geometry; UD UH UW how far apart the input's elements stand, zeros between them:
// 1, or the stride that a gradient by the input goes back; CB channels that are worked on at once,
// MT tiles of 16 and NT of 8 that a warp multiplies; MMA whether tensor cores do it, in TF32.

constexpr int TAPS = KD * KH * KW;
constexpr int DEPTH = CB * TAPS;  // products of a place of the output in a chunk of channels
constexpr int CHUNKS = (CHANNELS + CB - 1) / CB;
constexpr int NB = 8 * NT, BLOCKS_OF_OUTPUTS = (OUTPUTS + NB - 1) / NB;

// As `_SIZES` in direct.py.
struct Sizes {
    int images, groups;
    int in[3], out[3];
    int box[4];    // of a tile: images, planes, rows, columns of the output
    int seen[3];   // planes, rows and columns of the input that those of the box see
    int tiles[4];  // along each axis
    int all_tiles;
    int pitch;  // of a channel in shared memory
};

struct Place {
    int n, d, h, w;
};

// Number `at` of a box whose sides are d, h and w.
__device__ __forceinline__ Place place_in(int at, int d, int h, int w) {
    Place place;
    const int row = at / w, plane = row / h;
    place.w = at - row * w, place.h = row - plane * h;
    place.n = plane / d, place.d = plane - place.n * d;
    return place;
}

// Where the box of tile `tile` begins in the output.
__device__ __forceinline__ Place tile_at(int tile, const Sizes& s) {
    const Place at = place_in(tile, s.tiles[1], s.tiles[2], s.tiles[3]);
    return {at.n * s.box[0], at.d * s.box[1], at.h * s.box[2], at.w * s.box[3]};
}

// Where a place of the box begins in the copy of what it sees.
__device__ __forceinline__ int begin_of(const Place& at, const Sizes& s) {
    return ((at.n * s.seen[0] + at.d * SD) * s.seen[1] + at.h * SH) * s.seen[2] + at.w * SW;
}

// How far from there product `k` of DEPTH is: taps before channels.
__device__ __forceinline__ int reach_of(int k, const Sizes& s) {
    const int c = k % CB, tap = k / CB, kw = tap % KW, kh = tap / KW % KH, kd = tap / KW / KH;
    return c * s.pitch + (kd * DD * s.seen[1] + kh * DH) * s.seen[2] + kw * DW;
}

// Tensor cores cut the last 13 bits off: see near_tf32 in tiles.cu.
__device__ __forceinline__ A operand(T x) { return MMA ? (A)x * (A)1.00035f : (A)x; }

// Whether the input has an element at v, of an axis with zeros between its elements: number v then.
template <int APART>
__device__ __forceinline__ bool is_element(int& v, int size) {
    if (v < 0) return false;
    if (APART > 1) {
        if (v % APART) return false;
        v /= APART;
    }
    return v < size;
}

// What the box at `tile` sees of CB channels, from `channel` of the group on.
__device__ __forceinline__ void load_input(A* to, const T* __restrict__ x, const Place& tile,
                                           const Sizes& s, int group, int channel) {
    const i64 apart = (i64)s.in[0] * s.in[1] * s.in[2];
    const int volume = s.box[0] * s.seen[0] * s.seen[1] * s.seen[2];
    for (int at = threadIdx.x; at < volume; at += THREADS) {
        const Place place = place_in(at, s.seen[0], s.seen[1], s.seen[2]);
        const int n = tile.n + place.n;
        int d = tile.d * SD - (PD) + place.d, h = tile.h * SH - (PH) + place.h,
            w = tile.w * SW - (PW) + place.w;
        const bool inside = n < s.images && is_element<UD>(d, s.in[0]) &&
                            is_element<UH>(h, s.in[1]) && is_element<UW>(w, s.in[2]);
        const T* from = x + (((i64)n * s.groups + group) * CHANNELS + channel) * apart +
                        ((i64)d * s.in[1] + h) * s.in[2] + w;
#pragma unroll 8
        for (int c = 0; c < CB; ++c) {
            const bool wanted = inside && (CHANNELS % CB == 0 || channel + c < CHANNELS);
            to[c * s.pitch + at] = wanted ? operand(from[c * apart]) : (A)0;
        }
    }
}

struct alignas(2 * sizeof(A)) Pair {
    A x, y;
};

// c += a b, 16 x 8 and 8 x 8: see multiply_tf32 in tiles.cu.
__device__ __forceinline__ void multiply(float* c, const float* a, const float* b) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(__float_as_uint(a[0])), "r"(__float_as_uint(a[1])), "r"(__float_as_uint(a[2])),
          "r"(__float_as_uint(a[3])), "r"(__float_as_uint(b[0])), "r"(__float_as_uint(b[1])));
}

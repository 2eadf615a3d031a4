// Pieces that the tensor-core convolutions share: where a pixel lies, how an input tile comes into
// shared memory, and the products of small tiles in three precisions.
//
// All images of a batch, each with its padding, stand on top of one another: the concatenated
// batch. Output pixels are numbered through all of it; BM of them in a row are a tile. What a tile
// reads is a band of whole rows of the concatenated batch: the input tile. It is copied once into
// shared memory, zeros where the padding is, and all taps of the kernel read it from there: there
// is no column matrix. A pixel of the input tile takes STRIDE words of 4 bytes: CB floats, or
// CB / 2 pairs of bfloat16, rounded once as they come in; and what keeps pixels that a warp reads
// at once in different banks (plan.py).
//
// Macros: CHANNELS of the input, OUTPUTS channels, KH KW SH SW PADH PADW DH DW the geometry, CB how
// many channels are worked on at once (a multiple of 8), STRIDE, BM pixels of a tile, POOL whether
// pixels are numbered by the windows of a 2 x 2 max-pool: eight windows' first pixels, their second
// ones, third and fourth, then the next eight windows; PRECISION 0 float32, 1 TF32, 2 bfloat16.

constexpr int WARPS = THREADS / 32;
constexpr int TAPS = KH * KW;
constexpr int VECTOR = CHANNELS % 4 == 0 ? 4 : 1;  // floats of one asynchronous copy

// Division by a number that stays the same, as a product (Granlund & Montgomery 1994): n below
// 2^31.
struct Divisor {
    u32 factor;
    int value, shift;
    __device__ explicit Divisor(int value) : value(value) {
        shift = 32 - __clz(value - 1);  // value <= 2^shift
        factor = value == 1 ? 0 : (u32)((1ull << (31 + shift)) / value + 1);
    }
    __device__ int into(int n) const { return value == 1 ? n : __umulhi(n, factor) >> (shift - 1); }
};

struct Sizes {
    int images, height, width;
    Divisor across, down;  // of the output, or of the max-pool's
    Divisor padded_width, padded_height;
    __device__ Sizes(int images, int height, int width, int out_height, int out_width)
        : images(images), height(height), width(width), across(POOL ? out_width / 2 : out_width),
          down(POOL ? out_height / 2 : out_height), padded_width(width + 2 * PADW),
          padded_height(height + 2 * PADH) {}
};

struct Place {
    int row, column;  // in the concatenated batch: where an output pixel's window begins
};

// Which window of the max-pool a pixel belongs to.
__device__ __forceinline__ int window_of(int pixel) { return pixel / 32 * 8 + pixel % 8; }

__device__ __forceinline__ Place place(int pixel, const Sizes& size) {
    const int inner = pixel / 8 % 4;
    if (POOL) pixel = window_of(pixel);
    const int line = size.across.into(pixel), image = size.down.into(line);
    int column = pixel - line * size.across.value, row = line - image * size.down.value;
    if (POOL) {
        row = 2 * row + inner / 2;
        column = 2 * column + inner % 2;
    }
    return {image * size.padded_height.value + row * SH, column * SW};
}

// --- into shared memory --------------------------------------------------------------------------

template <int FLOATS>
__device__ __forceinline__ void copy_async(u32* to, const float* from, bool wanted) {
    u32 address = (u32)__cvta_generic_to_shared(to);
    int bytes = wanted ? 4 * FLOATS : 0;  // the rest is filled with zeros
    if (FLOATS == 4)
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from),
                     "r"(bytes));
    else
        asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(address), "l"(from),
                     "r"(bytes));
}
__device__ __forceinline__ void copies_end_group() { asm volatile("cp.async.commit_group;"); }
__device__ __forceinline__ void copies_wait() {
    asm volatile("cp.async.wait_group 0;" ::: "memory");
}

__device__ __forceinline__ u32 to_bf16(float low, float high) {
    u32 both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
}

// Where pixel `pixel` of an input tile, which begins with row `first` of the concatenated batch, is
// in x; less than 0 where it is padding.
__device__ __forceinline__ long long source(int pixel, int first, const Sizes& size) {
    if (PADH == 0 && PADW == 0) {  // the concatenated batch is x itself
        const int at = first * size.width + pixel;
        return at < size.images * size.height * size.width ? (long long)at * CHANNELS : -1;
    }
    const int r = size.padded_width.into(pixel), image = size.padded_height.into(first + r);
    const int h = first + r - image * size.padded_height.value - PADH;
    const int w = pixel - r * size.padded_width.value - PADW;
    const bool wanted = image < size.images && (PADH == 0 || (u32)h < (u32)size.height) &&
                        (PADW == 0 || (u32)w < (u32)size.width);
    return wanted ? (((long long)image * size.height + h) * size.width + w) * CHANNELS : -1;
}

// `rows` rows of the concatenated batch from row `first`, channels from `channel` on, a pixel every
// APART words: there after copies_wait. `thread` is one of THREADS that do it together.
template <int APART>
__device__ __forceinline__ void copy_input_tile(u32* input_tile, const float* x, int first,
                                                int rows, int channel, const Sizes& size,
                                                int thread) {
    constexpr int PIECES = CB / VECTOR;  // of a pixel
    const int count = rows * size.padded_width.value * PIECES;
    for (int i = thread; i < count; i += THREADS) {
        const int pixel = i / PIECES, c = i % PIECES * VECTOR;
        const long long from = source(pixel, first, size);
        const bool wanted = from >= 0 && channel + c < CHANNELS;
        copy_async<VECTOR>(input_tile + pixel * APART + c, wanted ? x + from + channel + c : x,
                           wanted);
    }
}

// --- products of 16 x 8 tiles -------------------------------------------------------------------

__device__ __forceinline__ float to_tf32(float x) {  // to nearest; eight instructions
    u32 bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
    return __uint_as_float(bits);
}
// In one instruction: tensor cores cut the last 13 bits off, which makes a number smaller by
// 3.5e-4 of itself on average. So much larger before, the error is centred; what TF32 can hold
// comes out as it is, NaN and infinities too.
__device__ __forceinline__ float near_tf32(float x) { return x * 1.00035f; }

// c += a b with a 16 x 8 and b 8 x 8; a lane gives a(g, k), a(g + 8, k), a(g, k'), a(g + 8, k') and
// b(k, g), b(k', g) for two k of its own (g = lane / 4) and holds c(g, 2t), c(g, 2t + 1),
// c(g + 8, 2t), c(g + 8, 2t + 1) (t = lane % 4). Which k is whose does not matter to a sum.
__device__ __forceinline__ void multiply_tf32(float* c, const float* a, const float* b) {
    asm(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(__float_as_uint(a[0])), "r"(__float_as_uint(a[1])), "r"(__float_as_uint(a[2])),
          "r"(__float_as_uint(a[3])), "r"(__float_as_uint(b[0])), "r"(__float_as_uint(b[1])));
}
// The same with the two k of a lane packed into one register each: a(g), a(g + 8), b.
__device__ __forceinline__ void multiply_bf16(float* c, u32 a0, u32 a1, u32 b) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, "
        "{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a0), "r"(a1), "r"(b));
}
// Twice as deep: a(g), a(g + 8) of the first eight k, then of the second; b likewise.
__device__ __forceinline__ void multiply_bf16_deep(float* c, const u32* a, const u32* b) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Four (or, from lanes 0 to 15, two) 8 x 8 matrices of bfloat16, transposed: lane l names
// row l % 8 of matrix l / 8 and gets of each the two rows 2t and 2t + 1 at column g.
__device__ __forceinline__ void load_transposed(u32* fragment, const u32* row, bool four) {
    const u32 address = (u32)__cvta_generic_to_shared(row);
    if (four)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(fragment[0]), "=r"(fragment[1]), "=r"(fragment[2]), "=r"(fragment[3])
                     : "r"(address)
                     : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
                     : "=r"(fragment[0]), "=r"(fragment[1])
                     : "r"(address)
                     : "memory");
}

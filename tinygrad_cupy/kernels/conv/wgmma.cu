// The products of implicit_gemm.cu by wgmma, Hopper's own (sm_90a), which the four warps of a
// warpgroup do together. Pixels come from registers, for a warpgroup's 64 rows may then be any 64
// pixels of the input tile; the weights are read by the tensor core itself, from shared memory.
//
// There they lie as its core matrices: eight output channels times four words, 128 bytes in a row.
// One product is 8 words deep, two core matrices, BN / 8 of them one after the other for the first,
// then as many for the second. TAP_STRIDE words are a tap: four more than these, so that
// neighbouring taps are stored in different banks. Of eight words lane t of a quad holds words 2t
// and 2t + 1 of a pixel, and gives them as the product's columns t and t + 4: so word 2t lies in
// the first core matrix, 2t + 1 in the second.

constexpr int PIECES = WORDS / 8;       // of eight words, of a pixel
constexpr int STEPS = TAPS * PIECES;
// Steps begun at once, as registers allow.
constexpr int DEPTH = BLOCKS * CONSUMERS == 1 ? 4 : NT <= 4 ? 2 : 1;
constexpr int ROUNDS = (STEPS + DEPTH - 1) / DEPTH;
static_assert(WORDS % 8 == 0 && WARPS_M % 4 == 0, "a warpgroup's tile");

__device__ __forceinline__ int place_of_weight(int o, int word, int tap) {
    const int matrix = word / 8 * 2 + word % 2;
    return tap * TAP_STRIDE + (matrix * BN + o) * 4 + word % 8 / 2;
}

// What ordinary instructions stored is read by tensor cores behind the next barrier.
__device__ __forceinline__ void weights_are_stored() {
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// --- one product --------------------------------------------------------------------------------

// Registers that ordinary instructions wrote are ready for the products that follow.
__device__ __forceinline__ void products_may_begin() {
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void products_end_group() {
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int LEFT>  // of what products_end_group ended, so many may still be at work
__device__ __forceinline__ void products_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LEFT) : "memory");
}

#define SUMS(j) "+f"(c[j][0]), "+f"(c[j][1]), "+f"(c[j][2]), "+f"(c[j][3])
#define FACTORS "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add)
#if PRECISION == 2
#define SHAPE(N) "m64n" N "k16.f32.bf16.bf16 "
#define REST ", p, 1, 1, 0; }"
#else
#define SHAPE(N) "m64n" N "k8.f32.tf32.tf32 "
#define REST ", p, 1, 1; }"
#endif
#define MULTIPLY(N, ADD, REGISTERS, ...)                                               \
    asm volatile("{ .reg .pred p; setp.ne.b32 p, " ADD ", 0; "                         \
                 "wgmma.mma_async.sync.aligned." SHAPE(N) REGISTERS REST : __VA_ARGS__ \
                 : FACTORS)

// c = a times b, plus c if `add`, of 64 pixels and 8 * NT output channels: a in registers as
// multiply_tf32 (or multiply_bf16_deep) takes it for each warp's 16 pixels, b the descriptor of a
// matrix in shared memory.
__device__ __forceinline__ void multiply(float (*c)[4], const u32* a, unsigned long long b,
                                         int add) {
#if NT == 1
    MULTIPLY("8", "%9", "{%0,%1,%2,%3}, {%4,%5,%6,%7}, %8", SUMS(0));
#elif NT == 2
    MULTIPLY("16", "%13", "{%0,%1,%2,%3,%4,%5,%6,%7}, {%8,%9,%10,%11}, %12", SUMS(0), SUMS(1));
#elif NT == 4
    MULTIPLY("32", "%21",
             "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15}, {%16,%17,%18,%19}, %20",
             SUMS(0), SUMS(1), SUMS(2), SUMS(3));
#elif NT == 8
    MULTIPLY(
        "64", "%37",
        "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
        "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}, {%32,%33,%34,%35}, %36",
        SUMS(0), SUMS(1), SUMS(2), SUMS(3), SUMS(4), SUMS(5), SUMS(6), SUMS(7));
#else
#error "NT is 1, 2, 4 or 8"
#endif
}

// --- all of an input tile ------------------------------------------------------------------------

struct Pixels {  // of DEPTH steps, as `multiply` takes them
    u32 at[DEPTH][MT][4];
};

__device__ __forceinline__ u32 as_operand(u32 word) {
    return PRECISION == 1 ? __float_as_uint(near_tf32(__uint_as_float(word))) : word;
}

__device__ __forceinline__ void multiply_input_tile(float (*acc)[NT][4], const u32* input_tile,
                                                    const int* rows, const u32* weights,
                                                    int warp_n, int wide, bool fresh) {
    // The matrices' descriptor, in units of 16 bytes: where one begins, from its first core matrix
    // to the second (BN), and in the upper half from eight output channels to the next (8).
    u32 matrix = ((u32)__cvta_generic_to_shared(weights) / 16 + warp_n * NT * 8) | BN << 16;
    asm volatile("" : "+r"(matrix));  // or the compiler keeps that of every step in registers
    input_tile += 2 * (threadIdx.x % 4);

    auto fetch = [&](Pixels& to, int round) {
#pragma unroll
        for (int d = 0; d < DEPTH; ++d) {
            const int step = round * DEPTH + d, tap = step / PIECES;
            if (step >= STEPS) break;
            const u32* from =
                input_tile + (tap / KW * DH * wide + tap % KW * DW) * STRIDE + step % PIECES * 8;
#pragma unroll
            for (int i = 0; i < MT; ++i) {
                const uint2 upper = *(const uint2*)(from + rows[2 * i]);
                const uint2 lower = *(const uint2*)(from + rows[2 * i + 1]);
                to.at[d][i][0] = as_operand(upper.x), to.at[d][i][1] = as_operand(lower.x);
                to.at[d][i][2] = as_operand(upper.y), to.at[d][i][3] = as_operand(lower.y);
            }
        }
    };

    Pixels pixels[2];  // those that are multiplied, and the next, which are fetched meanwhile
    fetch(pixels[0], 0);
#pragma unroll
    for (int round = 0; round < ROUNDS; ++round) {
        products_may_begin();
#pragma unroll
        for (int d = 0; d < DEPTH; ++d) {
            const int step = round * DEPTH + d;
            if (step >= STEPS) break;
            const int place = step / PIECES * (TAP_STRIDE / 4) + step % PIECES * 2 * BN;
#pragma unroll
            for (int i = 0; i < MT; ++i)
                multiply(acc[i], pixels[round % 2].at[d][i], 8ull << 32 | (matrix + place),
                         step > 0 || !fresh);
        }
        products_end_group();
        if (round + 1 < ROUNDS) {
            products_wait<1>();  // the round before has read what is overwritten now
            fetch(pixels[(round + 1) % 2], round + 1);
        }
    }
    products_wait<0>();
}

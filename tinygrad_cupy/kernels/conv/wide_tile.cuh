// What a tile of wide.cu and of wide_taps.cu have in common: products of operands in shared memory,
// and how sums become elements of y: bias, ReLU, rounding, 16 bytes at a time.
//
// Macros: BIAS, RELU, OUT: 0 float, 1 bfloat16, 2 float16, of y and bias.

// The products of a slice: WM times 64 rows and BN columns of 128 bytes of K, from the descriptors
// of both. They are under way when this returns.
__device__ __forceinline__ void multiply_slice(float (&sums)[WM][BN / 2], u64 rows, u64 columns) {
    products_may_begin();
#pragma unroll
    for (int k = 0; k < 4; ++k)
#pragma unroll
        for (int i = 0; i < WM; ++i)
            multiply(sums[i], rows + i * (64 * ROW_BYTES / 16) + 2 * k, columns + 2 * k);
    products_end_group();
}

#if OUT == 0
typedef float Result;
#else
typedef u16 Result;
#endif

// Neighbouring columns as they are stored, 16 bytes.
constexpr int WIDE = 16 / sizeof(Result);

__device__ __forceinline__ float bias_at(const Result* bias, int o, int outputs) {
    if (!BIAS || o >= outputs) return 0;
#if OUT == 0
    return bias[o];
#else
    return from_bits(bias[o], OUT);
#endif
}

__device__ __forceinline__ float activated(float value) {
    return RELU && value < 0 ? 0 : value;  // NaN stays NaN
}

// Of 8 * WIDE / 2 columns of a row, a quad has two of each eight: lane t the columns 2t and 2t + 1.
// They change hands, so that each has WIDE neighbours.
struct Columns {
    float at[WIDE];

    __device__ explicit Columns(const float* sums) {
        const bool odd = threadIdx.x & 1;
#pragma unroll
        for (int k = 0; k < WIDE; k += 4) {  // two columns of eight and of the next eight
            const float* two = sums + 2 * k;
            const float2 kept = odd ? make_float2(two[4], two[5]) : make_float2(two[0], two[1]);
            const float2 sent = odd ? make_float2(two[0], two[1]) : make_float2(two[4], two[5]);
            const float2 got = {__shfl_xor_sync(0xffffffffu, sent.x, 1),
                                __shfl_xor_sync(0xffffffffu, sent.y, 1)};
            at[k] = odd ? got.x : kept.x, at[k + 1] = odd ? got.y : kept.y;
            at[k + 2] = odd ? kept.x : got.x, at[k + 3] = odd ? kept.y : got.y;
        }
        if (WIDE == 8) {  // four of eight or of the next; and the same of the next but one
            const bool upper = threadIdx.x & 2;
#pragma unroll
            for (int k = 0; k < 4; ++k) {
                const float low = at[k], high = at[WIDE - 4 + k];
                const float sent = upper ? low : high, kept = upper ? high : low;
                const float got = __shfl_xor_sync(0xffffffffu, sent, 2);
                at[k] = upper ? got : kept, at[WIDE - 4 + k] = upper ? kept : got;
            }
        }
    }
    // The first of them.
    __device__ static int first() {
        const int t = threadIdx.x % 4;
        return WIDE == 8 ? t * 8 : t % 2 * 8 + t / 2 * 4;
    }
    // Of the first `left` of them, which begin at column o.
    __device__ void store(Result* to, const Result* bias, int o, int left, int outputs) const {
        float value[WIDE];
#pragma unroll
        for (int k = 0; k < WIDE; ++k) value[k] = activated(at[k] + bias_at(bias, o + k, outputs));
        if (outputs % WIDE == 0) {
            if (left <= 0) return;
#if OUT == 0
            *(float4*)to = make_float4(value[0], value[1], value[2], value[3]);
#else
            *(uint4*)to = make_uint4(to_bits(value[0], value[1], OUT),
                                     to_bits(value[2], value[3], OUT),
                                     to_bits(value[WIDE - 4], value[WIDE - 3], OUT),
                                     to_bits(value[WIDE - 2], value[WIDE - 1], OUT));
#endif
            return;
        }
#pragma unroll
        for (int k = 0; k < WIDE; ++k) {
#if OUT == 0
            if (k < left) to[k] = value[k];
#else
            if (k < left) to[k] = (u16)to_bits(value[k], 0, OUT);
#endif
        }
    }
};

// A pixel of y, its BN channels from `first` on, from the sums of a row; of none where it is not
// `there`. All lanes come here together.
__device__ __forceinline__ void store_row(const float* sums, Result* to, const Result* bias,
                                          int first, bool there, int outputs) {
#pragma unroll
    for (int j = 0; j < BN / 8; j += WIDE / 2) {
        const Columns columns(sums + j * 4);
        const int o = first + j * 8 + columns.first();
        columns.store(to + o, bias, o, there ? outputs - o : 0, outputs);
    }
}

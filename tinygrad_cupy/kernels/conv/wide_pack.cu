// What wide.cu reads, laid out as it reads it. Macros: FROM the type of what is given: 0 float,
// 1 bfloat16, 2 float16; BN columns of a block; FLIP as said below.

#if FROM == 0
typedef float Given;
#else
typedef u16 Given;
#endif

__device__ __forceinline__ float value_of(Given given) {
#if FROM == 0
    return given;
#else
    return from_bits(given, FROM);
#endif
}

// UNIT elements as operands, 16 bytes.
struct Operands {
    union {
        uint4 all;
        float floats[4];
        u32 words[4];
    };
    __device__ explicit Operands(const float (&value)[UNIT], bool rounded) {
        all = make_uint4(0, 0, 0, 0);
#pragma unroll
        for (int k = 0; k < 4; ++k) {
#if KIND == 0
            if (rounded)
                words[k] = rounded_to_tf32(value[k]);
            else
                floats[k] = value[k];
#else
            words[k] = to_bits(value[2 * k], value[2 * k + 1], KIND);
#endif
        }
    }
};

// packed (phase, block of columns, slice, BN, 128 bytes in the 128-byte swizzle) from w
// (O, C, taps), or with FLIP, where y's channels are w's second axis, (C, O, taps). A thread has
// one piece of one column; `pieces` of all phases together.
extern "C" __global__ void conv_wide_pack(const Given* __restrict__ w, uint4* __restrict__ packed,
                                          const __grid_constant__ Layer l, int channels) {
    const int pieces = (l.phase[l.phases - 1].first_slice + l.phase[l.phases - 1].slices) * SLICE;
    const i64 thread = (i64)blockIdx.x * THREADS + threadIdx.x;
    const int o = (int)(thread / pieces), q = (int)(thread - (i64)o * pieces);
    if (o >= l.blocks * BN) return;
    int i = 0;
    while (i + 1 < l.phases && l.phase[i + 1].first_slice * SLICE <= q) ++i;
    const Phase& p = l.phase[i];
    const int inside = q - p.first_slice * SLICE, taps = p.taps_down * p.taps_across;
    const int tap_and_group = inside / l.group, group = tap_and_group / taps;
    const int tap = tap_and_group - group * taps;
    const int row = p.kernel_row + tap / p.taps_across * l.kernel_down;
    const int column = p.kernel_column + tap % p.taps_across * l.kernel_across;
    const int c = (group * l.group + inside - tap_and_group * l.group) * UNIT;
    float values[UNIT];
#pragma unroll
    for (int k = 0; k < UNIT; ++k) {
        const i64 pair = FLIP ? (i64)(c + k) * l.outputs + o : (i64)o * channels + c + k;
        const i64 all = (i64)l.kernel_height * l.kernel_width;
        values[k] = o < l.outputs && c + k < channels && group * l.group * UNIT < l.channels
                        ? value_of(w[pair * all + row * l.kernel_width + column])
                        : 0;
    }
    const i64 slice = ((i64)p.first_slice * l.blocks + (i64)(o / BN) * p.slices) + inside / SLICE;
    const int r = o % BN;
    packed[(slice * BN + r) * SLICE + (inside % SLICE ^ r % 8)] = Operands(values, true).all;
}

// x (pixels, C) as operands, with zeros behind C up to `wide`, a multiple of UNIT.
extern "C" __global__ void conv_wide_stage(const Given* __restrict__ x, uint4* __restrict__ staged,
                                           i64 pixels, int channels, int wide) {
    const int pieces = wide / UNIT;
    for (i64 i = (i64)blockIdx.x * THREADS + threadIdx.x; i < pixels * pieces;
         i += (i64)gridDim.x * THREADS) {
        const i64 pixel = i / pieces;
        const int c = (int)(i - pixel * pieces) * UNIT;
        const Given* from = x + pixel * channels + c;
        float values[UNIT];
        if (sizeof(Given) == 4 && channels % 4 == 0 && c + UNIT <= channels) {
#pragma unroll
            for (int k = 0; k < UNIT; k += 4) {
                const float4 four = *(const float4*)(from + k);
                values[k] = four.x, values[k + 1] = four.y, values[k + 2] = four.z,
                values[k + 3] = four.w;
            }
        } else {
#pragma unroll
            for (int k = 0; k < UNIT; ++k) values[k] = c + k < channels ? value_of(from[k]) : 0;
        }
        staged[i] = Operands(values, false).all;
    }
}

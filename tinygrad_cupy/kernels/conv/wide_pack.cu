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

__device__ __forceinline__ Given given_of(float value) {
#if FROM == 0
    return value;
#else
    return (u16)to_bits(value, 0, FROM);
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

// g (pixels, O) turned: (slice of pixels, block of columns, BN, 128 bytes in the 128-byte
// swizzle), zeros behind the last pixel and channel. A block has 32 columns of a slice.
extern "C" __global__ void conv_wide_turn(const Given* __restrict__ g, uint4* __restrict__ turned,
                                          int pixels, int outputs, int blocks) {
    constexpr int PIXELS = ROW_BYTES / sizeof(Operand);
    __shared__ float values[PIXELS][33];
    const int first = blockIdx.x * PIXELS, column = blockIdx.y * 32;
#pragma unroll
    for (int i = threadIdx.x / 32; i < PIXELS; i += THREADS / 32) {
        const int o = column + threadIdx.x % 32, pixel = first + i;
        const bool there = o < outputs && pixel < pixels;
        values[i][threadIdx.x % 32] = there ? value_of(g[(i64)pixel * outputs + o]) : 0;
    }
    __syncthreads();
    const int piece = threadIdx.x % SLICE, o = column + threadIdx.x / SLICE, r = o % BN;
    if (o >= blocks * BN) return;
    float mine[UNIT];
#pragma unroll
    for (int k = 0; k < UNIT; ++k) mine[k] = values[piece * UNIT + k][threadIdx.x / SLICE];
    const i64 row = ((i64)blockIdx.x * blocks + o / BN) * BN + r;
    turned[row * SLICE + (piece ^ r % 8)] = Operands(mine, true).all;
}

// dw (O, C, taps) from partial (splits, rows, columns). A block has 32 output channels of some
// neighbours of (C, taps), an element. `slices`, a divisor of WARPS, warps of it have every
// slices-th split of an element; their sums are added in order.
constexpr int WARPS = THREADS / 32;

extern "C" __global__ void conv_wide_sum(const float* __restrict__ partial, Given* __restrict__ dw,
                                         const __grid_constant__ Layer l, int channels,
                                         int splits, int rows, int slices) {
    __shared__ float sums[32][WARPS + 1];
    const int taps = l.kernel_height * l.kernel_width, all = channels * taps;
    const int neighbours = WARPS / slices, first = blockIdx.x * neighbours;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int e = first + warp / slices, o = blockIdx.y * 32 + lane;
    float sum = 0;
    if (e < all && o < l.outputs) {
        const int c = e / taps, tap = e - c * taps, piece = c / UNIT;
        const int group = piece / l.group, inside = piece - group * l.group;
        const int row = ((group * taps + tap) * l.group + inside) * UNIT + c % UNIT;
        const int wide = l.blocks * BN;
        const float* from = partial + ((i64)row * wide + o);
        for (int split = warp % slices; split < splits; split += 8 * slices) {
            float some[8];  // loads go out together
#pragma unroll
            for (int k = 0; k < 8; ++k) {
                const int one = split + k * slices;
                some[k] = one < splits ? from[(i64)one * rows * wide] : 0;
            }
#pragma unroll
            for (int k = 0; k < 8; ++k) sum += some[k];
        }
    }
    sums[lane][warp] = sum;
    __syncthreads();
    const int neighbour = threadIdx.x % neighbours, output = threadIdx.x / neighbours;
    if (output >= 32 || first + neighbour >= all || blockIdx.y * 32 + output >= l.outputs) return;
    float whole = 0;
    for (int slice = 0; slice < slices; ++slice) whole += sums[output][neighbour * slices + slice];
    dw[(i64)(blockIdx.y * 32 + output) * all + first + neighbour] = given_of(whole);
}

// Sums of an array over some of its axes, wherever these lie in memory; for a fully connected layer
// the gradient behind ReLU with them.
//
// The axes that are kept and those that are summed are counted by themselves, the innermost first,
// in packs of WIDTH neighbours in memory, which one load brings. Without ROWS these are neighbours
// of an axis that is kept: a block adds up columns. With it they are terms of one sum. In both, the
// lowest bits of a thread's number count what lies closest together.
//
// A block of `tile` outputs, blockIdx.x, adds up one part of the terms, blockIdx.y; of those of one
// tile the block that comes last adds up the parts, in order, so that every run gives the same.
//
// Macros: TYPE; SUM what is added up in, double or i64; OUT the type of the result; WIDTH; ROWS;
// SUMMED the number of axes that are summed; INDEX in which terms and outputs are counted, u32 or
// u64; AXES the most of either kind; DEEP packs that a thread has on their way at a time; GATED for
// ReLU; WHOLE where TYPE is no float.

typedef INDEX Index;

struct Layout {
    i64 outputs, terms;  // outputs, in packs without ROWS; terms of each, in packs with it
    i64 across;          // threads of a block side by side, along the packs: a power of two
    i64 kept;            // axes
    i64 jump;            // in memory, from a term of a thread to its next
    i64 kept_size[AXES], kept_stride[AXES];
    i64 size[AXES], stride[AXES];
    i64 step[AXES];   // from term to term, as digits in base size
    i64 carry[AXES];  // where a digit overflows, in memory
};

__device__ SUM wide(double value) { return (SUM)value; }
__device__ SUM wide(float value) { return (SUM)value; }
#ifdef HALF
__device__ SUM wide(__half value) { return (SUM)__half2float(value); }
#endif
#ifdef BFLOAT
__device__ SUM wide(__nv_bfloat16 value) { return (SUM)__bfloat162float(value); }
#endif
#ifdef WHOLE
__device__ SUM wide(T value) { return (SUM)value; }
#endif

// A result: sums of integers are not divided.
__device__ OUT rounded(double sum, double divisor) { return (OUT)(sum / divisor); }
__device__ OUT rounded(i64 sum, double divisor) { return (OUT)sum; }

// Where a term lies.
struct Place {
    i64 offset = 0;
    Index digit[SUMMED];

    __device__ Place(Index term, const Layout& l) {
#pragma unroll
        for (int d = 0; d < SUMMED; ++d) {
            digit[d] = d < SUMMED - 1 ? term % (Index)l.size[d] : term;
            if (d < SUMMED - 1) term /= (Index)l.size[d];
            offset += digit[d] * l.stride[d];
        }
    }
    // The thread's next: without a division.
    __device__ void advance(const Layout& l) {
        offset += l.jump;
#pragma unroll
        for (int d = 0; d < SUMMED - 1; ++d) {
            digit[d] += (Index)l.step[d];
            if (digit[d] >= (Index)l.size[d]) {
                digit[d] -= (Index)l.size[d];
                ++digit[d + 1];
                offset += l.carry[d];
            }
        }
    }
};

__device__ SUM of_lanes(SUM sum, int from, int to) {  // from lanes that many apart, and fewer
    for (int by = from; by >= to; by /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, by);
    return sum;
}

// Thread t has sums of N neighbours of its place, t % across. shared[i] becomes the sum of those
// that the threads of one place have, and belongs to thread i % THREADS.
template <int N>
__device__ void add_up_block(SUM (&sums)[N], int across, SUM* shared) {
    const int lane = threadIdx.x % 32, width = across * N;
    const int group = across < 32 ? threadIdx.x / 32 : threadIdx.x / across;
    const int groups = THREADS / (across < 32 ? 32 : across);
    const int place = across < 32 ? lane : threadIdx.x % across;
#pragma unroll
    for (int k = 0; k < N; ++k) {
        sums[k] = of_lanes(sums[k], 16, across);
        if (place < across) shared[group * width + place * N + k] = sums[k];
    }
    __syncthreads();
    for (int i = threadIdx.x; i < width; i += THREADS) {
        SUM sum = shared[i];
        for (int other = 1; other < groups; ++other) sum += shared[other * width + i];
        shared[i] = sum;
    }
}

// x by the layout -> out (outputs), over divisor; partials (gridDim.y, outputs). With GATED masked,
// which lies as x does, is x where y, ReLU's output, is positive, else 0, and that is added up.
extern "C" __global__ void __launch_bounds__(THREADS, 4)
    axis_sums(const T* __restrict__ x, const T* __restrict__ y, T* __restrict__ masked,
              OUT* __restrict__ out, SUM* partials, u32* ticket, double divisor,
              const __grid_constant__ Layout l) {
    __shared__ SUM shared[THREADS * WIDTH];
    __shared__ bool last;
    const int across = (int)l.across;
    const int near = threadIdx.x & (across - 1), far = threadIdx.x / across;
#ifdef ROWS
    constexpr int EACH = 1;  // outputs of a pack
    const int lanes = across, lane = near, place = far, tile = THREADS / across;
    const Index output = (Index)blockIdx.x * tile + place;
#else
    constexpr int EACH = WIDTH;
    const int lanes = THREADS / across, lane = far, place = near, tile = across * WIDTH;
    const Index output = (Index)blockIdx.x * across + place;
#endif
    const Index each = ((Index)l.terms + gridDim.y - 1) / gridDim.y;
    const Index begin = blockIdx.y * each;
    const Index end = output < (Index)l.outputs ? min((Index)l.terms, begin + each) : 0;
    i64 start = 0;
    Index rest = output;
    for (int d = 0; d < (int)l.kept; ++d) {
        const Index above = d + 1 < (int)l.kept ? rest / (Index)l.kept_size[d] : 0;
        start += (i64)(rest - above * (Index)l.kept_size[d]) * l.kept_stride[d];
        rest = above;
    }
    SUM sums[WIDTH] = {};
    Index term = begin + lane;
    Place at(term, l);
    while (term < end) {
        Pack<T> found[DEEP];
        const Index first = term;
#pragma unroll
        for (int i = 0; i < DEEP; ++i) {  // all of them on their way before one is waited for
            if (term < end) {
                const i64 offset = start + at.offset;
                found[i] = load(x + offset);
#ifdef GATED
                const Pack<T> gate = load(y + offset);
#pragma unroll
                for (int k = 0; k < WIDTH; ++k) {
                    if (wide(gate.at[k]) <= 0) found[i].at[k] = (T)0.0f;
                }
                store(masked + offset, found[i]);
#endif
            }
            term += lanes;
            at.advance(l);
        }
#pragma unroll
        for (int i = 0; i < DEEP; ++i) {
            if (first + i * lanes >= end) break;
#pragma unroll
            for (int k = 0; k < WIDTH; ++k) sums[k] += wide(found[i].at[k]);
        }
    }
#ifdef ROWS
    SUM sum[1] = {sums[0]};
#pragma unroll
    for (int k = 1; k < WIDTH; ++k) sum[0] += sums[k];
    if (across <= 32) {
        sum[0] = of_lanes(sum[0], across / 2, 1);
        if (!lane) shared[place] = sum[0];
    } else {  // all threads have one output
        add_up_block<1>(sum, 1, shared);
    }
#else
    add_up_block<WIDTH>(sums, across, shared);
#endif
    __syncthreads();
    const Index first = (Index)blockIdx.x * tile, outputs = (Index)l.outputs * EACH;
    for (int i = threadIdx.x; i < tile; i += THREADS) {
        if (first + i >= outputs) break;
        if (gridDim.y == 1) {
            out[first + i] = rounded(shared[i], divisor);
        } else {
            partials[blockIdx.y * outputs + first + i] = shared[i];
        }
    }
    if (gridDim.y == 1 || !is_last_block<true>(last, ticket)) return;
    __threadfence();
    const int side = min(tile, THREADS);
    for (int base = 0; base < tile; base += side) {
        const Index mine = first + base + threadIdx.x % side;
        SUM sum[1] = {};
        if (mine < outputs) {
            for (u32 part = threadIdx.x / side; part < gridDim.y;) {
                SUM found[DEEP] = {};
#pragma unroll
                for (int i = 0; i < DEEP; ++i, part += THREADS / side) {
                    if (part < gridDim.y) found[i] = __ldcg(partials + part * outputs + mine);
                }
#pragma unroll
                for (int i = 0; i < DEEP; ++i) sum[0] += found[i];
            }
        }
        __syncthreads();
        add_up_block<1>(sum, side, shared);
        if (threadIdx.x < side && mine < outputs) {
            out[mine] = rounded(shared[threadIdx.x], divisor);
        }
    }
}

// Scans along the rows of a matrix, or along its columns, forwards or backwards.
//
// Macros: TYPE and ACC of the arrays; OP, what is scanned, one of SUM, PRODUCT … as in
// reference.py; ITEMS that a thread joins by itself; STRIDED, whether lines lie across the rows.
//
// A long line is cut into chunks, one for a block. A first launch joins each chunk's elements; in
// the second every block joins what the chunks before its own gave, in order, and scans its own
// from there on. Nothing waits for another block, and every run joins in the same order: a scan
// that looks back at its neighbours as they come (CUB's) gives other last bits from run to run.

const int TILE = THREADS * ITEMS, WARPS = THREADS / 32;

// --- what is joined: states of neighbouring runs of elements ------------------------------------

template <int op>
struct State {
    double v;
};
template <>
struct State<RECURRENCE> {
    double v, factor;  // of what comes before
};
template <>
struct State<SEGMENTED> {
    double v;
    int cut;  // whether what comes before is another segment's
};
template <>
struct State<LOGADDEXP> {
    double v, sum;  // the largest, and the sum of exp(x - largest)
};

__device__ State<SUM> join(State<SUM> l, State<SUM> r) { return {l.v + r.v}; }
__device__ State<PRODUCT> join(State<PRODUCT> l, State<PRODUCT> r) { return {l.v * r.v}; }
__device__ State<MAXIMUM> join(State<MAXIMUM> l, State<MAXIMUM> r) {
    return r.v > l.v || r.v != r.v ? r : l;
}
__device__ State<MINIMUM> join(State<MINIMUM> l, State<MINIMUM> r) {
    return r.v < l.v || r.v != r.v ? r : l;
}
__device__ State<RECURRENCE> join(State<RECURRENCE> l, State<RECURRENCE> r) {
    const bool lost = isinf(r.factor) && l.v == 0;  // factors that overflowed together
    return {lost ? r.v : r.v + r.factor * l.v, l.factor * r.factor};
}
__device__ State<SEGMENTED> join(State<SEGMENTED> l, State<SEGMENTED> r) {
    return {r.cut ? r.v : l.v + r.v, l.cut || r.cut};
}
__device__ State<LOGADDEXP> join(State<LOGADDEXP> l, State<LOGADDEXP> r) {
    const double top = l.v > r.v || l.v != l.v ? l.v : r.v;  // NaN, where one is
    const double left = l.v == top ? l.sum : l.sum * exp(l.v - top);
    return {top, left + (r.v == top ? r.sum : r.sum * exp(r.v - top))};
}

// Of no elements.
__device__ void nothing(State<SUM>& s) { s = {0}; }
__device__ void nothing(State<PRODUCT>& s) { s = {1}; }
__device__ void nothing(State<MAXIMUM>& s) { s = {-1.0 / 0.0}; }
__device__ void nothing(State<MINIMUM>& s) { s = {1.0 / 0.0}; }
__device__ void nothing(State<RECURRENCE>& s) { s = {0, 1}; }
__device__ void nothing(State<SEGMENTED>& s) { s = {0, 0}; }
__device__ void nothing(State<LOGADDEXP>& s) { s = {-1.0 / 0.0, 0}; }

template <int op>
__device__ double value(State<op> s) {
    return s.v;
}
__device__ double value(State<LOGADDEXP> s) { return s.v + log(s.sum); }

// That of the thread ``by`` lanes below.
template <int op>
__device__ State<op> lower(State<op> s, int by) {
    return {__shfl_up_sync(0xffffffffu, s.v, by)};
}
__device__ State<RECURRENCE> lower(State<RECURRENCE> s, int by) {
    return {__shfl_up_sync(0xffffffffu, s.v, by), __shfl_up_sync(0xffffffffu, s.factor, by)};
}
__device__ State<SEGMENTED> lower(State<SEGMENTED> s, int by) {
    return {__shfl_up_sync(0xffffffffu, s.v, by), __shfl_up_sync(0xffffffffu, s.cut, by)};
}
__device__ State<LOGADDEXP> lower(State<LOGADDEXP> s, int by) {
    return {__shfl_up_sync(0xffffffffu, s.v, by), __shfl_up_sync(0xffffffffu, s.sum, by)};
}

typedef State<OP> S;

// --- elements -----------------------------------------------------------------------------------

// n elements, ``stride`` apart; back: the last comes first. a are factors of a recurrence, starts
// those of segments, which lie between an element and the one before it in memory either way.
struct Line {
    const T *x, *a;
    const u8* starts;
    T* y;
    i64 n, stride;
    bool back;

    __device__ i64 at(i64 p) const { return (back ? n - 1 - p : p) * stride; }
    __device__ i64 later(i64 p) const { return at(back && p ? p - 1 : p); }

    // The element in place p of the scan. Nothing comes before the first.
    __device__ void read(i64 p, State<RECURRENCE>& s) const {
        s = {(double)(A)x[at(p)], p ? (double)(A)a[later(p)] : 0.0};
    }
    __device__ void read(i64 p, State<SEGMENTED>& s) const {
        s = {(double)(A)x[at(p)], p == 0 || starts[later(p)]};
    }
    __device__ void read(i64 p, State<LOGADDEXP>& s) const { s = {(double)(A)x[at(p)], 1}; }
    template <int op>
    __device__ void read(i64 p, State<op>& s) const {
        s = {(double)(A)x[at(p)]};
    }

    __device__ void write(i64 p, S s) const { y[at(p)] = (T)(A)value(s); }
};

__device__ Line line_of(const T* x, const T* a, const u8* starts, T* y, i64 n, i64 start,
                        i64 stride, int back) {
    return {x + start, a ? a + start : a, starts ? starts + start : starts, y ? y + start : y,
            n,         stride,            back != 0};
}

// --- lines, by blocks ---------------------------------------------------------------------------

// Of x (outer, n, inner) a line of n, in the order of its first element in memory.
__device__ Line line_number(const T* x, const T* a, const u8* starts, T* y, i64 n, i64 number,
                            i64 inner, int back) {
    if (!STRIDED) return line_of(x, a, starts, y, n, number * n, 1, back);
    return line_of(x, a, starts, y, n, number / inner * n * inner + number % inner, inner, back);
}

// What all threads below this one give together; ``total`` of all.
__device__ S before_thread(S mine, S& total, S* warps) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    S sum = mine, before;
    for (int by = 1; by < 32; by *= 2) {
        const S other = lower(sum, by);
        if (lane >= by) sum = join(other, sum);
    }
    before = lower(sum, 1);
    if (!lane) nothing(before);
    __syncthreads();
    if (lane == 31) warps[warp] = sum;
    __syncthreads();
    S below;
    nothing(below);
    total = below;
    for (int i = 0; i < WARPS; ++i) {
        if (i == warp) below = total;
        total = join(total, warps[i]);
    }
    return join(below, before);
}

__device__ int slot(int item) { return item + item / ITEMS; }  // no two threads in one bank

// What the elements [begin, end) of a line make of ``carry``; with WRITE each of them on the way.
template <bool WRITE>
__device__ S walk(const Line& line, i64 begin, i64 end, S carry) {
    __shared__ S tile[TILE + THREADS], warps[WARPS];
    for (i64 base = begin; base < end; base += TILE) {
        for (int item = threadIdx.x; item < TILE; item += THREADS) {
            S element;
            nothing(element);
            if (base + item < end) line.read(base + item, element);
            tile[slot(item)] = element;
        }
        __syncthreads();
        S mine[ITEMS], total;
        for (int k = 0; k < ITEMS; ++k) {
            mine[k] = tile[slot(threadIdx.x * ITEMS + k)];
            if (k) mine[k] = join(mine[k - 1], mine[k]);
        }
        const S before = join(carry, before_thread(mine[ITEMS - 1], total, warps));
        carry = join(carry, total);
        if (WRITE) {
            for (int k = 0; k < ITEMS; ++k) {
                tile[slot(threadIdx.x * ITEMS + k)] = join(before, mine[k]);
            }
            __syncthreads();
            for (int item = threadIdx.x; item < TILE; item += THREADS) {
                if (base + item < end) line.write(base + item, tile[slot(item)]);
            }
        }
        __syncthreads();
    }
    return carry;
}

// partials (lines, chunks): what each chunk's ``each`` elements give. A block for every chunk.
extern "C" __global__ void __launch_bounds__(THREADS)
    scan_totals(const T* x, const T* a, const u8* starts, S* partials, i64 n, i64 each, i64 chunks,
                i64 inner, int back) {
    const i64 number = blockIdx.x / chunks, begin = blockIdx.x % chunks * each;
    const Line line = line_number(x, a, starts, nullptr, n, number, inner, back);
    S carry;
    nothing(carry);
    carry = walk<false>(line, begin, min(n, begin + each), carry);
    if (!threadIdx.x) partials[blockIdx.x] = carry;
}

// y of x, both (outer, n, inner). A block for every chunk.
extern "C" __global__ void __launch_bounds__(THREADS)
    scan_rows(const T* x, const T* a, const u8* starts, T* y, const S* partials, i64 n, i64 each,
              i64 chunks, i64 inner, int back) {
    __shared__ S warps[WARPS];
    const i64 number = blockIdx.x / chunks, chunk = blockIdx.x % chunks;
    const Line line = line_number(x, a, starts, y, n, number, inner, back);
    S carry;
    nothing(carry);
    if (chunk) {
        const S* mine = partials + number * chunks;
        const i64 share = (chunk + THREADS - 1) / THREADS;
        S sum = carry;
        for (i64 i = threadIdx.x * share; i < min(chunk, (threadIdx.x + 1) * share); ++i) {
            sum = join(sum, mine[i]);
        }
        before_thread(sum, carry, warps);
    }
    walk<true>(line, chunk * each, min(n, (chunk + 1) * each), carry);
}

// --- columns, by threads ------------------------------------------------------------------------

// y (outer, n, inner) of x (outer, n, inner): a thread for every line.
extern "C" __global__ void __launch_bounds__(THREADS)
    scan_columns(const T* __restrict__ x, const T* __restrict__ a, const u8* __restrict__ starts,
                 T* __restrict__ y, i64 outer, i64 n, i64 inner, int back) {
    const i64 column = (i64)blockIdx.x * THREADS + threadIdx.x;
    if (column >= outer * inner) return;
    const i64 start = column / inner * n * inner + column % inner;
    const Line line = line_of(x, a, starts, y, n, start, inner, back);
    S carry, element;
    nothing(carry);
#pragma unroll 4
    for (i64 p = 0; p < n; ++p) {
        line.read(p, element);
        carry = join(carry, element);
        line.write(p, carry);
    }
}

// Softmax cross-entropy: one launch forward, reduction and all, and one backward.
//
// Macros: TYPE float or double, LABEL the dtype of labels, REDUCTION; LANES, a power of 2: so many
// threads share a row of logits (rows, classes). IGNORED and ILLEGAL stand where others have their
// class. Nothing of the softmax is kept: the backward computes it again, which costs less than
// reading it.

enum { NONE, SUM, MEAN };  // REDUCTION

const int GROUPS = THREADS / LANES;

// The lanes that share this thread's row.
__device__ unsigned neighbours() {
    if (LANES == 32) return 0xffffffffu;
    return ((1u << LANES % 32) - 1) << (threadIdx.x % 32 / LANES * LANES);
}

__device__ double lanes_reduce(double value) {
    for (int step = LANES / 2; step; step /= 2) {
        value += __shfl_xor_sync(neighbours(), value, step);
    }
    return value;
}

__device__ T largest_of(T value) {
    for (int step = LANES / 2; step; step /= 2) {
        const T other = __shfl_xor_sync(neighbours(), value, step);
        if (other > value) value = other;
    }
    return value;
}

// A row's largest logit, the sum of exp(logit - largest), and that of logit - largest: added up in
// doubles, for there may be any number of classes.
struct Row {
    T largest, total, shifted;

    __device__ Row(const T* row, int classes, bool smoothing) {
        const int lane = threadIdx.x % LANES;
        largest = row[lane < classes ? lane : 0];
        for (int c = lane + LANES; c < classes; c += LANES) {
            if (row[c] > largest) largest = row[c];
        }
        largest = largest_of(largest);
        double all = 0, all_shifted = 0;
        for (int c = lane; c < classes; c += LANES) {
            all += exp(row[c] - largest);
            all_shifted += row[c] - largest;
        }
        total = (T)lanes_reduce(all);
        shifted = smoothing ? (T)lanes_reduce(all_shifted) : (T)0;
    }
};

// The sum over all threads of a block, in the first one.
__device__ double block_reduce(double value, double* shared) {
    __syncthreads();
    shared[threadIdx.x] = value;
    __syncthreads();
    for (int half = THREADS / 2; half; half /= 2) {
        if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
        __syncthreads();
    }
    return shared[0];
}

// Gives place (rows), divisor (1) and losses: (rows), or their sum or mean (1).
// partials (gridDim.x, 2) are each block's sum and how many rows it counted.
extern "C" __global__ void __launch_bounds__(THREADS)
    cross_entropy(const T* __restrict__ logits, const LABEL* __restrict__ target,
                  int* __restrict__ place, T* __restrict__ losses, T* __restrict__ divisor,
                  double* partials, unsigned* ticket, i64 rows, int classes, double smoothing,
                  i64 ignore_index) {
    __shared__ double shared[THREADS];
    __shared__ bool last;
    const bool first = threadIdx.x % LANES == 0;
    const T smooth = smoothing;
    double sum = 0, count = 0;
    for (i64 i = (i64)blockIdx.x * GROUPS + threadIdx.x / LANES; i < rows;
         i += (i64)gridDim.x * GROUPS) {
        const T* row = logits + i * classes;
        const i64 label = target[i];
        const bool counted = label != ignore_index, legal = label >= 0 && label < classes;
        const Row logit(row, classes, smooth != 0);
        if (!first) continue;
        T loss = log(logit.total) - (1 - smooth) * (row[legal ? label : 0] - logit.largest);
        if (smooth != 0) loss -= smooth * (logit.shifted / classes);
        if (!legal) loss = nan("");
        if (!counted) loss = 0;
        place[i] = !counted ? IGNORED : legal ? (int)label : ILLEGAL;
        if (REDUCTION == NONE) losses[i] = loss;
        sum += loss;
        count += counted;
    }
    if (REDUCTION == NONE) {
        if (!blockIdx.x && !threadIdx.x) *divisor = 1;
        return;
    }
    sum = block_reduce(sum, shared);
    count = block_reduce(count, shared);
    if (!threadIdx.x) {
        partials[2 * blockIdx.x] = sum;
        partials[2 * blockIdx.x + 1] = count;
        __threadfence();
        last = take_ticket(ticket, gridDim.x) == gridDim.x - 1;
    }
    __syncthreads();
    if (!last) return;
    __threadfence();
    sum = count = 0;
    for (int block = threadIdx.x; block < gridDim.x; block += THREADS) {
        sum += __ldcg(partials + 2 * block);
        count += __ldcg(partials + 2 * block + 1);
    }
    sum = block_reduce(sum, shared);
    count = block_reduce(count, shared);
    if (threadIdx.x) return;
    const double by = REDUCTION == MEAN && count > 0 ? count : 1;
    *divisor = by;
    *losses =
        REDUCTION == MEAN && !count ? nan("") : sum / by;  // a mean over nothing, as in PyTorch
}

// Gives dx (rows, classes): (softmax(logits) - q) · grad / divisor. grad is (rows) without a
// reduction, else (1).
extern "C" __global__ void __launch_bounds__(THREADS)
    cross_entropy_backward(const T* __restrict__ logits, const int* __restrict__ place,
                           const T* __restrict__ divisor, const T* __restrict__ grad,
                           T* __restrict__ dx, i64 rows, int classes, double smoothing) {
    const T smooth = smoothing, share = smooth / classes;
    for (i64 i = (i64)blockIdx.x * GROUPS + threadIdx.x / LANES; i < rows;
         i += (i64)gridDim.x * GROUPS) {
        const T* row = logits + i * classes;
        const int label = place[i];
        const Row known(row, classes, false);
        const T weight = label == IGNORED ? 0 : label == ILLEGAL ? T(nan("")) : T(1);
        const T scale = grad[REDUCTION == NONE ? i : 0] / *divisor * weight;
        for (int c = threadIdx.x % LANES; c < classes; c += LANES) {
            const T expected = c == label ? share + (1 - smooth) : share;
            dx[i * classes + c] = (exp(row[c] - known.largest) / known.total - expected) * scale;
        }
    }
}

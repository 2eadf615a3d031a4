// The optimizers' updates: one launch steps all parameters of one dtype.
//
// TYPE is that dtype, ACC what it is computed in, TENSORS how many rows the table has, WIDTH the
// elements of a thread, moved at once where all arrays allow it. The table travels in the launch
// itself, so a captured launch keeps the pointers it was captured with. What changes from step to
// step is in device memory: the hyperparameters (`numbers`) and how often each parameter was
// stepped (`counts`). SGD_NAMES and ADAM_NAMES are the hyperparameters' names in their order there,
// which stand in cuda.py.

struct Row {
    u64 arrays[4];      // parameter, gradient and up to two slots; to scale: gradient, result
    u64 size;
    unsigned position;  // of the parameter in the optimizer's list
    unsigned block;     // the first block that works on this row
};
static_assert(sizeof(Row) == ROW_BYTES, "as cuda.py packs it");

struct Table {
    Row rows[TENSORS];
};

__device__ const Row& row_of_block(const Table& table, int tensors) {
    int i = 0;
    while (i + 1 < tensors && table.rows[i + 1].block <= blockIdx.x) ++i;
    return table.rows[i];
}

__device__ u64 first_element(const Row& row) {
    return ((u64)(blockIdx.x - row.block) * blockDim.x + threadIdx.x) * WIDTH;
}

__device__ bool aligned(const Row& row) {
    const u64 any = row.arrays[0] | row.arrays[1] | row.arrays[2] | row.arrays[3];
    return !(any & (sizeof(Pack<T>) - 1));
}

__device__ void load(Pack<T>& to, const void* from, u64 first, u64 size, bool whole) {
    const T* array = (const T*)from;
    if (whole) {
        to = load(array + first);
    } else {
        for (int k = 0; k < WIDTH; ++k) {
            if (first + k < size) to.at[k] = array[first + k];
        }
    }
}

__device__ void store(void* to, const Pack<T>& from, u64 first, u64 size, bool whole) {
    T* array = (T*)to;
    if (whole) {
        store(array + first, from);
    } else {
        for (int k = 0; k < WIDTH; ++k) {
            if (first + k < size) array[first + k] = from.at[k];
        }
    }
}

// base to a whole power, by squaring.
__device__ double power(double base, long long exponent) {
    double result = 1;
    for (; exponent > 0; exponent >>= 1, base *= base) {
        if (exponent & 1) result *= base;
    }
    return result;
}

__device__ A square_root(A x) {
    return sizeof(A) == 8 ? (A)sqrt((double)x) : (A)sqrtf((float)x);
}

struct SgdNumbers {
    double SGD_NAMES;
};

struct AdamNumbers {
    double ADAM_NAMES;
};

struct Numbers {
    double at[HYPERPARAMETERS];
};
static_assert(sizeof(SgdNumbers) <= sizeof(Numbers) && sizeof(AdamNumbers) <= sizeof(Numbers),
              "there is room for all");

// A rule: what it makes of the numbers at a step counted from 1, and how it updates one element.

struct Sgd {
    typedef SgdNumbers Given;
    static const int SLOTS = 0;
    A lr, decay;

    __device__ void set(const Given& given, long long) {
        lr = (A)given.lr;
        decay = (A)given.weight_decay;
    }

    __device__ void update(A& param, A grad, A&, A&) const {
        param -= lr * (decay != 0 ? grad + decay * param : grad);
    }
};

struct Momentum {
    typedef SgdNumbers Given;
    static const int SLOTS = 1;
    A lr, decay, momentum, gain;
    bool nesterov;

    __device__ void set(const Given& given, long long step) {
        lr = (A)given.lr;
        momentum = (A)given.momentum;
        gain = step == 1 || momentum == 0 ? (A)1 : (A)(1 - given.dampening);
        decay = (A)given.weight_decay;
        nesterov = given.nesterov != 0;
    }

    __device__ void update(A& param, A grad, A& buffer, A&) const {
        const A g = decay != 0 ? grad + decay * param : grad;
        buffer = momentum * buffer + gain * g;
        param -= lr * (nesterov ? g + momentum * buffer : buffer);
    }
};

struct Adam {
    typedef AdamNumbers Given;
    static const int SLOTS = 2;
    A step_size, epsilon, keep, decay, beta1, rest1, beta2, rest2;

    __device__ void set(const Given& given, long long step) {
        const bool decoupled = given.decoupled != 0;
        const double lr = given.lr, one = given.beta1, two = given.beta2;
        const double root = sqrt(1 - power(two, step));
        step_size = (A)(lr * root / (1 - power(one, step)));
        epsilon = (A)(given.eps * root);
        keep = decoupled ? (A)(1 - lr * given.weight_decay) : (A)1;
        decay = decoupled ? (A)0 : (A)given.weight_decay;
        beta1 = (A)one;
        rest1 = (A)(1 - one);
        beta2 = (A)two;
        rest2 = (A)(1 - two);
    }

    __device__ void update(A& param, A grad, A& first, A& second) const {
        const A g = decay != 0 ? grad + decay * param : grad;
        // From whichever weighs more, or the other's rounding stays behind.
        first = beta1 < (A)0.5 ? g + beta1 * (first - g) : first + rest1 * (g - first);
        second = beta2 * second + rest2 * g * g;
        param = keep * param - step_size * first / (square_root(second) + epsilon);
    }
};

template <class Rule>
__device__ void step_all(const Table& table, int tensors, const double* numbers,
                         long long* counts, unsigned* ticket) {
    __shared__ Rule rule;
    const Row& row = row_of_block(table, tensors);
    const u64 first = first_element(row);
    const bool whole = aligned(row) && first + WIDTH <= row.size;
    Pack<T> param, grad, one, two;
    load(param, (void*)row.arrays[0], first, row.size, whole);
    load(grad, (void*)row.arrays[1], first, row.size, whole);
    if (Rule::SLOTS > 0) load(one, (void*)row.arrays[2], first, row.size, whole);
    if (Rule::SLOTS > 1) load(two, (void*)row.arrays[3], first, row.size, whole);
    if (threadIdx.x == 0) {
        rule.set(*(const typename Rule::Given*)numbers, counts[row.position] + 1);
    }
    __syncthreads();

    for (int k = 0; k < WIDTH; ++k) {
        if (first + k >= row.size) break;
        A p = (A)param.at[k], m = 0, v = 0;
        if (Rule::SLOTS > 0) m = (A)one.at[k];
        if (Rule::SLOTS > 1) v = (A)two.at[k];
        rule.update(p, (A)grad.at[k], m, v);
        param.at[k] = (T)p;
        if (Rule::SLOTS > 0) one.at[k] = (T)m;
        if (Rule::SLOTS > 1) two.at[k] = (T)v;
    }
    store((void*)row.arrays[0], param, first, row.size, whole);
    if (Rule::SLOTS > 0) store((void*)row.arrays[2], one, first, row.size, whole);
    if (Rule::SLOTS > 1) store((void*)row.arrays[3], two, first, row.size, whole);

    // The last block, when every block has read its count, moves the counts.
    if (threadIdx.x < 32) {
        unsigned turn = 0;
        if (threadIdx.x == 0) {
            __threadfence();
            turn = take_ticket(ticket, gridDim.x);
        }
        turn = __shfl_sync(0xffffffffu, turn, 0);
        if (turn == gridDim.x - 1) {
            for (int i = threadIdx.x; i < tensors; i += 32) counts[table.rows[i].position] += 1;
        }
    }
}

#define STEP(NAME, RULE)                                                                       \
    extern "C" __global__ void __launch_bounds__(THREADS)                                      \
        NAME(const __grid_constant__ Table table, int tensors, const double* numbers,          \
             long long* counts, unsigned* ticket) {                                            \
        step_all<RULE>(table, tensors, numbers, counts, ticket);                               \
    }

STEP(sgd_step, Sgd)
STEP(momentum_step, Momentum)
STEP(adam_step, Adam)

// Sent with the launch, so that they arrive in stream order and nothing waits.
extern "C" __global__ void write_numbers(double* to, const __grid_constant__ Numbers from) {
    if (threadIdx.x < HYPERPARAMETERS) to[threadIdx.x] = from.at[threadIdx.x];
}

// Sum of one value per thread of a block, in a fixed order; thread 0 has it.
__device__ double block_reduce(double value) {
    __shared__ double warps[THREADS / 32];
    for (int lanes = 16; lanes; lanes >>= 1) value += __shfl_down_sync(~0u, value, lanes);
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = value;
    __syncthreads();
    value = threadIdx.x < THREADS / 32 ? warps[threadIdx.x] : 0;
    for (int lanes = THREADS / 64; lanes; lanes >>= 1) value += __shfl_down_sync(~0u, value, lanes);
    __syncthreads();
    return value;
}

// partials[block] = sum of squares of the block's elements of arrays[0].
extern "C" __global__ void __launch_bounds__(THREADS)
    sum_squares(const __grid_constant__ Table table, int tensors, double* partials) {
    const Row& row = row_of_block(table, tensors);
    const u64 first = first_element(row);
    Pack<T> grad;
    load(grad, (void*)row.arrays[0], first, row.size, aligned(row) && first + WIDTH <= row.size);
    double sum = 0;
    for (int k = 0; k < WIDTH; ++k) {
        if (first + k < row.size) sum += (double)(A)grad.at[k] * (double)(A)grad.at[k];
    }
    sum = block_reduce(sum);
    if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

// norm = sqrt(sum of the partials); factor = min(1, limit / (norm + 1e-6)). One block.
extern "C" __global__ void __launch_bounds__(THREADS)
    clip_factor(const double* partials, long long count, double limit, A* norm, double* factor) {
    double sum = 0;
    for (long long i = threadIdx.x; i < count; i += blockDim.x) sum += partials[i];
    sum = block_reduce(sum);
    if (threadIdx.x == 0) {
        const double root = sqrt(sum), share = limit / (root + 1e-6);
        norm[0] = (A)root;
        factor[0] = share > 1 ? 1.0 : share;  // NaN stays NaN, as in PyTorch
    }
}

// arrays[1] = factor * arrays[0].
extern "C" __global__ void __launch_bounds__(THREADS)
    scale_all(const __grid_constant__ Table table, int tensors, const double* factor) {
    const Row& row = row_of_block(table, tensors);
    const u64 first = first_element(row);
    const bool whole = aligned(row) && first + WIDTH <= row.size;
    const A by = (A)factor[0];
    Pack<T> grad;
    load(grad, (void*)row.arrays[0], first, row.size, whole);
    for (int k = 0; k < WIDTH; ++k) {
        if (first + k < row.size) grad.at[k] = (T)((A)grad.at[k] * by);
    }
    store((void*)row.arrays[1], grad, first, row.size, whole);
}

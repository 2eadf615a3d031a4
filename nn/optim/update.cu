// The updates of SGD and Adam, and what clips gradients. SGD_NAMES and ADAM_NAMES are the
// hyperparameters' names in their order in device memory, which stand in cuda.py.

struct SgdNumbers {
    double SGD_NAMES;
};

struct AdamNumbers {
    double ADAM_NAMES;
};

static_assert(sizeof(SgdNumbers) < sizeof(Numbers) && sizeof(AdamNumbers) < sizeof(Numbers),
              "there is room for all");

struct Sgd {
    typedef SgdNumbers Given;
    static const int SLOTS = 0;
    A lr, decay;

    __device__ void set(const Given& given, long long) {
        lr = (A)given.lr;
        decay = (A)given.weight_decay;
    }

    __device__ void update(A& param, A grad, A&, A&, A&) const {
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

    __device__ void update(A& param, A grad, A& buffer, A&, A&) const {
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

    __device__ void update(A& param, A grad, A& first, A& second, A&) const {
        const A g = decay != 0 ? grad + decay * param : grad;
        // From whichever weighs more, or the other's rounding stays behind.
        first = beta1 < (A)0.5 ? g + beta1 * (first - g) : first + rest1 * (g - first);
        second = beta2 * second + rest2 * g * g;
        param = keep * param - step_size * first / (square_root(second) + epsilon);
    }
};

STEP(sgd_step, Sgd)
STEP(momentum_step, Momentum)
STEP(adam_step, Adam)

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

// arrays[1] = arrays[0], each element brought into [-limit, limit]; NaN stays NaN.
extern "C" __global__ void __launch_bounds__(THREADS)
    clamp_all(const __grid_constant__ Table table, int tensors, double limit) {
    const Row& row = row_of_block(table, tensors);
    const u64 first = first_element(row);
    const bool whole = aligned(row) && first + WIDTH <= row.size;
    const A most = (A)limit;
    Pack<T> grad;
    load(grad, (void*)row.arrays[0], first, row.size, whole);
    for (int k = 0; k < WIDTH; ++k) {
        if (first + k >= row.size) break;
        const A g = (A)grad.at[k];
        grad.at[k] = (T)(g > most ? most : g < -most ? -most : g);
    }
    store((void*)row.arrays[1], grad, first, row.size, whole);
}

// Sum of one value per thread of a block, or the largest, which is NaN where one is.
__device__ double block_reduce(double value, bool largest) {
    if (!largest) return block_reduce(value);
    __shared__ double values[THREADS];
    values[threadIdx.x] = value;
    __syncthreads();
    for (int half = THREADS / 2; half; half >>= 1) {
        if (threadIdx.x < half) {
            const double other = values[threadIdx.x + half];
            if (other > values[threadIdx.x] || other != other) values[threadIdx.x] = other;
        }
        __syncthreads();
    }
    return values[0];
}

// partials[block] = sum of |g|^order of the block's elements of arrays[0], or the largest |g|.
extern "C" __global__ void __launch_bounds__(THREADS)
    sum_powers(const __grid_constant__ Table table, int tensors, double* partials, double order) {
    const Row& row = row_of_block(table, tensors);
    const u64 first = first_element(row);
    const bool largest = isinf(order);
    Pack<T> grad;
    load(grad, (void*)row.arrays[0], first, row.size, aligned(row) && first + WIDTH <= row.size);
    double sum = 0;
    for (int k = 0; k < WIDTH; ++k) {
        if (first + k >= row.size) break;
        const double size = fabs((double)(A)grad.at[k]);
        if (!largest) sum += order == 1 ? size : pow(size, order);
        else if (size > sum || size != size) sum = size;
    }
    sum = block_reduce(sum, largest);
    if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

// norm = (sum of the partials)^(1 / order) or the largest; factor as in clip_factor. One block.
extern "C" __global__ void __launch_bounds__(THREADS)
    norm_factor(const double* partials, long long count, double limit, double order, A* norm,
                double* factor) {
    const bool largest = isinf(order);
    double sum = 0;
    for (long long i = threadIdx.x; i < count; i += blockDim.x) {
        const double other = partials[i];
        if (!largest) sum += other;
        else if (other > sum || other != other) sum = other;
    }
    sum = block_reduce(sum, largest);
    if (threadIdx.x == 0) {
        const double root = largest || order == 1 ? sum : pow(sum, 1 / order);
        const double share = limit / (root + 1e-6);
        norm[0] = (A)root;
        factor[0] = share > 1 ? 1.0 : share;
    }
}

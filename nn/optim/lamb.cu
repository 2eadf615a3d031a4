// LAMB: the step of each parameter is as long as the parameter, so its norms are known before it is
// moved. Three launches: sums of squares, both norms' ratio of each row, the step. The first and
// the last compute the moments alike, for 16 bits would not hold them in between.
// LAMB_NAMES are the hyperparameters' names in their order in device memory.

struct LambNumbers {
    double LAMB_NAMES;
};
static_assert(sizeof(LambNumbers) < sizeof(Numbers), "there is room for all");

struct Lamb {
    A lr, decay, epsilon, beta1, rest1, beta2, rest2, unbias1, unbias2;

    __device__ void set(const double* numbers, const Row& row, const long long* counts,
                        bool& maximize) {
        const double* at = numbers + row.group * HYPERPARAMETERS;
        const LambNumbers& given = *(const LambNumbers*)at;
        const long long step = counts[row.position] + 1;
        lr = (A)given.lr;
        decay = (A)given.weight_decay;
        epsilon = (A)given.eps;
        beta1 = (A)given.beta1;
        rest1 = (A)(1 - given.beta1);
        beta2 = (A)given.beta2;
        rest2 = (A)(1 - given.beta2);
        unbias1 = (A)(1 / (1 - power(given.beta1, step)));
        unbias2 = (A)(1 / (1 - power(given.beta2, step)));
        maximize = at[HYPERPARAMETERS - 1] != 0;
    }

    // Moves the moments of one element along a gradient; its direction.
    __device__ A move(A param, A grad, A& first, A& second) const {
        first = beta1 * first + rest1 * grad;
        second = beta2 * second + rest2 * grad * grad;
        return unbias1 * first / (square_root(unbias2 * second) + epsilon) + decay * param;
    }
};

// partials[2 * block] and the next: sums of squares of parameter and direction.
extern "C" __global__ void __launch_bounds__(THREADS)
    lamb_squares(const __grid_constant__ Table table, int tensors, const double* numbers,
                 const long long* counts, double* partials) {
    __shared__ Lamb lamb;
    __shared__ bool maximize, skip;
    const Row& row = row_of_block(table, tensors);
    const u64 first = first_element(row);
    const bool whole = aligned(row) && first + WIDTH <= row.size;
    Pack<T> param, grad, one, two;
    load(param, (void*)row.arrays[0], first, row.size, whole);
    load(grad, (void*)row.arrays[1], first, row.size, whole);
    load(one, (void*)row.arrays[2], first, row.size, whole);
    load(two, (void*)row.arrays[3], first, row.size, whole);
    if (threadIdx.x == 0) {
        lamb.set(numbers, row, counts, maximize);
        skip = counts[-1] != 0;
    }
    __syncthreads();
    if (skip) return;

    double params = 0, directions = 0;
    for (int k = 0; k < WIDTH; ++k) {
        if (first + k >= row.size) break;
        const A p = (A)param.at[k], g = maximize ? -(A)grad.at[k] : (A)grad.at[k];
        A m = (A)one.at[k], v = (A)two.at[k];
        const A moved = lamb.move(p, g, m, v);
        params += (double)p * (double)p;
        directions += (double)moved * (double)moved;
    }
    params = block_reduce(params);
    directions = block_reduce(directions);
    if (threadIdx.x == 0) {
        partials[2 * blockIdx.x] = params;
        partials[2 * blockIdx.x + 1] = directions;
    }
}

// ratios[row] = |parameter| / |direction|, or 1 where one of them is 0. A block for each row.
extern "C" __global__ void __launch_bounds__(THREADS)
    lamb_ratios(const __grid_constant__ Table table, int tensors, int blocks,
                const double* partials, double* ratios) {
    const int i = blockIdx.x;
    const int end = i + 1 < tensors ? (int)table.rows[i + 1].block : blocks;
    double params = 0, directions = 0;
    for (int block = (int)table.rows[i].block + threadIdx.x; block < end; block += blockDim.x) {
        params += partials[2 * block];
        directions += partials[2 * block + 1];
    }
    params = sqrt(block_reduce(params));
    directions = sqrt(block_reduce(directions));
    if (threadIdx.x == 0) {
        ratios[i] = params > 0 && directions > 0 ? params / directions : 1.0;
    }
}

// Moves the parameters, their moments and the counts.
extern "C" __global__ void __launch_bounds__(THREADS)
    lamb_step(const __grid_constant__ Table table, int tensors, const double* numbers,
              long long* counts, unsigned* ticket, const double* ratios) {
    __shared__ Lamb lamb;
    __shared__ A step_size;
    __shared__ bool maximize, skip;
    const Row& row = row_of_block(table, tensors);
    const u64 first = first_element(row);
    const bool whole = aligned(row) && first + WIDTH <= row.size;
    Pack<T> param, grad, one, two;
    load(param, (void*)row.arrays[0], first, row.size, whole);
    load(grad, (void*)row.arrays[1], first, row.size, whole);
    load(one, (void*)row.arrays[2], first, row.size, whole);
    load(two, (void*)row.arrays[3], first, row.size, whole);
    if (threadIdx.x == 0) {
        lamb.set(numbers, row, counts, maximize);
        step_size = lamb.lr * (A)ratios[&row - table.rows];
        skip = counts[-1] != 0;
    }
    __syncthreads();
    if (skip) return;

    for (int k = 0; k < WIDTH; ++k) {
        if (first + k >= row.size) break;
        const A p = (A)param.at[k], g = maximize ? -(A)grad.at[k] : (A)grad.at[k];
        A m = (A)one.at[k], v = (A)two.at[k];
        param.at[k] = (T)(p - step_size * lamb.move(p, g, m, v));
        one.at[k] = (T)m;
        two.at[k] = (T)v;
    }
    store((void*)row.arrays[0], param, first, row.size, whole);
    store((void*)row.arrays[2], one, first, row.size, whole);
    store((void*)row.arrays[3], two, first, row.size, whole);
    count_step(table, tensors, counts, ticket);
}

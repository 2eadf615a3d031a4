// How one launch steps all parameters of one dtype.
//
// TYPE is that dtype, ACC what it is computed in, TENSORS how many rows the table has, ARRAYS how
// many arrays a row, WIDTH the elements of a thread, moved at once where all arrays allow it. With
// NARROW, a dtype of 16 bits, a row's last array, where it has one, is the parameter in that. The
// table travels in the launch itself, so a captured launch keeps the pointers it was captured with.
// What changes from step to step is in device memory: the hyperparameters of each group (`numbers`)
// and how often each parameter was stepped (`counts`; one number before them says, where it is not
// 0, that nothing is to be stepped or counted).

struct Row {
    u64 arrays[ARRAYS];  // parameter, gradient and slots; to scale: gradient, result
    u64 size : 48;
    u64 group : 16;
    unsigned position;   // of the parameter in the optimizer's list
    unsigned block;      // the first block that works on this row
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
    u64 any = 0;
    for (int i = 0; i < ARRAYS; ++i) any |= row.arrays[i];
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

template <class Value>
__device__ void store(void* to, const Pack<Value>& from, u64 first, u64 size, bool whole) {
    Value* array = (Value*)to;
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

// The last says whether the steps go uphill.
struct Numbers {
    double at[HYPERPARAMETERS];
};

// The last block, when every block has read its count, moves the counts.
__device__ void count_step(const Table& table, int tensors, long long* counts, unsigned* ticket) {
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

// A rule: what it makes of the numbers at a step counted from 1, and how it updates one element of
// a parameter along a gradient, with up to three slots. With PARTIAL it is part of a step, which
// another kernel turns uphill and counts.
template <class Rule>
__device__ void step_all(const Table& table, int tensors, const double* numbers,
                         long long* counts, unsigned* ticket) {
    __shared__ Rule rule;
    __shared__ bool maximize, skip;
    const Row& row = row_of_block(table, tensors);
    const u64 first = first_element(row);
    const bool whole = aligned(row) && first + WIDTH <= row.size;
    Pack<T> param, grad, one, two, three;
    load(param, (void*)row.arrays[0], first, row.size, whole);
    load(grad, (void*)row.arrays[1], first, row.size, whole);
    if (Rule::SLOTS > 0) load(one, (void*)row.arrays[2], first, row.size, whole);
    if (Rule::SLOTS > 1) load(two, (void*)row.arrays[3], first, row.size, whole);
    if (Rule::SLOTS > 2) load(three, (void*)row.arrays[ARRAYS - 1], first, row.size, whole);
    if (threadIdx.x == 0) {
        const double* given = numbers + row.group * HYPERPARAMETERS;
        rule.set(*(const typename Rule::Given*)given, counts[row.position] + 1);
        skip = counts[-1] != 0;
#ifdef PARTIAL
        maximize = false;
#else
        maximize = given[HYPERPARAMETERS - 1] != 0;
#endif
    }
    __syncthreads();
    if (skip) return;

    for (int k = 0; k < WIDTH; ++k) {
        if (first + k >= row.size) break;
        A p = (A)param.at[k], g = (A)grad.at[k], m = 0, v = 0, w = 0;
        if (Rule::SLOTS > 0) m = (A)one.at[k];
        if (Rule::SLOTS > 1) v = (A)two.at[k];
        if (Rule::SLOTS > 2) w = (A)three.at[k];
        rule.update(p, maximize ? -g : g, m, v, w);
        param.at[k] = (T)p;
        if (Rule::SLOTS > 0) one.at[k] = (T)m;
        if (Rule::SLOTS > 1) two.at[k] = (T)v;
        if (Rule::SLOTS > 2) three.at[k] = (T)w;
    }
    store((void*)row.arrays[0], param, first, row.size, whole);
#ifdef NARROW
    static_assert(Rule::SLOTS < 3, "the last array is the narrow one");
    if (row.arrays[ARRAYS - 1]) {
        Pack<NARROW> narrow;
        for (int k = 0; k < WIDTH; ++k) narrow.at[k] = (NARROW)(A)param.at[k];
        store((void*)row.arrays[ARRAYS - 1], narrow, first, row.size, whole);
    }
#endif
    if (Rule::SLOTS > 0) store((void*)row.arrays[2], one, first, row.size, whole);
    if (Rule::SLOTS > 1) store((void*)row.arrays[3], two, first, row.size, whole);
    if (Rule::SLOTS > 2) store((void*)row.arrays[ARRAYS - 1], three, first, row.size, whole);
#ifndef PARTIAL
    count_step(table, tensors, counts, ticket);
#endif
}

#define STEP(NAME, RULE)                                                                       \
    extern "C" __global__ void __launch_bounds__(THREADS)                                      \
        NAME(const __grid_constant__ Table table, int tensors, const double* numbers,          \
             long long* counts, unsigned* ticket) {                                            \
        step_all<RULE>(table, tensors, numbers, counts, ticket);                               \
    }

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

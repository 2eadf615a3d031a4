/* Enough of CUDA for a C++ compiler to run kernels, one block at a time
   and a thread for each of its threads: __syncthreads and shuffles of whole warps are barriers. */

#include <atomic>
#include <barrier>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

using namespace std;

struct Dim {
    unsigned x = 0, y = 0, z = 0;
};
static thread_local Dim threadIdx;
static Dim blockIdx, blockDim, gridDim;
static barrier<>* of_block;
static vector<unique_ptr<barrier<>>> of_warps;
static vector<vector<uint64_t>> lanes_of;

#define __device__
#define __global__
#define __shared__ static
#define __launch_bounds__(...)
#define __grid_constant__
#define __forceinline__ inline

static void __syncthreads() { of_block->arrive_and_wait(); }

static int __syncthreads_or(int value) {
    static atomic<int> any;
    any = 0;
    __syncthreads();
    if (value) any = 1;
    __syncthreads();
    const int found = any;
    __syncthreads();
    return found;
}

static void __threadfence() {}

static double rsqrt(double x) { return 1 / sqrt(x); }

template <class Value>
Value __ldcg(const Value* from) {
    return *from;
}

template <class Value>
Value exchanged(Value value, unsigned lane) {
    const unsigned warp = threadIdx.x / 32;
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof(Value));
    lanes_of[warp][threadIdx.x % 32] = bits;
    of_warps[warp]->arrive_and_wait();
    if (lane < 32) bits = lanes_of[warp][lane];
    of_warps[warp]->arrive_and_wait();
    memcpy(&value, &bits, sizeof(Value));
    return value;
}

template <class Value>
Value __shfl_sync(unsigned, Value value, int lane) {
    return exchanged(value, lane);
}

template <class Value>
Value __shfl_down_sync(unsigned, Value value, int by) {
    return exchanged(value, threadIdx.x % 32 + by);
}

template <class Value>
Value __shfl_xor_sync(unsigned, Value value, int by) {
    return exchanged(value, (threadIdx.x % 32) ^ by);
}

static unsigned atomicInc(unsigned* counter, unsigned most) {
    const unsigned before = *counter;  // only thread 0 of a block asks
    *counter = before >= most ? 0 : before + 1;
    return before;
}

struct double2 {
    double x, y;
};

static double2 make_double2(double x, double y) { return {x, y}; }

static int __ffs(int value) { return __builtin_ffs(value); }

struct __nv_bfloat16 {
    uint16_t bits;

    __nv_bfloat16() = default;
    explicit __nv_bfloat16(float value) {  // to the nearest, of two the even one
        uint32_t wide;
        memcpy(&wide, &value, 4);
        bits = value != value ? 0x7fff : (wide + 0x7fff + (wide >> 16 & 1)) >> 16;
    }
    operator float() const {
        const uint32_t wide = (uint32_t)bits << 16;
        float value;
        memcpy(&value, &wide, 4);
        return value;
    }
};

template <class... Given, size_t... I>
void call(void (*kernel)(Given...), void** arguments, index_sequence<I...>) {
    kernel(*(remove_cv_t<Given>*)arguments[I]...);
}

template <class... Given>
void run_block(void (*kernel)(Given...), int threads, void** arguments) {
    barrier<> all(threads);
    of_block = &all;
    of_warps.clear();
    lanes_of.assign(threads / 32, vector<uint64_t>(32));
    for (int warp = 0; warp < threads / 32; ++warp) {
        of_warps.push_back(make_unique<barrier<>>(32));
    }
    vector<thread> running;
    for (unsigned i = 0; i < threads; ++i) {
        running.emplace_back([=] {
            threadIdx = {i, 0, 0};
            call(kernel, arguments, index_sequence_for<Given...>{});
        });
    }
    for (auto& one : running) one.join();
}

template <class... Given>
void emulate(void (*kernel)(Given...), const unsigned* blocks, int threads, void** arguments) {
    gridDim = {blocks[0], blocks[1], blocks[2]};
    blockDim = {(unsigned)threads, 1, 1};
    for (unsigned z = 0; z < blocks[2]; ++z) {
        for (unsigned y = 0; y < blocks[1]; ++y) {
            for (unsigned x = 0; x < blocks[0]; ++x) {
                blockIdx = {x, y, z};
                run_block(kernel, threads, arguments);
            }
        }
    }
}

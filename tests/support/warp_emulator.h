/* Enough of CUDA for a C++ compiler to run kernels of tensor cores, one block at a time. Its threads
   are contexts that are switched between where they wait for each other: at __syncthreads, and at
   what a warp does together. Global memory is the program's; shared memory is an array, its addresses
   places in it, which are checked.

   Copies to shared memory arrive when they are waited for, and leave garbage until then. So do sums of
   products by warpgroups; what such a product reads from shared memory it reads when it is begun or,
   with LATE, when it is waited for: what may happen between must not matter. */

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <type_traits>
#include <utility>
#include <vector>

using namespace std;

struct Dim {
    unsigned x = 0, y = 0;
};
static Dim threadIdx, blockIdx, gridDim, blockDim;

#define __device__
#define __global__
#define __shared__
#define __align__(n)
#define __launch_bounds__(...)
#define __grid_constant__
#define __forceinline__ inline
#define __restrict__

alignas(1024) unsigned char memory[256 << 10];
static unsigned memory_size;

struct float2 {
    float x, y;
};
struct float4 {
    float x, y, z, w;
};
struct uint4 {
    uint32_t x, y, z, w;
};
static float2 make_float2(float x, float y) { return {x, y}; }
static float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
static uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w) { return {x, y, z, w}; }

static uint32_t __float_as_uint(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return bits;
}
static float __uint_as_float(uint32_t bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

// --- threads ------------------------------------------------------------------------------------

struct Copy {
    unsigned to, bytes;
    unsigned char content[16];
};
struct PendingSums {  // of products that are on their way
    vector<float> values;
    int products = 0;
};
struct Fiber {
    ucontext_t start;
    jmp_buf at;
    bool begun = false, done = false;
    vector<char> stack = vector<char>(256 << 10);
    vector<Copy> open;            // copies of no group yet
    vector<vector<Copy>> groups;  // on their way
    uint64_t sent[8];             // to its warp
    map<float*, PendingSums> sums;
    vector<function<void()>> open_products;  // of no group yet
    vector<vector<function<void()>>> product_groups;
};
static vector<Fiber> fibers;
static unsigned running;
static jmp_buf scheduler;
static function<void()> work;

static void leave() {
    if (!_setjmp(fibers[running].at)) _longjmp(scheduler, 1);
    threadIdx.x = running;
}
static void enter() {
    work();
    Fiber& own = fibers[running];
    if (!own.open.empty() || !own.groups.empty() || !own.open_products.empty() ||
        !own.product_groups.empty())
        fprintf(stderr, "thread %u ends before its copies or products\n", running), abort();
    own.done = true;
    _longjmp(scheduler, 1);
}

// Each thread runs until it waits. All of them wait for the same: a warp's wait is seen by the others
// as a turn that passes, so that turns count.
struct Gate {
    unsigned arrived = 0, turn = 0;
    void wait(unsigned expected) {
        const unsigned mine = turn;
        if (++arrived == expected) {
            arrived = 0, ++turn;
        } else {
            while (turn == mine) leave();
        }
    }
};
static Gate of_block, of_some[16];
static vector<Gate> of_warps;

static void __syncthreads() { of_block.wait(blockDim.x); }
static void meet(int barrier, int threads) { of_some[barrier].wait(threads); }
static void __syncwarp() { of_warps[threadIdx.x / 32].wait(32); }

// Every lane gives words, and task reads those of all lanes.
template <class Task>
void together(const uint64_t* words, int count, Task task) {
    const unsigned warp = threadIdx.x / 32;
    copy(words, words + count, fibers[threadIdx.x].sent);
    __syncwarp();
    task([=](int lane, int word) { return fibers[32 * warp + lane].sent[word]; });
    __syncwarp();
}

static float __shfl_xor_sync(unsigned, float value, int by) {
    const uint64_t word = __float_as_uint(value);
    const int other = threadIdx.x % 32 ^ by;
    together(&word, 1, [&](auto of) { value = __uint_as_float(of(other, 0)); });
    return value;
}
static int __shfl_sync(unsigned, int value, int from) {
    const uint64_t word = (uint32_t)value;
    together(&word, 1, [&](auto of) { value = (int)(uint32_t)of(from % 32, 0); });
    return value;
}
static bool __any_sync(unsigned, bool value) {
    const uint64_t word = value;
    bool found = false;
    together(&word, 1, [&](auto of) {
        for (int lane = 0; lane < 32; ++lane) found = found || of(lane, 0);
    });
    return found;
}

static bool __all_sync(unsigned mask, bool value) { return !__any_sync(mask, !value); }

// --- memory -------------------------------------------------------------------------------------

static unsigned char* shared(uint32_t from, unsigned bytes) {
    if (from % bytes || from + bytes > memory_size) {
        fprintf(stderr, "shared memory: %u bytes at %u of %u\n", bytes, from, memory_size);
        abort();
    }
    return memory + from;
}
static uint32_t shared_address(const void* of) { return (const unsigned char*)of - memory; }

static void copy_later(uint32_t to, const void* from, unsigned size, unsigned bytes) {
    memset(shared(to, size), 0xff, size);
    Copy one = {to, size, {}};
    if ((uintptr_t)from % size) fprintf(stderr, "copy from %p\n", from), abort();
    memcpy(one.content, from, bytes);
    fibers[threadIdx.x].open.push_back(one);
}
static void copy_piece(uint32_t to, const void* from, int bytes) { copy_later(to, from, 16, bytes); }
static void copy_float(uint32_t to, const float* from) { copy_later(to, from, 4, 4); }
static void copies_end_group() {
    Fiber& own = fibers[threadIdx.x];
    own.groups.push_back(move(own.open));
    own.open.clear();
}
template <int LEFT>
void copies_wait() {
    auto& groups = fibers[threadIdx.x].groups;
    while (groups.size() > LEFT) {
        for (const Copy& one : groups.front()) memcpy(memory + one.to, one.content, one.bytes);
        groups.erase(groups.begin());
    }
}

static float shared_float(uint32_t from) {
    float value;
    memcpy(&value, shared(from, 4), 4);
    return value;
}
static float4 shared_float4(uint32_t from) {
    float4 value;
    memcpy(&value, shared(from, 16), 16);
    return value;
}
static void share(uint32_t to, float value) { memcpy(shared(to, 4), &value, 4); }
static void share(uint32_t to, uint32_t x, uint32_t y, uint32_t z, uint32_t w) {
    const uint32_t words[4] = {x, y, z, w};
    memcpy(shared(to, 16), words, 16);
}

static uint32_t atomicAdd(uint32_t* to, uint32_t value) {
    const uint32_t before = *to;
    *to += value;
    return before;
}
static void add_four(float* to, float x, float y, float z, float w) {
    if ((uintptr_t)to % 16) fprintf(stderr, "four numbers at %p\n", (void*)to), abort();
    to[0] += x, to[1] += y, to[2] += z, to[3] += w;
}
static void count_up(uint32_t* count) { ++*count; }
static void wait_for_count(const uint32_t* count, uint32_t least) {
    while (*(const volatile uint32_t*)count < least) leave();
}

// --- barriers in shared memory ------------------------------------------------------------------

struct Barrier {
    int expected, pending;
    unsigned phase = 0;
};
static map<uint32_t, Barrier> barriers;

static Barrier& barrier_at(uint32_t place) {
    shared(place, 8);
    const auto found = barriers.find(place);
    if (found == barriers.end()) fprintf(stderr, "no barrier at %u\n", place), abort();
    return found->second;
}
static void barrier_init(uint32_t place, int arrivals) {
    shared(place, 8);
    barriers[place] = {arrivals, arrivals};
}
static void barrier_arrive(uint32_t place) {
    Barrier& barrier = barrier_at(place);
    if (--barrier.pending == 0) barrier.pending = barrier.expected, ++barrier.phase;
}
static bool barrier_passed(uint32_t place, uint32_t parity) {
    return barrier_at(place).phase % 2 != parity;
}
static bool barrier_has_passed(uint32_t place, uint32_t parity) {
    return barrier_passed(place, parity);
}
static void barrier_wait(uint32_t place, uint32_t parity) {
    while (!barrier_passed(place, parity)) leave();
}
static void barrier_arrive_expecting(uint32_t place, int) { barrier_arrive(place); }
static void copy_bulk(uint32_t to, const void* from, int bytes, uint32_t) {
    shared(to, 16), shared(to + bytes - 16, 16);
    memcpy(memory + to, from, bytes);
}
static void async_proxy_fence() {}
static void barriers_are_ready() {}

// --- numbers ------------------------------------------------------------------------------------

static float from_half(uint16_t bits) {
    _Float16 value;
    memcpy(&value, &bits, 2);
    return (float)value;
}
static float from_bits(uint16_t bits, int kind) {
    return kind == 1 ? __uint_as_float((uint32_t)bits << 16) : from_half(bits);
}
static uint16_t one_to_bits(float value, int kind) {
    if (kind == 1) {
        const uint32_t bits = __float_as_uint(value);
        return value != value ? 0x7fff : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    }
    const _Float16 half = (_Float16)value;
    uint16_t bits;
    memcpy(&bits, &half, 2);
    return bits;
}
static uint32_t to_bits(float low, float high, int kind) {
    return one_to_bits(low, kind) | (uint32_t)one_to_bits(high, kind) << 16;
}
static uint32_t rounded_to_tf32(float value) {
    return value != value ? 0x7fffffff : (__float_as_uint(value) + 0x1000) & ~0x1fffu;
}
static float power_of_two(float x) { return exp2f(x); }

// --- tensor cores -------------------------------------------------------------------------------

// Counts of the cycles that eight lanes' rows took more than they must: banks that met twice.
static long bank_conflicts;

template <class Of>
void count_conflicts(Of of, int matrix) {
    bool taken[8] = {};
    for (int row = 0; row < 8; ++row) {
        bool& bank = taken[of(8 * matrix + row, 0) / 16 % 8];
        bank_conflicts += bank;
        bank = true;
    }
}

static void load(uint32_t (&m)[4], uint32_t from, bool transposed) {
    const uint64_t word = from;
    const int lane = threadIdx.x % 32;
    together(&word, 1, [&](auto of) {
        for (int i = 0; i < 4; ++i) {
            if (lane == 0) count_conflicts(of, i);
            if (!transposed) {
                memcpy(&m[i], shared(of(8 * i + lane / 4, 0), 16) + lane % 4 * 4, 4);
                continue;
            }
            uint16_t pair[2];
            for (int j = 0; j < 2; ++j)
                memcpy(&pair[j], shared(of(8 * i + lane % 4 * 2 + j, 0), 16) + lane / 4 * 2, 2);
            memcpy(&m[i], pair, 4);
        }
    });
}
static void load_matrices(uint32_t (&m)[4], uint32_t from) { load(m, from, false); }
static void load_transposed(uint32_t (&m)[4], uint32_t from) { load(m, from, true); }

static void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    const uint64_t words[6] = {a[0], a[1], a[2], a[3], b0, b1};
    const int lane = threadIdx.x % 32;
    together(words, 6, [&](auto of) {
        for (int e = 0; e < 4; ++e) {
            const int row = lane / 4, column = lane % 4 * 2 + e % 2;
            float sum = c[e];
            for (int t = 0; t < 4; ++t)
                for (int half = 0; half < 2; ++half) {
                    const uint32_t x = of(4 * row + t, e / 2 + 2 * half);
                    const uint32_t y = of(4 * column + t, 4 + half);
#if KIND == 0
                    sum += __uint_as_float(x & ~0x1fffu) * __uint_as_float(y & ~0x1fffu);
#else
                    sum += from_bits(x, KIND) * from_bits(y, KIND);
                    sum += from_bits(x >> 16, KIND) * from_bits(y >> 16, KIND);
#endif
                }
            c[e] = sum;
        }
    });
}

static void store_matrices(uint32_t to, const uint32_t (&m)[4]) {
    const uint64_t word = to;
    const int lane = threadIdx.x % 32;
    together(&word, 1, [&](auto of) {
        for (int i = 0; i < 4; ++i) {
            if (lane == 0) count_conflicts(of, i);
            memcpy(shared(of(8 * i + lane / 4, 0), 16) + lane % 4 * 4, &m[i], 4);
        }
    });
}

// --- tensor cores, four warps -------------------------------------------------------------------

// An operand in shared memory, as its descriptor says; its rows are those of a, or columns of b.
struct Operand4 {
    uint32_t start, leading, stride;
    bool turned;
    Operand4(uint64_t bits, bool turned)
        : start((bits & 0x3fff) * 16),
          leading((bits >> 16 & 0x3fff) * 16),
          stride((bits >> 32 & 0x3fff) * 16),
          turned(turned) {
        if (bits >> 62 != 1) fprintf(stderr, "not the 128-byte swizzle\n"), abort();
    }
    float at(int row, int k) const {
        uint32_t place = start;
        if (turned)
            place += row / 64 * leading + row % 64 * 2 + k / 8 * stride + k % 8 * 128;
        else
            place += row / 8 * stride + row % 8 * 128 + k * 2;
        place ^= place / 128 % 8 * 16;
        uint16_t bits;
        memcpy(&bits, shared(place, 2), 2);
        return from_bits(bits, KIND);
    }
};

static uint64_t descriptor(uint32_t address) {
    return 1ull << 62 | 64ull << 32 | 1ull << 16 | (address & 0x3ffff) / 16;
}
static uint64_t descriptor_transposed(uint32_t address, uint32_t apart) {
    return 1ull << 62 | 64ull << 32 | (uint64_t)(apart / 16) << 16 | (address & 0x3ffff) / 16;
}

// What reads an element of this thread's two rows of a; sums are garbage until it has been waited
// for.
template <int SIZE, class Left>
void begin_product(float (&c)[SIZE], Left left, Operand4 right, bool add) {
    Fiber& own = fibers[threadIdx.x];
    PendingSums& sums = own.sums[c];
    if (sums.products++ == 0) sums.values.assign(c, c + SIZE);
    fill(c, c + SIZE, __uint_as_float(0x7fffffff));
    const int t = threadIdx.x % 4;
    float* const to = c;
    const auto multiply = [=, &own] {
        float* values = own.sums[to].values.data();
        float a[2][16];
        for (int i = 0; i < 32; ++i) a[i / 16][i % 16] = left(i / 16, i % 16);
        for (int j = 0; j < SIZE / 2; ++j) {
            const int column = j / 2 * 8 + 2 * t + j % 2;
            float* sum = values + j / 2 * 4 + j % 2;
            float above = add ? sum[0] : 0, below = add ? sum[2] : 0;
            for (int k = 0; k < 16; ++k) {
                const float b = right.at(column, k);
                above += a[0][k] * b, below += a[1][k] * b;
            }
            sum[0] = above, sum[2] = below;
        }
    };
    const auto arrive = [=, &own] {
        PendingSums& sums = own.sums[to];
        if (--sums.products == 0) copy(sums.values.begin(), sums.values.end(), to);
    };
#ifdef LATE
    own.open_products.push_back([=] { multiply(), arrive(); });
#else
    multiply();
    own.open_products.push_back(arrive);
#endif
}
template <int TURNED_A = 0, int TURNED_B = 0, int SIZE>
void multiply(float (&c)[SIZE], uint64_t a, uint64_t b, bool add = true) {
    const Operand4 rows(a, TURNED_A);
    const int first = threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4;
    begin_product(c, [=](int half, int k) { return rows.at(first + 8 * half, k); },
                  Operand4(b, TURNED_B), add);
}
template <int TURNED_B = 0, int SIZE>
void multiply(float (&c)[SIZE], const uint32_t (&a)[4], uint64_t b, bool add = true) {
    const uint64_t words[4] = {a[0], a[1], a[2], a[3]};
    const int quad = threadIdx.x % 32 / 4 * 4;
    vector<float> values(32);
    together(words, 4, [&](auto of) {
        for (int i = 0; i < 32; ++i) {
            const int half = i / 16, k = i % 16;
            values[i] = from_bits(of(quad + k % 8 / 2, k / 8 * 2 + half) >> k % 2 * 16, KIND);
        }
    });
    begin_product(c, [=](int half, int k) { return values[16 * half + k]; },
                  Operand4(b, TURNED_B), add);
}
static void products_may_begin() {}
static void products_end_group() {
    Fiber& own = fibers[threadIdx.x];
    own.product_groups.push_back(move(own.open_products));
    own.open_products.clear();
}
template <int LEFT>
void products_wait() {
    auto& groups = fibers[threadIdx.x].product_groups;
    while (groups.size() > LEFT) {
        for (const auto& product : groups.front()) product();
        groups.erase(groups.begin());
    }
}
template <int SIZE>
void sums_are_there(float (&)[SIZE]) {}
template <int SIZE>
void values_are_there(uint32_t (&)[SIZE]) {}
template <int>
void give_registers() {}
template <int>
void take_registers() {}

// Some warps sleep for some turns, so that others get ahead of them as far as they can.
static bool sleeps(unsigned warp, unsigned long turn) {
    const uint64_t mixed = (turn / 32 * 64 + warp + 1) * 0x9e3779b97f4a7c15u;
    return (mixed ^ mixed >> 29) * 0xbf58476d1ce4e5b9u >> 62 == 0;
}

// --- launches -----------------------------------------------------------------------------------

template <class... Given, size_t... I>
void call(void (*kernel)(Given...), void** arguments, index_sequence<I...>) {
    kernel(*(remove_cv_t<Given>*)arguments[I]...);
}

template <class... Given>
long emulate(void (*kernel)(Given...), int blocks, int threads, int size, void** arguments) {
    gridDim.x = blocks, blockDim.x = threads, memory_size = size, bank_conflicts = 0;
    work = [=] { call(kernel, arguments, index_sequence_for<Given...>{}); };
    fibers.resize(threads);
    for (int block = 0; block < blocks; ++block) {
        blockIdx.x = block;
        memset(memory, 0xff, sizeof(memory));
        of_block = Gate(), of_warps.assign((threads + 31) / 32, Gate());
        fill(begin(of_some), end(of_some), Gate()), barriers.clear();
        for (Fiber& one : fibers) {
            one.begun = one.done = false;
            one.open.clear(), one.groups.clear(), one.sums.clear();
            one.open_products.clear(), one.product_groups.clear();
            getcontext(&one.start);
            one.start.uc_stack.ss_sp = one.stack.data();
            one.start.uc_stack.ss_size = one.stack.size();
            makecontext(&one.start, enter, 0);
        }
        static volatile int left;
        static volatile unsigned long turn;
        for (left = threads, turn = 0; left; turn = turn + 1) {
            for (running = 0; running < (unsigned)threads; ++running) {
                Fiber& one = fibers[running];
                if (one.done || sleeps(running / 32, turn)) continue;
                threadIdx.x = running;
                if (!_setjmp(scheduler)) {
                    if (one.begun) _longjmp(one.at, 1);
                    one.begun = true;
                    setcontext(&one.start);
                }
                left = left - fibers[running].done;
            }
        }
    }
    return bank_conflicts;
}

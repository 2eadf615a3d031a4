// What Hopper (sm_90a) has, as functions: barriers in shared memory, copies in bulk, products of
// four warps (wgmma). They stand behind tensor_cores.cuh, of whose macro KIND the operands are.

// --- barriers and copies ------------------------------------------------------------------------

__device__ __forceinline__ void barrier_init(u32 barrier, int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals)
                 : "memory");
}
__device__ __forceinline__ void barrier_arrive(u32 barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
__device__ __forceinline__ void barrier_arrive_expecting(u32 barrier, int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
                 : "memory");
}
__device__ __forceinline__ bool barrier_passed(u32 barrier, u32 parity) {
    u32 passed;
    asm volatile(
        "{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; "
        "selp.u32 %0, 1, 0, p; }"
        : "=r"(passed)
        : "r"(barrier), "r"(parity)
        : "memory");
    return passed;
}
// The same at once: `barrier_passed` may wait a while.
__device__ __forceinline__ bool barrier_has_passed(u32 barrier, u32 parity) {
    u32 passed;
    asm volatile(
        "{ .reg .pred p; mbarrier.test_wait.parity.shared::cta.b64 p, [%1], %2; "
        "selp.u32 %0, 1, 0, p; }"
        : "=r"(passed)
        : "r"(barrier), "r"(parity)
        : "memory");
    return passed;
}
__device__ __forceinline__ void barrier_wait(u32 barrier, u32 parity) {
    while (!barrier_passed(barrier, parity)) {}
}

// What this thread wrote to shared memory, or saw written, is read by tensor cores behind the next
// barrier.
__device__ __forceinline__ void async_proxy_fence() {
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
__device__ __forceinline__ void barriers_are_ready() {
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    async_proxy_fence();
}
__device__ __forceinline__ void copy_bulk(u32 to, const void* from, int bytes, u32 barrier) {
    asm volatile(
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
        ::"r"(to), "l"(from), "r"(bytes), "r"(barrier)
        : "memory");
}

// Of `threads` threads of a block that meet at a barrier of their own, 1 to 15.
__device__ __forceinline__ void meet(int barrier, int threads) {
    asm volatile("barrier.sync.aligned %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}

// --- products -----------------------------------------------------------------------------------

// Descriptors of operands in the 128-byte swizzle: of the eight pieces of 16 bytes of row r, piece
// p lies at p ^ (r % 8). They say where rows of 128 bytes begin, in units of 16 bytes, how far it
// is from eight rows to the next (64 units), and the kind of swizzle.
//
// A row is 128 bytes of K, of which a product takes 32, 2 units.
__device__ __forceinline__ u64 descriptor(u32 address) {
    return 1ull << 62 | 64ull << 32 | 1ull << 16 | (address & 0x3ffff) / 16;
}
// Transposed, of 16-bit numbers alone: K counts rows, and the 64 numbers of a row are 64 rows (of
// a) or columns (of b) of the product; the next 64 lie `apart` bytes further. A product takes 16
// rows, 128 units.
__device__ __forceinline__ u64 descriptor_transposed(u32 address, u32 apart) {
    return 1ull << 62 | 64ull << 32 | (u64)(apart / 16) << 16 | (address & 0x3ffff) / 16;
}

#define TEN(t)                                                                                    \
    "%" t "0,%" t "1,%" t "2,%" t "3,%" t "4,%" t "5,%" t "6,%" t "7,%" t "8,%" t "9"
#define SIXTY                                                                                     \
    TEN("") "," TEN("1") "," TEN("2") "," TEN("3") "," TEN("4") "," TEN("5")
#define SUM2(i) "+f"(c[i]), "+f"(c[i + 1])
#define SUM8(i) SUM2(i), SUM2(i + 2), SUM2(i + 4), SUM2(i + 6)
#define SUM32(i) SUM8(i), SUM8(i + 8), SUM8(i + 16), SUM8(i + 24)

// For each number of columns: it, the sums' names, the sums, and names of operands behind them.
#define OF_32(f)                                                                                  \
    f("32", TEN("") ",%10,%11,%12,%13,%14,%15", (SUM8(0), SUM8(8)), "%16", "%17", "%18", "%19",   \
      "%20", "%21", "%22")
#define OF_64(f)                                                                                  \
    f("64", TEN("") "," TEN("1") "," TEN("2") ",%30,%31", (SUM32(0)), "%32", "%33", "%34", "%35", \
      "%36", "%37", "%38")
#define OF_96(f)                                                                                  \
    f("96", TEN("") "," TEN("1") "," TEN("2") "," TEN("3") ",%40,%41,%42,%43,%44,%45,%46,%47",    \
      (SUM32(0), SUM8(32), SUM8(40)), "%48", "%49", "%50", "%51", "%52", "%53", "%54")
#define OF_128(f)                                                                                 \
    f("128", SIXTY ",%60,%61,%62,%63", (SUM32(0), SUM32(32)), "%64", "%65", "%66", "%67", "%68",  \
      "%69", "%70")
#define OF_192(f)                                                                                 \
    f("192", SIXTY "," TEN("6") "," TEN("7") "," TEN("8") ",%90,%91,%92,%93,%94,%95",             \
      (SUM32(0), SUM32(32), SUM32(64)), "%96", "%97", "%98", "%99", "%100", "%101", "%102")
#define OF_256(f)                                                                                 \
    f("256",                                                                                      \
      SIXTY "," TEN("6") "," TEN("7") "," TEN("8") "," TEN("9") "," TEN("10") "," TEN("11")       \
            ",%120,%121,%122,%123,%124,%125,%126,%127",                                           \
      (SUM32(0), SUM32(32), SUM32(64), SUM32(96)), "%128", "%129", "%130", "%131", "%132",        \
      "%133", "%134")

#define BARE(...) __VA_ARGS__
#define PRODUCT(columns, sums, add)                                                               \
    "{ .reg .pred p; setp.ne.b32 p, " add ", 0; wgmma.mma_async.sync.aligned.m64n" columns TYPES  \
    "{" sums "}, "
#if KIND == 0
#define TYPES "k8.f32.tf32.tf32 "
#define TURNED_TWO(a, b)
#define TURNED_ONE(b)
#else
#if KIND == 1
#define TYPES "k16.f32.bf16.bf16 "
#else
#define TYPES "k16.f32.f16.f16 "
#endif
#define TURNED_TWO(a, b) ", " a ", " b
#define TURNED_ONE(b) ", " b
#endif
#define FROM_SHARED(columns, names, sums, o0, o1, o2, o3, o4, o5, o6)                             \
    asm volatile(PRODUCT(columns, names, o2) o0 ", " o1 ", p, 1, 1" TURNED_TWO(o3, o4) "; }"      \
                 : BARE sums                                                                      \
                 : "l"(a), "l"(b), "r"((int)add), "n"(TURNED_A), "n"(TURNED_B));
#define FROM_REGISTERS(columns, names, sums, o0, o1, o2, o3, o4, o5, o6)                          \
    asm volatile(PRODUCT(columns, names, o5) "{" o0 "," o1 "," o2 "," o3 "}, " o4 ", p, 1, 1"     \
                 TURNED_ONE(o6) "; }"                                                             \
                 : BARE sums                                                                      \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"((int)add),             \
                   "n"(TURNED_B));
#define OF_ANY(f)                                                                                 \
    static_assert(SIZE == 16 || SIZE == 32 || SIZE == 48 || SIZE == 64 || SIZE == 96 ||           \
                      SIZE == 128, "32, 64, 96, 128, 192 or 256 columns");                        \
    if constexpr (SIZE == 16) { OF_32(f) }                                                        \
    if constexpr (SIZE == 32) { OF_64(f) }                                                        \
    if constexpr (SIZE == 48) { OF_96(f) }                                                        \
    if constexpr (SIZE == 64) { OF_128(f) }                                                       \
    if constexpr (SIZE == 96) { OF_192(f) }                                                       \
    if constexpr (SIZE == 128) { OF_256(f) }

// c = a times b, plus c if `add`: 64 rows, 2 * SIZE columns and 32 bytes of K, from the descriptors
// of both. Warp w of four has rows from 16 w; c[4 j + e] is as sum e of `multiply` in
// tensor_cores.cuh in columns from 8 j.
template <int TURNED_A = 0, int TURNED_B = 0, int SIZE>
__device__ __forceinline__ void multiply(float (&c)[SIZE], u64 a, u64 b, bool add = true) {
    OF_ANY(FROM_SHARED)
}
// The same with a in registers, each warp's 16 rows as mma.sync takes them.
template <int TURNED_B = 0, int SIZE>
__device__ __forceinline__ void multiply(float (&c)[SIZE], const u32 (&a)[4], u64 b,
                                         bool add = true) {
    OF_ANY(FROM_REGISTERS)
}
__device__ __forceinline__ void products_may_begin() {
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void products_end_group() {
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int LEFT>
__device__ __forceinline__ void products_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LEFT) : "memory");
}
// Nothing that reads these sums may be moved in front of the wait for them.
template <int SIZE>
__device__ __forceinline__ void sums_are_there(float (&c)[SIZE]) {
#pragma unroll
    for (int i = 0; i < SIZE; ++i) asm volatile("" : "+f"(c[i])::"memory");
}

// A left operand in registers is made in front of this, not later between products.
template <int SIZE>
__device__ __forceinline__ void values_are_there(u32 (&a)[SIZE]) {
#pragma unroll
    for (int i = 0; i < SIZE; ++i) asm volatile("" : "+r"(a[i])::"memory");
}

// Four matrices of eight rows of 16 bytes to shared memory: the inverse of load_matrices.
__device__ __forceinline__ void store_matrices(u32 to, const u32 (&m)[4]) {
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};"
                 ::"r"(to), "r"(m[0]), "r"(m[1]), "r"(m[2]), "r"(m[3])
                 : "memory");
}

// --- global memory, in turns --------------------------------------------------------------------

__device__ __forceinline__ void add_four(float* to, float x, float y, float z, float w) {
    asm volatile("red.relaxed.gpu.global.add.v4.f32 [%0], {%1, %2, %3, %4};"
                 ::"l"(to), "f"(x), "f"(y), "f"(z), "f"(w)
                 : "memory");
}
// One more has done what it had to do before others: they see it once they see the count.
__device__ __forceinline__ void count_up(u32* count) {
    asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(count) : "memory");
}
__device__ __forceinline__ void wait_for_count(const u32* count, u32 least) {
    u32 found;
    do {
        asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(found) : "l"(count) : "memory");
    } while (found < least);
}

// --- registers ----------------------------------------------------------------------------------

// Registers of a thread from here on, all four warps of a warpgroup together. A block has what it
// was started with, 168 for each of 384 threads: so 88 for those that copy leave 208 for the
// others.
template <int MANY>
__device__ __forceinline__ void give_registers() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(MANY));
}
template <int MANY>
__device__ __forceinline__ void take_registers() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(MANY));
}

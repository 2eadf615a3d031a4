// What Hopper (sm_90a) has, as functions: barriers in shared memory, copies that run by themselves,
// products of four warps (wgmma).
//
// Macros: KIND of the operands (see wide.cuh), BN columns of a product.

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
__device__ __forceinline__ void barrier_wait(u32 barrier, u32 parity) {
    while (!barrier_passed(barrier, parity)) {}
}

// 16 bytes from global to shared memory, or zeros.
__device__ __forceinline__ void copy_piece(u32 to, const void* from, bool there) {
    const int bytes = there ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes)
                 : "memory");
}
__device__ __forceinline__ void copies_end_group() {
    asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int LEFT>
__device__ __forceinline__ void copies_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
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

// --- products -----------------------------------------------------------------------------------

#define TEN(t)                                                                                    \
    "%" t "0,%" t "1,%" t "2,%" t "3,%" t "4,%" t "5,%" t "6,%" t "7,%" t "8,%" t "9"
#define SUM2(i) "+f"(c[i]), "+f"(c[i + 1])
#define SUM8(i) SUM2(i), SUM2(i + 2), SUM2(i + 4), SUM2(i + 6)
#define SUM32(i) SUM8(i), SUM8(i + 8), SUM8(i + 16), SUM8(i + 24)
#define SIXTY                                                                                     \
    TEN("") "," TEN("1") "," TEN("2") "," TEN("3") "," TEN("4") "," TEN("5")
#define FACTORS ", 1, 1, 1"  // the sum before counts, and signs stay
#if KIND == 0
#define TYPES "k8.f32.tf32.tf32 "
#define TRANSPOSED_A
#define TRANSPOSED_B
#else
#define TRANSPOSED_A ", 0"
#define TRANSPOSED_B ", 0"
#if KIND == 1
#define TYPES "k16.f32.bf16.bf16 "
#else
#define TYPES "k16.f32.f16.f16 "
#endif
#endif
#if BN == 32
#define SUMS_TEXT TEN("") ",%10,%11,%12,%13,%14,%15"
#define SUMS SUM8(0), SUM8(8)
#define WIDTH "32"
#define OPERANDS(f) f("%16", "%17", "%18", "%19", "%20")
#elif BN == 64
#define SUMS_TEXT TEN("") "," TEN("1") "," TEN("2") ",%30,%31"
#define SUMS SUM32(0)
#define WIDTH "64"
#define OPERANDS(f) f("%32", "%33", "%34", "%35", "%36")
#elif BN == 96
#define SUMS_TEXT TEN("") "," TEN("1") "," TEN("2") "," TEN("3") ",%40,%41,%42,%43,%44,%45,%46,%47"
#define SUMS SUM32(0), SUM8(32), SUM8(40)
#define WIDTH "96"
#define OPERANDS(f) f("%48", "%49", "%50", "%51", "%52")
#elif BN == 128
#define SUMS_TEXT SIXTY ",%60,%61,%62,%63"
#define SUMS SUM32(0), SUM32(32)
#define WIDTH "128"
#define OPERANDS(f) f("%64", "%65", "%66", "%67", "%68")
#elif BN == 192
#define SUMS_TEXT SIXTY "," TEN("6") "," TEN("7") "," TEN("8") ",%90,%91,%92,%93,%94,%95"
#define SUMS SUM32(0), SUM32(32), SUM32(64)
#define WIDTH "192"
#define OPERANDS(f) f("%96", "%97", "%98", "%99", "%100")
#elif BN == 256
#define SUMS_TEXT                                                                                 \
    SIXTY "," TEN("6") "," TEN("7") "," TEN("8") "," TEN("9") "," TEN("10") "," TEN("11")         \
          ",%120,%121,%122,%123,%124,%125,%126,%127"
#define SUMS SUM32(0), SUM32(32), SUM32(64), SUM32(96)
#define WIDTH "256"
#define OPERANDS(f) f("%128", "%129", "%130", "%131", "%132")
#else
#error "BN is 32, 64, 96, 128, 192 or 256"
#endif
#define PRODUCT "wgmma.mma_async.sync.aligned.m64n" WIDTH TYPES "{" SUMS_TEXT "}, "
#define FROM_SHARED(a, b, ...) a ", " b FACTORS TRANSPOSED_A TRANSPOSED_B ";"
#define FROM_REGISTERS(a, b, c, d, e) "{" a "," b "," c "," d "}, " e FACTORS TRANSPOSED_B ";"

// c += a times b, 64 rows, BN columns and 32 bytes of K, from the descriptors of both.
__device__ __forceinline__ void multiply(float* c, u64 a, u64 b) {
    asm volatile(PRODUCT OPERANDS(FROM_SHARED) : SUMS : "l"(a), "l"(b));
}
// The same with a in registers, each warp's 16 rows as mma.sync takes them.
__device__ __forceinline__ void multiply(float* c, const u32* a, u64 b) {
    asm volatile(PRODUCT OPERANDS(FROM_REGISTERS)
                 : SUMS
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
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
__device__ __forceinline__ void sums_are_there(float* c) {
#pragma unroll
    for (int i = 0; i < BN / 2; ++i) asm volatile("" : "+f"(c[i])::"memory");
}

// Four 8 x 8 matrices of 16 bits, transposed: lane l names row l % 8 of matrix l / 8, and gets of
// each the rows 2t and 2t + 1 at column g (t = l % 4, g = l / 4).
__device__ __forceinline__ void load_four_transposed(u32* to, u32 row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(row)
                 : "memory");
}
__device__ __forceinline__ float load_float(u32 from) {
    float value;
    asm volatile("ld.shared.f32 %0, [%1];" : "=f"(value) : "r"(from) : "memory");
    return value;
}

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

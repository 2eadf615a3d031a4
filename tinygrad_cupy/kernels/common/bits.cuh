// Conversions between float32 and the bits of bfloat16 (kind 1), float16 (kind 2) and TF32.

__device__ __forceinline__ float from_bits(u16 bits, int kind) {
    float value;
    if (kind == 1) {
        value = __uint_as_float((u32)bits << 16);
    } else {
        asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    }
    return value;
}
// Two floats in 16 bits each, rounded to nearest.
__device__ __forceinline__ u32 to_bits(float low, float high, int kind) {
    u32 both;
    if (kind == 1) {
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    } else {
        asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    }
    return both;
}
__device__ __forceinline__ u32 rounded_to_tf32(float value) {
    u32 bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
    return bits;
}

// ReLU and its gradient on arrays in one and the same memory order: 16 bytes a thread.
//
// Macros: TYPE the dtype, ACC what is compared.

#ifndef TYPE
#define TYPE float
#define ACC float
#endif
#ifdef HALF
#include <cuda_fp16.h>
#endif
#ifdef BFLOAT
#include <cuda_bf16.h>
#endif

typedef TYPE T;
typedef ACC A;
typedef long long i64;

const int WIDTH = 16 / sizeof(T);

struct alignas(16) Pack {
    T at[WIDTH];
};

__device__ T positive_part(T x) { return (A)x < (A)0 ? (T)0.0f : x; }  // NaN stays

__device__ T passed(T grad, T y) { return (A)y <= (A)0 ? (T)0.0f : grad; }  // also of NaN

// y = max(x, 0)
extern "C" __global__ void __launch_bounds__(256) relu(const T* x, T* y, i64 count) {
    const i64 first = ((i64)blockIdx.x * blockDim.x + threadIdx.x) * WIDTH;
    if (first + WIDTH <= count) {
        Pack values = *(const Pack*)(x + first);
#pragma unroll
        for (int k = 0; k < WIDTH; ++k) values.at[k] = positive_part(values.at[k]);
        *(Pack*)(y + first) = values;
    } else {
        for (i64 i = first; i < count; ++i) y[i] = positive_part(x[i]);
    }
}

// out = 0 where y <= 0, else grad
extern "C" __global__ void __launch_bounds__(256)
    relu_backward(const T* grad, const T* y, T* out, i64 count) {
    const i64 first = ((i64)blockIdx.x * blockDim.x + threadIdx.x) * WIDTH;
    if (first + WIDTH <= count) {
        Pack values = *(const Pack*)(grad + first);
        const Pack gates = *(const Pack*)(y + first);
#pragma unroll
        for (int k = 0; k < WIDTH; ++k) values.at[k] = passed(values.at[k], gates.at[k]);
        *(Pack*)(out + first) = values;
    } else {
        for (i64 i = first; i < count; ++i) out[i] = passed(grad[i], y[i]);
    }
}

// ReLU and its gradient on arrays in one and the same memory order: 16 bytes a thread.
//
// Macros: TYPE the dtype, ACC what is compared, WIDTH the elements of 16 bytes.

__device__ T positive_part(T x) { return (A)x < (A)0 ? (T)0.0f : x; }  // NaN stays

__device__ T passed(T grad, T y) { return (A)y <= (A)0 ? (T)0.0f : grad; }  // also of NaN

// y = max(x, 0)
extern "C" __global__ void __launch_bounds__(THREADS) relu(const T* x, T* y, i64 count) {
    const i64 first = ((i64)blockIdx.x * blockDim.x + threadIdx.x) * WIDTH;
    if (first + WIDTH <= count) {
        Pack<T> values = load(x + first);
#pragma unroll
        for (int k = 0; k < WIDTH; ++k) values.at[k] = positive_part(values.at[k]);
        store(y + first, values);
    } else {
        for (i64 i = first; i < count; ++i) y[i] = positive_part(x[i]);
    }
}

// out = 0 where y <= 0, else grad
extern "C" __global__ void __launch_bounds__(THREADS)
    relu_backward(const T* grad, const T* y, T* out, i64 count) {
    const i64 first = ((i64)blockIdx.x * blockDim.x + threadIdx.x) * WIDTH;
    if (first + WIDTH <= count) {
        Pack<T> values = load(grad + first);
        const Pack<T> relu_y = load(y + first);
#pragma unroll
        for (int k = 0; k < WIDTH; ++k) values.at[k] = passed(values.at[k], relu_y.at[k]);
        store(out + first, values);
    } else {
        for (i64 i = first; i < count; ++i) out[i] = passed(grad[i], y[i]);
    }
}

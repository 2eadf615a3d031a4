// Complex numbers, T twice each.

struct Complex {
    T real, imag;
};

// by_x: grad x̄ / y of y = |x|; 0 where y is 0.
extern "C" __global__ void complex_abs_backward(
    const T *grad, const Complex *x, const T *y, Complex *by_x, i64 count)
{
    i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    Complex own = x[i];
    T size = y[i], g = grad[i];
    if (size == 0) by_x[i] = {0, 0};
    else by_x[i] = {g * (own.real / size), -(g * (own.imag / size))};
}

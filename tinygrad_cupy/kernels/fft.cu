// Elements of half spectra, T twice each.

struct Complex {
    T real, imag;
};

// y: the conjugate of x, times `factor` where the whole spectrum has an element twice: not at 0,
// nor at size / 2. Along the axis lie size / 2 + 1 elements, `inner` apart.
extern "C" __global__ void fft_weighted_conj(
    const Complex *x, Complex *y, i64 inner, i64 size, double factor, i64 count)
{
    i64 place = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (place >= count) return;
    i64 k = place / inner % (size / 2 + 1);
    T by = k == 0 || 2 * k == size ? (T)1 : (T)factor;
    Complex own = x[place];
    y[place] = {own.real * by, -own.imag * by};
}

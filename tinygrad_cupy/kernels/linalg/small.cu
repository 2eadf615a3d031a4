// Small matrices in shared memory, one block for each. Rows there are PITCH(n) apart, an odd
// number, so that a warp that goes down a column meets no bank twice. A thread is at (row of
// warps, lane).

#define PITCH(n) ((n) | 1)
#define EACH(index, count) for (int index = threadIdx.x; index < (count); index += blockDim.x)

extern __shared__ double memory[];

static __device__ void load(T *to, const T *from, int n)
{
    int lane = threadIdx.x & 31, rows = blockDim.x >> 5;
    for (int i = threadIdx.x >> 5; i < n; i += rows)
        for (int j = lane; j < n; j += 32) to[i * PITCH(n) + j] = from[i * n + j];
}

// packed (n · n and n): the LU of the transpose of x, whose columns are rows here, and the pivots.
extern "C" __global__ void linalg_lu_factor(const T *x, T *packed, int n)
{
    T *a = (T *)memory;
    __shared__ int pivot;
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5, pitch = PITCH(n);
    T *out = packed + (i64)blockIdx.x * (n * n + n);
    load(a, x + (i64)blockIdx.x * n * n, n);
    __syncthreads();
    for (int k = 0; k < n; k++) {
        T *own = a + k * pitch;
        if (warp == 0) {
            T best = -1;
            int where = k;
            for (int i = k + lane; i < n; i += 32) {
                T size = fabs(own[i]);
                if (size > best) {
                    best = size;
                    where = i;
                }
            }
            for (int step = 16; step; step >>= 1) {
                T other = __shfl_xor_sync(~0u, best, step);
                int place = __shfl_xor_sync(~0u, where, step);
                if (other > best || (other == best && place < where)) {
                    best = other;
                    where = place;
                }
            }
            if (lane == 0) {
                pivot = where;
                out[n * n + k] = (T)(where + 1);
            }
        }
        __syncthreads();
        int other = pivot;
        if (other != k) {
            EACH(j, n)
            {
                T kept = a[j * pitch + k];
                a[j * pitch + k] = a[j * pitch + other];
                a[j * pitch + other] = kept;
            }
            __syncthreads();
        }
        T divisor = own[k];
        if (divisor != 0)  // else all below it are 0
            for (int i = k + 1 + threadIdx.x; i < n; i += blockDim.x) own[i] /= divisor;
        __syncthreads();
        for (int j = k + 1 + warp; j < n; j += warps) {
            T *column = a + j * pitch, factor = column[k];
            for (int i = k + 1 + lane; i < n; i += 32) column[i] -= own[i] * factor;
        }
        __syncthreads();
    }
    for (int i = warp; i < n; i += warps)
        for (int j = lane; j < n; j += 32) out[i * n + j] = a[i * pitch + j];
}

static __device__ void exchange(T *x, int right, int k, int other)
{
    if (other != k)
        EACH(r, right)
        {
            T kept = x[k * right + r];
            x[k * right + r] = x[other * right + r];
            x[other * right + r] = kept;
        }
}

// One triangle of a, or of its transpose: x (n, right) becomes its inverse times x. Element (i, k)
// is a[i · by_row + k · by_column]. All threads come here together, and leave so.
static __device__ void substitute(
    const T *a, int by_row, int by_column, T *x, int n, int right, bool down, bool unit)
{
    for (int step = 0; step < n; step++) {
        int k = down ? step : n - 1 - step;
        T diagonal = unit ? (T)1 : a[k * (by_row + by_column)];
        int first = down ? k + 1 : 0, last = down ? n : k;
        EACH(place, (last - first) * right)
        {
            int i = first + place / right, r = place % right;
            x[i * right + r] -= a[i * by_row + k * by_column] * (x[k * right + r] / diagonal);
        }
        __syncthreads();
    }
    if (!unit) {  // not sooner: while one thread divides, another would read
        EACH(place, n * right) x[place] /= a[place / right * (by_row + by_column)];
        __syncthreads();
    }
}

// x (n, right) by the LU of aᵀ: a⁻¹ x, or of aᵀ. The factors and x are in shared memory.
static __device__ void solve(
    const T *a, const T *pivots, T *x, int n, int right, bool transposed)
{
    int pitch = PITCH(n);
    if (transposed) {
        for (int k = 0; k < n; k++) {
            exchange(x, right, k, (int)pivots[k] - 1);  // each thread has columns of its own
        }
        __syncthreads();
        substitute(a, 1, pitch, x, n, right, true, true);
        substitute(a, 1, pitch, x, n, right, false, false);
    } else {
        substitute(a, pitch, 1, x, n, right, true, false);
        substitute(a, pitch, 1, x, n, right, false, true);
        for (int k = n - 1; k >= 0; k--) exchange(x, right, k, (int)pivots[k] - 1);
        __syncthreads();
    }
}

// Of one packed LU (step 0) or one for each. b is the identity where there is none.
extern "C" __global__ void linalg_lu_solve(
    const T *packed, i64 step, const T *b, T *x, int n, int right, int transposed)
{
    T *a = (T *)memory, *own = a + n * PITCH(n);
    const T *factors = packed + blockIdx.x * step;
    i64 start = (i64)blockIdx.x * n * right;
    load(a, factors, n);
    EACH(i, n * right) own[i] = b ? b[start + i] : (T)(i / right == i % right);
    __syncthreads();
    solve(a, factors + n * n, own, n, right, transposed);
    EACH(i, n * right) x[start + i] = own[i];
}

// by_b of the gradient grad of y = a⁻¹ b, or aᵀ⁻¹ b, and by_a, unless it is null.
extern "C" __global__ void linalg_solve_backward(
    const T *packed, const T *grad, const T *y, T *by_a, T *by_b, int n, int right, int transposed)
{
    T *a = (T *)memory, *own = a + n * PITCH(n);
    const T *factors = packed + (i64)blockIdx.x * (n * n + n);
    i64 start = (i64)blockIdx.x * n * right;
    load(a, factors, n);
    EACH(i, n * right) own[i] = grad[start + i];
    __syncthreads();
    solve(a, factors + n * n, own, n, right, !transposed);
    EACH(i, n * right) by_b[start + i] = own[i];
    if (!by_a) return;
    EACH(i, n * right) a[i] = y[start + i];  // right <= n: the factors are done with
    __syncthreads();
    const T *left = transposed ? a : own, *other = transposed ? own : a;
    T *out = by_a + (i64)blockIdx.x * n * n;
    int lane = threadIdx.x & 31, rows = blockDim.x >> 5;
    for (int i = threadIdx.x >> 5; i < n; i += rows)
        for (int j = lane; j < n; j += 32) {
            T sum = 0;
            for (int r = 0; r < right; r++) sum += left[i * right + r] * other[j * right + r];
            out[i * n + j] = -sum;
        }
}

// y y ᵀ = x, of which the lower triangle is read; NaN where that is not positive definite.
extern "C" __global__ void linalg_cholesky(const T *x, T *y, int n)
{
    T *a = (T *)memory;
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5, pitch = PITCH(n);
    i64 start = (i64)blockIdx.x * n * n;
    bool definite = true;
    load(a, x + start, n);
    __syncthreads();
    for (int k = 0; k < n; k++) {
        T root = a[k * pitch + k];
        definite = definite && root > 0;  // the same in all threads
        root = sqrt(root);
        __syncthreads();
        for (int i = k + threadIdx.x; i < n; i += blockDim.x)
            a[i * pitch + k] = i == k ? root : a[i * pitch + k] / root;
        __syncthreads();
        for (int j = k + 1 + warp; j < n; j += warps) {
            T factor = a[j * pitch + k];
            for (int i = j + lane; i < n; i += 32) a[i * pitch + j] -= a[i * pitch + k] * factor;
        }
        __syncthreads();
    }
    for (int i = warp; i < n; i += warps)
        for (int j = lane; j < n; j += 32)
            y[start + i * n + j] = !definite ? (T)nan("") : j <= i ? a[i * pitch + j] : (T)0;
}

// (S + Sᵀ) / 2 of S = y⁻ᵀ P y⁻¹, P the lower triangle of yᵀ grad with half of its diagonal.
extern "C" __global__ void linalg_cholesky_backward(const T *grad, const T *y, T *x, int n)
{
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5, pitch = PITCH(n);
    T *a = (T *)memory, *s = a + n * pitch, *g = s + n * pitch;
    i64 start = (i64)blockIdx.x * n * n;
    load(a, y + start, n);
    load(g, grad + start, n);
    __syncthreads();
    for (int i = warp; i < n; i += warps)
        for (int j = lane; j < n; j += 32) {
            T sum = 0;
            if (j <= i)
                for (int k = i; k < n; k++) sum += a[k * pitch + i] * g[k * pitch + j];
            s[i * pitch + j] = i == j ? sum / 2 : sum;
        }
    __syncthreads();
    for (int k = n - 1; k >= 0; k--) {  // y⁻ᵀ P
        T diagonal = a[k * pitch + k];
        for (int i = warp; i < k; i += warps) {
            T factor = a[k * pitch + i] / diagonal;
            for (int j = lane; j < n; j += 32) s[i * pitch + j] -= factor * s[k * pitch + j];
        }
        __syncthreads();
    }
    for (int k = n - 1; k >= 0; k--) {  // · y⁻¹; each row is divided by its diagonal at the end
        T diagonal = a[k * pitch + k];
        for (int j = warp; j < k; j += warps) {
            T factor = a[k * pitch + j] / diagonal;
            for (int i = lane; i < n; i += 32) s[i * pitch + j] -= s[i * pitch + k] * factor;
        }
        __syncthreads();
    }
    for (int i = warp; i < n; i += warps)
        for (int j = lane; j < n; j += 32) {
            T both = s[i * pitch + j] + s[j * pitch + i];
            x[start + i * n + j] = both / 2 / a[i * pitch + i] / a[j * pitch + j];
        }
}

// out (n, n) = a b of matrices in shared memory: element (i, k) of a is a[i · row + k · column],
// element (k, j) of b likewise.
static __device__ void multiply(
    const T *a, int a_row, int a_column, const T *b, int b_row, int b_column, T *out, int out_row,
    int n)
{
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
    for (int i = warp; i < n; i += warps)
        for (int j = lane; j < n; j += 32) {
            T sum = 0;
            for (int k = 0; k < n; k++)
                sum += a[i * a_row + k * a_column] * b[k * b_row + j * b_column];
            out[i * out_row + j] = sum;
        }
    __syncthreads();
}

// The gradient by a symmetric matrix of that by its eigenvectors, as rows, and eigenvalues: packed
// and grad are (n · n and n).
extern "C" __global__ void linalg_eigh_backward(
    const T *packed, const T *grad, T *by_matrix, int n, double equal, double noisy, int alone)
{
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5, pitch = PITCH(n);
    T *rows = (T *)memory, *given = rows + n * pitch, *turned = given + n * pitch;
    packed += (i64)blockIdx.x * (n * n + n);
    grad += (i64)blockIdx.x * (n * n + n);
    load(rows, packed, n);
    load(given, grad, n);
    __syncthreads();
    const T *values = packed + n * n, *by_values = grad + n * n;
    multiply(rows, pitch, 1, given, 1, pitch, turned, pitch, n);
    Limits limits(turned, pitch, values, by_values, n, equal, noisy);
    for (int i = warp; i < n; i += warps)
        for (int j = lane; j < n; j += 32)
            given[i * pitch + j] =
                spread_at(turned, pitch, values, by_values, i, j, limits, alone);
    __syncthreads();
    multiply(given, pitch, 1, rows, pitch, 1, turned, pitch, n);
    multiply(rows, 1, pitch, turned, pitch, 1, by_matrix + (i64)blockIdx.x * n * n, n, n);
}

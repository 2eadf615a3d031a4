// Rows normalized by their own mean and deviation, or by their root mean square alone, in one pass
// over memory: the variance is that of what is left when the mean is taken off, in double.

// y (rows, columns), and as stats (rows, 2) each row's mean, 0 if not centred, and what the rest is
// multiplied with. weight and bias (columns) or null. inverse is 1 / columns.
extern "C" __global__ void __launch_bounds__(THREADS)
    layer_norm_forward(const T* __restrict__ x, const T* __restrict__ weight,
                       const T* __restrict__ bias, T* __restrict__ y, double* __restrict__ stats,
                       i64 rows, int columns, int groups, int centred, double inverse,
                       double eps) {
    const i64 own = (i64)blockIdx.x * SLOTS + threadIdx.x / LANES;
    const i64 row = own < rows ? own : rows - 1;  // threads beyond wait with the others
    const i64 start = start_of(row, columns, groups);
    const Part part(x, start, columns, groups);
    double mean = 0;
    if (centred) {
        double sums[WIDTH] = {};
        each_pack(columns, [&](int i, int column) {
            const Pack<A> values = part.at(i, column);
#pragma unroll
            for (int k = 0; k < WIDTH; ++k) sums[k] += (double)values.at[k];
        });
        double sum[1] = {sum_of(sums)};
        add_over_row(sum);
        mean = sum[0] * inverse;
    }
    double squares[WIDTH] = {};
    each_pack(columns, [&](int i, int column) {
        const Pack<A> values = part.at(i, column);
#pragma unroll
        for (int k = 0; k < WIDTH; ++k) {
            const double rest = (double)values.at[k] - mean;
            squares[k] += rest * rest;
        }
    });
    double square[1] = {sum_of(squares)};
    add_over_row(square);
    const double scale = rsqrt(square[0] * inverse + eps);
    if (own >= rows) return;
    if (threadIdx.x % LANES == 0) {
        stats[2 * row] = mean;
        stats[2 * row + 1] = scale;
    }
    each_pack(columns, [&](int i, int column) {
        const Pack<A> values = part.at(i, column);
        Pack<A> gain, shift;
        if (weight) gain = wide(weight + column);
        if (bias) shift = wide(bias + column);
        Pack<T> out;
#pragma unroll
        for (int k = 0; k < WIDTH; ++k) {
            A value = (A)(((double)values.at[k] - mean) * scale);
            if (weight) value *= gain.at[k];
            if (bias) value += shift.at[k];
            out.at[k] = (T)value;
        }
        store(y + start + place_of(column, groups), out);
    });
}

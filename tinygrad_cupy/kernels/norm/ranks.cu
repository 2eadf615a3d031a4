// Batch norm of a batch that ranks share: what each of them has found becomes what all go on with.
// A thread has a channel; ranks are taken in their order, so that all have the same bits.

// The statistics of all from moments (ranks, C + 1), as batch_norm_stats gives those of each rank:
// mean and variance of each channel, then how many values they are of. Put together as Chan et al.
// (1979) do, so that nothing large is taken from something large.
extern "C" __global__ void __launch_bounds__(THREADS)
    batch_norm_stats_of_ranks(const double2* moments, int ranks, int channels, A* stats,
                              double eps, double momentum, A* running_mean, A* running_var,
                              i64* batches) {
    const int c = blockIdx.x * THREADS + threadIdx.x;
    const Statistics statistics{stats, eps, momentum, running_mean, running_var, batches};
    if (c == 0) statistics.count();
    if (c >= channels) return;
    const i64 each = channels + 1;
    const double first = moments[c].x;
    double total = 0, apart = 0, squares = 0;
    for (int rank = 0; rank < ranks; ++rank) {
        const double weight = moments[rank * each + channels].x;
        total += weight;
        apart += weight * (moments[rank * each + c].x - first);
    }
    const double mean = first + apart / total;
    for (int rank = 0; rank < ranks; ++rank) {
        const double2 found = moments[rank * each + c];
        const double weight = moments[rank * each + channels].x, far = found.x - mean;
        squares += weight * (found.y + far * far);
    }
    statistics.write(c, channels, mean, squares / total, total);
}

// The factors from totals (C + 1), the sums over ranks of what batch_norm_backward_reduce gives.
// A rank that is not `present` has no sample: the statistics do not depend on its x.
extern "C" __global__ void __launch_bounds__(THREADS)
    batch_norm_factors_of_ranks(const double2* totals, int channels, int present, const A* stats,
                                const A* weight, A* factors) {
    const int c = blockIdx.x * THREADS + threadIdx.x;
    if (c >= channels) return;
    const double2 sums = present ? totals[c] : make_double2(0, 0);
    write_factors(factors, c, channels, stats, weight, sums, totals[channels].x);
}

// What a batch norm's kernels keep for each channel c of C: in `stats` (4, C) of the batch, in
// `factors` (3, C) of its gradient.

// Mean, biased variance, 1 / sqrt(variance + eps), and what the mean lost when it was rounded to A.
// The running statistics and the number of batches move along where given.
struct Statistics {
    A* stats;
    double eps, momentum;
    A *running_mean, *running_var;
    i64* batches;

    // Of `rows` values.
    __device__ void write(int c, int channels, double mean, double var, double rows) const {
        stats[c] = (A)mean;
        stats[channels + c] = (A)var;
        stats[2 * channels + c] = (A)(1 / sqrt(var + eps));
        stats[3 * channels + c] = (A)(mean - (double)(A)mean);
        if (running_mean) {
            running_mean[c] += (A)momentum * ((A)mean - running_mean[c]);
            running_var[c] += (A)momentum * ((A)(var * rows / (rows - 1)) - running_var[c]);
        }
    }

    __device__ void count() const {
        if (batches) batches[0] += 1;
    }
};

// dx = gain * (g - mean_g - (x - mean) * tilt), where mean_g makes up for what the mean lost, from
// sums = (sum of g * normal, sum of g) over `rows` values: gain, tilt and mean_g.
__device__ void write_factors(A* factors, int c, int channels, const A* stats, const A* weight,
                              double2 sums, double rows) {
    const double scale = stats[2 * channels + c], lost = stats[3 * channels + c];
    const double tilt = scale * sums.x / rows;
    factors[c] = (A)(scale * (double)weight[c]);
    factors[channels + c] = (A)tilt;
    factors[2 * channels + c] = (A)(sums.y / rows - tilt * lost);
}

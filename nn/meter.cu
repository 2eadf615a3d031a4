// The loss of a step, how many of its predictions are right, and how many of its targets count,
// which negative ones and `ignored` do not, as three floats. One block: the sum of whole numbers is
// exact in any order, and no step is large enough to want more.

extern "C" __global__ void meter_score(
    const float *loss, const float *logits, const long long *target, float *out, long long count,
    int classes, long long ignored) {
    long long right = 0, counted = 0;
    for (long long first = 0; first < count; first += blockDim.x) {
        const long long row = first + threadIdx.x;
        bool hit = false, counts = false;
        if (row < count) {
            const float *x = logits + row * classes;
            int best = 0;
            for (int c = 1; c < classes; ++c) {  // the first of equals, and of NaNs, as argmax
                if (x[c] > x[best] || (isnan(x[c]) && !isnan(x[best]))) best = c;
            }
            counts = target[row] >= 0 && target[row] != ignored;
            hit = counts && best == target[row];
        }
        right += __syncthreads_count(hit);
        counted += __syncthreads_count(counts);
    }
    if (threadIdx.x == 0) {
        out[0] = loss[0];
        out[1] = float(right);
        out[2] = float(counted);
    }
}

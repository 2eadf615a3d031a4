extern "C" __global__ void draw(const float* spots, float* picture, int count, int S) {
    const int p = blockIdx.x * blockDim.x + threadIdx.x;
    if (p >= S * S) return;
    float sum[3] = {0.0f, 0.0f, 0.0f};
    for (int k = 0; k < count; k++) {
        const float* s = spots + 6 * k;  // y, x, log width, color
        const float dy = (p / S + 0.5f) / S - s[0], dx = (p % S + 0.5f) / S - s[1];
        const float e = expf(-0.5f * (dy * dy + dx * dx) * expf(-2.0f * s[2]));
        for (int c = 0; c < 3; c++) sum[c] += s[3 + c] * e;
    }
    for (int c = 0; c < 3; c++) picture[3 * p + c] = sum[c];
}
extern "C" __global__ void draw_backward(const float* grad, const float* spots,
                                         float* slopes, int S) {
    __shared__ float parts[THREADS][6];
    const float* s = spots + 6 * blockIdx.x;
    const float sharp = expf(-2.0f * s[2]);  // 1 / width²
    float sum[6] = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
    for (int p = threadIdx.x; p < S * S; p += THREADS) {
        const float dy = (p / S + 0.5f) / S - s[0], dx = (p % S + 0.5f) / S - s[1];
        const float r = (dy * dy + dx * dx) * sharp, e = expf(-0.5f * r);
        float g = 0.0f;
        for (int c = 0; c < 3; c++) {
            g += grad[3 * p + c] * s[3 + c] * e;
            sum[3 + c] += grad[3 * p + c] * e;
        }
        sum[0] += g * dy * sharp;
        sum[1] += g * dx * sharp;
        sum[2] += g * r;
    }
    for (int i = 0; i < 6; i++) parts[threadIdx.x][i] = sum[i];
    __syncthreads();
    if (threadIdx.x >= 6) return;
    float total = 0.0f;
    for (int t = 0; t < THREADS; t++) total += parts[t][threadIdx.x];
    slopes[6 * blockIdx.x + threadIdx.x] = total;
}

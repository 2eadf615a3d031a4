// One batch of a dataset: pixels as float in [0, 1], and labels. A block takes an image at a time.

extern "C" __global__ void gather_batch(
    const unsigned char *images, const long long *labels, const long long *rows, float *x,
    long long *y, long long batch, long long length) {
    for (long long image = blockIdx.x; image < batch; image += gridDim.x) {
        const long long row = rows[image];
        const unsigned char *from = images + row * length;
        float *to = x + image * length;
        if (length % 4 == 0) {
            for (long long i = threadIdx.x; i < length / 4; i += blockDim.x) {
                const uchar4 p = reinterpret_cast<const uchar4 *>(from)[i];
                reinterpret_cast<float4 *>(to)[i] =
                    make_float4(p.x / 255.0f, p.y / 255.0f, p.z / 255.0f, p.w / 255.0f);
            }
        } else {
            for (long long i = threadIdx.x; i < length; i += blockDim.x) to[i] = from[i] / 255.0f;
        }
        if (threadIdx.x == 0) y[image] = labels[row];
    }
}

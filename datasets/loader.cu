// One batch of a dataset: pixels as float in [0, 1], and labels. A block takes an image at a time.
// A row that is none of the `count` images is not read: its pixels become NaN, its label -1.

extern "C" __global__ void gather_batch(
    const unsigned char *images, const long long *labels, const long long *rows, float *x,
    long long *y, long long count, long long batch, long long length) {
    for (long long image = blockIdx.x; image < batch; image += gridDim.x) {
        const long long row = rows[image];
        const bool there = row >= 0 && row < count;
        const unsigned char *from = images + (there ? row : 0) * length;
        float *to = x + image * length;
        if (!there) {
            for (long long i = threadIdx.x; i < length; i += blockDim.x) {
                to[i] = __int_as_float(0x7fc00000);
            }
        } else if (length % 4 == 0) {
            for (long long i = threadIdx.x; i < length / 4; i += blockDim.x) {
                const uchar4 p = reinterpret_cast<const uchar4 *>(from)[i];
                reinterpret_cast<float4 *>(to)[i] =
                    make_float4(p.x / 255.0f, p.y / 255.0f, p.z / 255.0f, p.w / 255.0f);
            }
        } else {
            for (long long i = threadIdx.x; i < length; i += blockDim.x) to[i] = from[i] / 255.0f;
        }
        if (threadIdx.x == 0) y[image] = there ? labels[row] : -1;
    }
}

// The next words of a stream, in device memory.

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
    philox_words(u64* __restrict__ words, long long count, u64* state, u64 number) {
    const Stream stream = begin(state, number);
    const long long step = (long long)gridDim.x * THREADS;
    for (long long i = (long long)blockIdx.x * THREADS + threadIdx.x; 4 * i < count; i += step) {
        const Words drawn = philox(stream, i);
        if (4 * i + 4 <= count) {
            ((ulonglong2*)words)[2 * i] = make_ulonglong2(drawn.word[0], drawn.word[1]);
            ((ulonglong2*)words)[2 * i + 1] = make_ulonglong2(drawn.word[2], drawn.word[3]);
        } else {
#pragma unroll
            for (int k = 0; k < 3; ++k)
                if (4 * i + k < count) words[4 * i + k] = drawn.word[k];
        }
    }
    end(stream, state, count);
}

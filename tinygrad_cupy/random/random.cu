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

// The same of a part: of each of `outer` rows of `each` words `count`, from word `first` of the row
// on. A thread draws a block of four words of the row and keeps those that are wanted.
extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
    philox_words_of_part(u64* __restrict__ words, long long outer, long long count, long long first,
                         long long each, long long total, u64* state, u64 number) {
    const Stream stream = begin(state, number);
    const long long most = count / 4 + 2;  // blocks that a row's part may lie in
    const long long step = (long long)gridDim.x * THREADS;
    for (long long i = (long long)blockIdx.x * THREADS + threadIdx.x; i < outer * most; i += step) {
        const long long row = i / most, from = row * each + first;
        const long long block = from / 4 + i % most;
        if (4 * block >= from + count) continue;
        const Words drawn = philox(stream, block);
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            const long long place = 4 * block + k - from;
            if (place >= 0 && place < count) words[row * count + place] = drawn.word[k];
        }
    }
    end(stream, state, total);
}

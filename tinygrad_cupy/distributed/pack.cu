// Gradients gathered into one buffer, which the ranks reduce in one exchange.

// A row of the table: where an array lies (0: it counts as zeros), where in the buffer it begins,
// how many elements it has, what they are multiplied by, where its flag stands, plus one, and the
// first of its blocks, of EACH elements.
struct Row {
    const T* from;
    u64 start, size;
    double scale;
    u64 flag, first;
};

struct Table {
    Row rows[ROWS];
};

constexpr int WIDE = sizeof(T) < 16 ? 16 / sizeof(T) : 1;  // elements that a thread moves at once

struct alignas(WIDE * sizeof(T)) Wide {
    T at[WIDE];
};

extern "C" __global__ void __launch_bounds__(THREADS)
    pack(const __grid_constant__ Table table, T* __restrict__ buffer, int rows) {
    int number = 0;
    while (number + 1 < rows && table.rows[number + 1].first <= blockIdx.x) ++number;
    const Row row = table.rows[number];
    const T scale = (T)row.scale;
    T* const to = buffer + row.start;
    const u64 begin = (blockIdx.x - row.first) * EACH;
    const u64 end = begin + EACH < row.size ? begin + EACH : row.size;
    u64 i = begin + threadIdx.x * WIDE;
    if (((u64)row.from | (u64)to) % sizeof(Wide) == 0) {
        for (; i + WIDE <= end; i += THREADS * WIDE) {
            Wide some = row.from ? *(const Wide*)(row.from + i) : Wide{};
#pragma unroll
            for (int k = 0; k < WIDE; ++k) some.at[k] *= scale;
            *(Wide*)(to + i) = some;
        }
        for (; i < end; ++i) to[i] = row.from ? row.from[i] * scale : (T)0;  // less than WIDE
    } else {
        for (i = begin + threadIdx.x; i < end; i += THREADS)
            to[i] = row.from ? row.from[i] * scale : (T)0;
    }
    if (row.flag && begin == 0 && threadIdx.x == 0) buffer[row.flag - 1] = row.from ? 1 : 0;
}

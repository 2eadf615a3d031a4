// Gradients gathered into one buffer, which the ranks reduce in one exchange.

// A row of the table: where an array lies (0: it counts as zeros), where in the buffer it begins,
// how many elements it has, what they are multiplied by, and where its flag stands, plus one.
struct Row {
    const T* from;
    u64 start, size;
    double scale;
    u64 flag;
};

struct Table {
    Row rows[ROWS];
};

// A row of blocks for each row of the table.
extern "C" __global__ void __launch_bounds__(THREADS)
    pack(const Table table, T* __restrict__ buffer) {
    const Row row = table.rows[blockIdx.y];
    const T scale = (T)row.scale;
    T* const to = buffer + row.start;
    const u64 step = (u64)gridDim.x * THREADS;
    for (u64 i = (u64)blockIdx.x * THREADS + threadIdx.x; i < row.size; i += step)
        to[i] = row.from ? row.from[i] * scale : (T)0;
    if (row.flag && blockIdx.x == 0 && threadIdx.x == 0) buffer[row.flag - 1] = row.from ? 1 : 0;
}

// What the kernels of rows share.

// The row that a place says: from the end where it is negative, and modulo the number of rows
// beyond, so that nothing outside of an array is read or written.
__device__ i64 row_of(i64 place, i64 rows) {
    if ((u64)place < (u64)rows) return place;
    place %= rows;
    return place < 0 ? place + rows : place;
}

#ifdef INDEX
// Element i of (blocks, middles, columns), counted in INDEX, u32 or u64.
struct Element {
    INDEX block, middle, column;
    __device__ Element(INDEX i, INDEX columns, INDEX middles) {
        column = i % columns;
        i /= columns;
        middle = i % middles;
        block = i / middles;
    }
};
#endif

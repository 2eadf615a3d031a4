// Rows taken and written by index; add_rows.cu adds them up.
//
// Letters as in rows.py: P blocks of R rows of K elements, of which M places say a row each. A
// place counts from the end where it is negative, and is taken modulo R beyond: nothing outside
// of an array is read or written.
//
// What is read or written once (__ldcs, __stcs) leaves the cache to what lies anywhere.
//
// Macros: UNIT, what is copied at once (an element, or 16 bytes of a row); INDEX, in which all
// elements are counted, u32 or u64.

// Whether a later one of the places (M) says the same row as place m: what owner (R) says, see
// rows_claim, or a look at all of them if ``looks``; no where there is neither.
__device__ bool is_written_over(const i64* places, const u32* owner, bool looks, INDEX m, i64 row,
                                INDEX count, i64 rows) {
    if (owner) return owner[row] != m + 1;
    if (!looks) return false;
    bool found = false;
#pragma unroll 4
    for (INDEX later = m + 1; later < count; ++later) found |= row_of(places[later], rows) == row;
    return found;
}

// y (P, M, K) of x (P, R, K) at places (M), but 0 where a later place says the same row: see above.
extern "C" __global__ void __launch_bounds__(THREADS)
    rows_take(const UNIT* __restrict__ x, const i64* __restrict__ places,
              const u32* __restrict__ owner, UNIT* __restrict__ y, INDEX total, INDEX count,
              INDEX columns, i64 rows, i64 looks) {
    const INDEX i = (INDEX)blockIdx.x * THREADS + threadIdx.x;
    if (i >= total) return;
    const Element at(i, columns, count);
    const i64 row = row_of(places[at.middle], rows);
    UNIT found = x[(at.block * rows + row) * columns + at.column];
    if (is_written_over(places, owner, looks, at.middle, row, count, rows)) found = UNIT{};
    __stcs(y + i, found);
}

// out (P, R, K) at places (M) becomes values (P, M, K), by strides, or fill where these are null.
// But not where a later place says the same row: see above.
extern "C" __global__ void __launch_bounds__(THREADS)
    rows_put(UNIT* __restrict__ out, const i64* __restrict__ places,
             const UNIT* __restrict__ values, UNIT fill, const u32* __restrict__ owner,
             INDEX total, INDEX count, INDEX columns, i64 rows, i64 looks, i64 by_block,
             i64 by_place, i64 by_column) {
    const INDEX i = (INDEX)blockIdx.x * THREADS + threadIdx.x;
    if (i >= total) return;
    const Element at(i, columns, count);
    const i64 row = row_of(places[at.middle], rows);
    if (is_written_over(places, owner, looks, at.middle, row, count, rows)) return;
    if (values) fill = values[at.block * by_block + at.middle * by_place + at.column * by_column];
    out[(at.block * rows + row) * columns + at.column] = fill;
}

// y (P, R, K) is x, but 0 in the rows that places (M) say: they have an owner, see rows_claim, or a
// look at all places finds them.
extern "C" __global__ void __launch_bounds__(THREADS)
    rows_without(const UNIT* __restrict__ x, const i64* __restrict__ places,
                 const u32* __restrict__ owner, UNIT* __restrict__ y, INDEX total, INDEX count,
                 INDEX columns, i64 rows) {
    const INDEX i = (INDEX)blockIdx.x * THREADS + threadIdx.x;
    if (i >= total) return;
    const i64 row = i / columns % rows;
    bool found = owner && owner[row];
    if (!owner) {
#pragma unroll 4
        for (INDEX m = 0; m < count; ++m) found |= row_of(places[m], rows) == row;
    }
    UNIT kept = x[i];
    if (found) kept = UNIT{};
    y[i] = kept;
}

// owner (R), zeros: the number of the last place that says a row, counted from 1. An atomic maximum
// of integers is the same in every run.
extern "C" __global__ void __launch_bounds__(THREADS)
    rows_claim(const i64* __restrict__ places, u32* owner, INDEX count, i64 rows) {
    const INDEX m = (INDEX)blockIdx.x * THREADS + threadIdx.x;
    if (m < count) atomicMax(owner + row_of(places[m], rows), (u32)m + 1);
}

// --- each line by places of its own -------------------------------------------------------------

// y (P, M, K) of x (P, R, K) at places (P, M, K).
extern "C" __global__ void __launch_bounds__(THREADS)
    lines_take(const UNIT* __restrict__ x, const i64* __restrict__ places, UNIT* __restrict__ y,
               INDEX total, INDEX count, INDEX columns, i64 rows) {
    const INDEX i = (INDEX)blockIdx.x * THREADS + threadIdx.x;
    if (i >= total) return;
    const Element at(i, columns, count);
    const i64 row = row_of(__ldcs(places + i), rows);
    __stcs(y + i, x[(at.block * rows + row) * columns + at.column]);
}

// out (P, R, K) at places (P, M, K), of which no two are one, becomes values (P, M, K).
extern "C" __global__ void __launch_bounds__(THREADS)
    lines_put(const UNIT* __restrict__ values, const i64* __restrict__ places,
              UNIT* __restrict__ out, INDEX total, INDEX count, INDEX columns, i64 rows) {
    const INDEX i = (INDEX)blockIdx.x * THREADS + threadIdx.x;
    if (i >= total) return;
    const Element at(i, columns, count);
    const i64 row = row_of(__ldcs(places + i), rows);
    out[(at.block * rows + row) * columns + at.column] = __ldcs(values + i);
}

// Values added up by the row that their place says, without atomics on floats: the same bits in
// every run. Where a row has few values, they are added one after the other.
//
// Letters as in rows.py: y (P, R, K) of values (P, M, K). Three ways:
//
// - of a few places every row looks at all;
// - where rows have about one value each, lists lead from a row to its values. Integers are
//   exchanged atomically to link them, so they stand in any order, and are sorted before they are
//   added up. A block takes a row of many values, which then are the strided sums of its threads;
// - else the places are sorted (places.cu), and a run of equal ones is added up in parts, each
//   within CHUNK places: first those of a part one after the other, then the parts.
//
// Macros: TYPE and ACC of the values, SUM in which they are added up, double or i64; PLACE, u32 or
// i64, of sorted places; CHUNK; LISTED, the values of a list that a thread sorts; LONGEST, those
// that a block sorts; INDEX as in rows.cu.

const int TILE = 1024;  // places that a block looks at together
const u32 NOWHERE = 0xffffffffu;

__device__ T rounded(SUM sum) {
#ifdef HALF
    return __double2half(sum);
#elif defined(BFLOAT)
    return __double2bfloat16(sum);
#else
    return (T)sum;
#endif
}

// The column of the values (P, M, K) that an element of (P, …, K) is made of.
__device__ const T* column_of(const T* values, const Element& at, INDEX count, INDEX columns) {
    return values + at.block * count * columns + at.column;
}

// --- a few places -------------------------------------------------------------------------------

// A thread for every element of y.
extern "C" __global__ void __launch_bounds__(THREADS)
    sums_of_few(const T* __restrict__ values, const i64* __restrict__ places, T* __restrict__ y,
                INDEX total, INDEX count, INDEX columns, INDEX rows) {
    __shared__ __align__(16) u32 keys[TILE];
    const INDEX i = (INDEX)blockIdx.x * THREADS + threadIdx.x;
    const Element at(i < total ? i : 0, columns, rows);
    const T* mine = column_of(values, at, count, columns);
    const u32 row = at.middle;
    SUM sum = 0;
    for (INDEX base = 0; base < count; base += TILE) {
        __syncthreads();
        for (int j = threadIdx.x; j < TILE; j += THREADS) {
            keys[j] = base + j < count ? (u32)row_of(places[base + j], rows) : NOWHERE;
        }
        __syncthreads();
        const int fours = (int)(min(count - base, (INDEX)TILE) + 3) / 4;
#pragma unroll 4
        for (int q = 0; q < fours; ++q) {
            const uint4 four = reinterpret_cast<const uint4*>(keys)[q];
            if (four.x != row && four.y != row && four.z != row && four.w != row) continue;
            const T* from = mine + (base + 4 * q) * columns;
            if (four.x == row) sum += (SUM)(A)from[0];
            if (four.y == row) sum += (SUM)(A)from[columns];
            if (four.z == row) sum += (SUM)(A)from[2 * columns];
            if (four.w == row) sum += (SUM)(A)from[3 * columns];
        }
    }
    if (i < total) y[i] = rounded(sum);
}

// --- about one value a row ----------------------------------------------------------------------

// heads (R), zeros, and next (M): from a row to the places that say it, counted from 1; 0 ends.
extern "C" __global__ void __launch_bounds__(THREADS)
    link_places(const i64* __restrict__ places, u32* heads, u32* __restrict__ next, u32 count,
                i64 rows) {
    const u32 m = blockIdx.x * THREADS + threadIdx.x;
    if (m >= count) return;
    __stcs(next + m, atomicExch(heads + row_of(__ldcs(places + m), rows), m + 1));
}

// y of lists of up to LISTED places, a thread for every element. Rows of more are named in longer
// (…), as many as *number, which is 0 before.
extern "C" __global__ void __launch_bounds__(THREADS)
    sums_of_lists(const T* __restrict__ values, const u32* __restrict__ heads,
                  const u32* __restrict__ next, T* __restrict__ y, u32* longer, u32* number,
                  INDEX total, INDEX count, INDEX columns, INDEX rows) {
    const INDEX i = (INDEX)blockIdx.x * THREADS + threadIdx.x;
    if (i >= total) return;
    const Element at(i, columns, rows);
    const T* mine = column_of(values, at, count, columns);
    u32 m = heads[at.middle], listed[LISTED];
    A value[LISTED];
#pragma unroll
    for (int k = 0; k < LISTED; ++k) {
        listed[k] = NOWHERE;
        value[k] = 0;
        if (!m) continue;
        listed[k] = m;
        value[k] = (A)mine[(INDEX)(m - 1) * columns];
        m = next[m - 1];
#pragma unroll
        for (int j = k; j; --j) {  // unrolled, the lists are registers
            if (listed[j - 1] < listed[j]) continue;
            const u32 place = listed[j];
            const A moved = value[j];
            listed[j] = listed[j - 1];
            value[j] = value[j - 1];
            listed[j - 1] = place;
            value[j - 1] = moved;
        }
    }
    if (m) {
        if (!at.column && !at.block) longer[atomicAdd(number, 1u)] = (u32)at.middle;
        return;
    }
    SUM sum = 0;
#pragma unroll
    for (int k = 0; k < LISTED; ++k) sum += (SUM)value[k];
    y[i] = rounded(sum);
}

__device__ void sort_list(u32* list, u32 length) {
    for (u32 size = 2; size <= length; size *= 2) {
        for (u32 step = size / 2; step; step /= 2) {
            __syncthreads();
            for (u32 i = threadIdx.x; i < length / 2; i += THREADS) {
                const u32 low = 2 * i - (i & (step - 1)), high = low + step;
                const u32 a = list[low], b = list[high];
                if ((a > b) == !(low & size)) {
                    list[low] = b;
                    list[high] = a;
                }
            }
        }
    }
    __syncthreads();
}

// y of the longer lists: a block for one after the other. Of more than LONGEST places it looks at
// all there are.
extern "C" __global__ void __launch_bounds__(THREADS)
    sums_of_longer_lists(const T* __restrict__ values, const i64* __restrict__ places,
                         const u32* __restrict__ heads, const u32* __restrict__ next,
                         T* __restrict__ y, const u32* __restrict__ longer,
                         const u32* __restrict__ number, INDEX lines, INDEX count, INDEX columns,
                         INDEX rows) {
    __shared__ u32 list[LONGEST], length;
    __shared__ SUM sums[THREADS];
    for (u32 of = blockIdx.x; of < *number; of += gridDim.x) {
        const u32 row = longer[of];
        if (!threadIdx.x) {
            u32 n = 0, m = heads[row];
            for (; m && n < LONGEST; m = next[m - 1]) list[n++] = m;
            length = m ? NOWHERE : n;
        }
        __syncthreads();
        const u32 n = length;
        u32 padded = 2;
        while (padded < n && padded < LONGEST) padded *= 2;
        if (n != NOWHERE) {
            for (u32 j = n + threadIdx.x; j < padded; j += THREADS) list[j] = NOWHERE;
            sort_list(list, padded);
        }
        for (INDEX line = 0; line < lines; ++line) {  // of (P, K)
            const Element at(line / columns * rows * columns + line % columns, columns, rows);
            const T* mine = column_of(values, at, count, columns);
            SUM sum = 0;
            if (n != NOWHERE) {
                for (u32 j = threadIdx.x; j < n; j += THREADS) {
                    sum += (SUM)(A)mine[(INDEX)(list[j] - 1) * columns];
                }
            } else {
#pragma unroll 4
                for (INDEX m = threadIdx.x; m < count; m += THREADS) {
                    if (row_of(places[m], rows) == row) sum += (SUM)(A)mine[m * columns];
                }
            }
            sums[threadIdx.x] = sum;
            for (int half = THREADS / 2; half; half /= 2) {
                __syncthreads();
                if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
            }
            if (!threadIdx.x) y[(at.block * rows + row) * columns + at.column] = rounded(sums[0]);
            __syncthreads();
        }
    }
}

// --- many a row ---------------------------------------------------------------------------------

// found and order (M): the places in ascending order, and what stood where. y, zeros, where a run
// is a single part; other parts (P, chunks, 2, K): [0] the one that a run begins with, [1] others.
// A thread for every element of values.
extern "C" __global__ void __launch_bounds__(THREADS)
    sums_of_parts(const T* __restrict__ values, const PLACE* __restrict__ found,
                  const PLACE* __restrict__ order, T* __restrict__ y, SUM* __restrict__ parts,
                  INDEX total, INDEX count, INDEX columns, i64 rows, INDEX chunks) {
    const INDEX i = (INDEX)blockIdx.x * THREADS + threadIdx.x;
    if (i >= total) return;
    const Element at(i, columns, count);
    const INDEX m = at.middle, chunk = m / CHUNK, stop = min(count, (chunk + 1) * CHUNK);
    const PLACE here = found[m];
    const bool begins = m == 0 || found[m - 1] != here;
    if (!begins && m % CHUNK) return;
    const T* mine = column_of(values, at, count, columns);
    SUM sum = (SUM)(A)mine[order[m] * columns];
    INDEX j = m + 1;
    for (; j < stop && found[j] == here; ++j) sum += (SUM)(A)mine[order[j] * columns];
    if (begins && (j == count || found[j] != here)) {
        y[(at.block * rows + here) * columns + at.column] = rounded(sum);
    } else {
        parts[((at.block * chunks + chunk) * 2 + !begins) * columns + at.column] = sum;
    }
}

// The runs of several parts. A thread for every element of (P, chunks, K).
extern "C" __global__ void __launch_bounds__(THREADS)
    sums_of_runs(const PLACE* __restrict__ found, const SUM* __restrict__ parts, T* __restrict__ y,
                 INDEX total, INDEX count, INDEX columns, i64 rows, INDEX chunks) {
    const INDEX i = (INDEX)blockIdx.x * THREADS + threadIdx.x;
    if (i >= total) return;
    const Element at(i, columns, chunks);
    const INDEX chunk = at.middle, next = (chunk + 1) * CHUNK;
    if (next >= count) return;
    const PLACE here = found[next - 1];
    if (found[next] != here) return;                        // it ends with its chunk
    if (chunk && found[chunk * CHUNK - 1] == here) return;  // it began before
    INDEX low = chunk + 1, high = chunks - 1;               // the last chunk that begins with it
    while (low < high) {
        const INDEX middle = (low + high + 1) / 2;
        if (found[middle * CHUNK] == here) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    const SUM* mine = parts + (at.block * chunks * 2) * columns + at.column;
    SUM sum = mine[chunk * 2 * columns];
#pragma unroll 8
    for (INDEX j = chunk + 1; j <= low; ++j) sum += mine[(j * 2 + 1) * columns];
    y[(at.block * rows + here) * columns + at.column] = rounded(sum);
}

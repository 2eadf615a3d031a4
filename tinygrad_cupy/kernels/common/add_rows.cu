// Values added up by the row that their place says, without atomics: the same bits in every run.
//
// Letters as in rows.py. found and order (M) are the places in ascending order and what stood
// where; equal ones stand in the order of their values. A run of equal places is one row's, and is
// added up in parts, each within CHUNK places: first those of a part one after the other, then the
// parts.
//
// Macros: TYPE and ACC of the values, SUM in which they are added up, double or i64; PLACE of found
// and order; CHUNK; INDEX as in rows.cu.

__device__ T rounded(SUM sum) {
#ifdef HALF
    return __double2half(sum);
#elif defined(BFLOAT)
    return __double2bfloat16(sum);
#else
    return (T)sum;
#endif
}

// y (P, R, K), zeros, where a run is a single part; other parts (P, chunks, 2, K): [0] that with
// which a run begins, [1] the others. A thread for every element of values (P, M, K).
extern "C" __global__ void __launch_bounds__(THREADS)
    sums_of_parts(const T* __restrict__ values, const PLACE* __restrict__ found,
                  const PLACE* __restrict__ order, T* __restrict__ y, SUM* __restrict__ parts,
                  INDEX total, INDEX count, INDEX columns, i64 rows, INDEX chunks) {
    const INDEX i = (INDEX)blockIdx.x * THREADS + threadIdx.x;
    if (i >= total) return;
    const INDEX column = i % columns, m = i / columns % count, block = i / columns / count;
    const PLACE here = found[m];
    const bool begins = m == 0 || found[m - 1] != here;
    if (!begins && m % CHUNK) return;
    const T* of_block = values + block * count * columns + column;
    const INDEX chunk = m / CHUNK, stop = min(count, (chunk + 1) * CHUNK);
    SUM sum = (SUM)(A)of_block[order[m] * columns];
    INDEX j = m + 1;
    for (; j < stop && found[j] == here; ++j) sum += (SUM)(A)of_block[order[j] * columns];
    if (begins && (j == count || found[j] != here)) {
        y[(block * rows + here) * columns + column] = rounded(sum);
    } else {
        parts[((block * chunks + chunk) * 2 + !begins) * columns + column] = sum;
    }
}

// The runs of several parts. A thread for every element of (P, chunks, K).
extern "C" __global__ void __launch_bounds__(THREADS)
    sums_of_runs(const PLACE* __restrict__ found, const SUM* __restrict__ parts, T* __restrict__ y,
                 INDEX total, INDEX count, INDEX columns, i64 rows, INDEX chunks) {
    const INDEX i = (INDEX)blockIdx.x * THREADS + threadIdx.x;
    if (i >= total) return;
    const INDEX column = i % columns, chunk = i / columns % chunks, block = i / columns / chunks;
    INDEX next = (chunk + 1) * CHUNK;
    if (next >= count) return;
    const PLACE here = found[next - 1];
    if (found[next] != here) return;                            // it ends with its chunk
    if (chunk && found[chunk * CHUNK - 1] == here) return;      // it began before
    const SUM* of_chunk = parts + (block * chunks + chunk) * 2 * columns + column;
    SUM sum = *of_chunk;
    for (; next < count && found[next] == here; next += CHUNK) {
        of_chunk += 2 * columns;
        sum += of_chunk[columns];
    }
    y[(block * rows + here) * columns + column] = rounded(sum);
}

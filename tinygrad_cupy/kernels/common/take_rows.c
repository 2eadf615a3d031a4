/* Rows taken by index, of elements of any type: K counts bytes. */

INLINE void take_rows(
    const Rows *s, const Share *share, const char *restrict x, const Int *restrict places,
    char *restrict y, uint8_t *wrong, Int size)
{
  const Rows r = *s; /* what is written may not change it */
  EACH_PART (share, part) {
    Int n = part * share->each, end = part_end(share, part), missed = 0;
    while (n < end) { /* the rest of a block, or of the part */
      Int m = n % r.places, stop = n - m + r.places;
      const char *block = x + n / r.places * r.rows * size;
      for (stop = stop < end ? stop : end; n < stop; n++, m++) {
        Int row = row_at(&r, places[m]);
        if (row >= 0)
          memcpy(y + n * size, block + row * size, size);
        else
          missed = 1;
      }
    }
    wrong[part] = missed;
  }
}

/* y (P, M, K) = x (P, R, K) at the places; a part with a wrong one is marked. */
void rows_take(
    const Rows *s, const Share *share, const char *x, const Int *places, char *y, uint8_t *wrong,
    float *scratch)
{
  (void)scratch;
  switch (s->columns) {
    case 2: take_rows(s, share, x, places, y, wrong, 2); break;
    case 4: take_rows(s, share, x, places, y, wrong, 4); break;
    case 8: take_rows(s, share, x, places, y, wrong, 8); break;
    case 16: take_rows(s, share, x, places, y, wrong, 16); break;
    case 64: take_rows(s, share, x, places, y, wrong, 64); break;
    case 128: take_rows(s, share, x, places, y, wrong, 128); break;
    default: take_rows(s, share, x, places, y, wrong, s->columns);
  }
}
TASK(rows_take, 4)

/* Which of the places (M,), from either end, are the last of those that say their row; seen (R,)
   is 0 everywhere. How many are not; -1 where a place is none of the R. By the calling thread. */
int64_t rows_last(Int rows, Int count, const Int *places, uint8_t *seen, uint8_t *last)
{
  Int repeats = 0;
  for (Int m = count - 1; m >= 0; m--) {
    Int row = places[m] < 0 ? places[m] + rows : places[m];
    if (row < 0 || row >= rows) return -1;
    last[m] = !seen[row];
    repeats += seen[row];
    seen[row] = 1;
  }
  return repeats;
}

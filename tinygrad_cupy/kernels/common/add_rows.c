/* Rows added by index: y (P, R, K) is the sums of the values (P, M, K) whose place says that row,
   added up in float64, in the order in which they stand, and rounded once. NUMBER is their type.

   Sums of a block that fit in a cache are made at one go. Of more, rows are dealt out to buckets
   first, whose sums fit: what is written anywhere else is written in order. */

INLINE void add_row(double *restrict sum, const NUMBER *restrict values, Int columns)
{
  for (Int k = 0; k < columns; k++) sum[k] += values[k];
}

/* Values m to ``end`` of a block, added to ``sums`` (R, K); 0 where a place is wrong. */
INLINE int add_block(
    const Rows *s, const Int *restrict places, const NUMBER *restrict values, Int m, Int end,
    double *restrict sums, Int columns)
{
  for (; m < end; m++) {
    Int row = row_at(s, places[m]);
    if (row < 0) return 0;
    add_row(sums + row * columns, values + m * columns, columns);
  }
  return 1;
}

static int add_places(
    const Rows *s, const Int *places, const NUMBER *values, Int m, Int end, double *sums)
{
  if (s->columns == 1) return add_block(s, places, values, m, end, sums, 1);
  return add_block(s, places, values, m, end, sums, s->columns);
}

/* Few values, by the calling thread; sums (R, K) is memory to work in. 0 where a place is wrong. */
int rows_add_few(
    Int blocks, Int rows, Int count, Int columns, const Int *places, const NUMBER *values,
    NUMBER *y, double *sums)
{
  Rows s = {.rows = rows, .places = count, .columns = columns};
  Int size = rows * columns;
  for (Int p = 0; p < blocks; p++) {
    memset(sums, 0, size * sizeof(double));
    if (!add_places(&s, places, values + p * count * columns, 0, count, sums)) return 0;
    for (Int i = 0; i < size; i++) y[p * size + i] = (NUMBER)sums[i];
  }
  return 1;
}

/* Block by block; scratch holds the sums of one. */
void rows_add_blocks(
    const Rows *s, const Share *share, const Int *places, const NUMBER *values, NUMBER *y,
    uint8_t *wrong, float *scratch)
{
  Int size = s->rows * s->columns;
  double *sums = (double *)scratch;
  EACH_ITEM (share, part, p) {
    memset(sums, 0, size * sizeof(double));
    const NUMBER *block = values + p * s->places * s->columns;
    if (!add_places(s, places, block, 0, s->places, sums)) wrong[part] = 1;
    for (Int i = 0; i < size; i++) y[p * size + i] = (NUMBER)sums[i];
  }
}
TASK(rows_add_blocks, 4)

/* One block: each part of its values into sums (parts, R, K) of its own. */
void rows_add_parts(
    const Rows *s, const Share *share, const Int *places, const NUMBER *values, double *sums,
    uint8_t *wrong, float *scratch)
{
  Int size = s->rows * s->columns;
  (void)scratch;
  EACH_PART (share, part) {
    double *own = sums + part * size;
    memset(own, 0, size * sizeof(double));
    Int first = part * share->each, end = part_end(share, part);
    if (!add_places(s, places, values, first, end, own)) wrong[part] = 1;
  }
}
TASK(rows_add_parts, 4)

/* --- buckets --------------------------------------------------------------------------------- */

/* What stands in a bucket: a row, counted in it, and its value; of several, where they are. */
typedef struct {
  ENTRY row;
  union {
    NUMBER value;
    ENTRY item;
  } is;
} Entry;

/* counts (parts, buckets): how many of a part's values go into each bucket. */
void rows_count(
    const Rows *s, const Share *share, const Int *places, Int *counts, uint8_t *wrong,
    float *scratch)
{
  (void)scratch;
  EACH_PART (share, part) {
    Int *own = counts + part * s->buckets;
    memset(own, 0, s->buckets * sizeof(Int));
    Int n = part * share->each, end = part_end(share, part);
    Int m = n % s->places, first = n / s->places * s->rows; /* row of the block */
    for (; n < end; n++) {
      Int row = row_at(s, places[m]);
      if (row < 0) {
        wrong[part] = 1;
        break;
      }
      own[(first + row) >> s->shift]++;
      if (++m == s->places) m = 0, first += s->rows;
    }
  }
}
TASK(rows_count, 3)

/* The entries, each at the next free place of its part in its bucket: ``next`` (parts, buckets). */
void rows_deal(
    const Rows *s, const Share *share, const Int *places, const NUMBER *values, Int *next,
    Entry *entries, float *scratch)
{
  Int inside = ((Int)1 << s->shift) - 1;
  (void)scratch;
  EACH_PART (share, part) {
    Int *own = next + part * s->buckets;
    Int n = part * share->each, end = part_end(share, part);
    Int m = n % s->places, first = n / s->places * s->rows;
    for (; n < end; n++) {
      Int row = first + row_at(s, places[m]);
      Entry *entry = entries + own[row >> s->shift]++;
      entry->row = (ENTRY)(row & inside);
      if (s->columns == 1)
        entry->is.value = values[n];
      else
        entry->is.item = (ENTRY)n;
      if (++m == s->places) m = 0, first += s->rows;
    }
  }
}
TASK(rows_deal, 4)

/* The sums of each bucket, whose entries end at ``ends``, in scratch and then in y. */
void rows_add_buckets(
    const Rows *s, const Share *share, const Entry *entries, const Int *ends,
    const NUMBER *values, NUMBER *y, float *scratch)
{
  Int columns = s->columns, size = columns << s->shift;
  double *sums = (double *)scratch;
  EACH_ITEM (share, part, bucket) {
    Int left = s->total * columns - bucket * size, count = left < size ? left : size;
    memset(sums, 0, count * sizeof(double));
    const Entry *end = entries + ends[bucket];
    const Entry *entry = entries + (bucket ? ends[bucket - 1] : 0);
    if (columns == 1)
      for (; entry < end; entry++) sums[entry->row] += entry->is.value;
    else
      for (; entry < end; entry++)
        add_row(sums + entry->row * columns, values + (Int)entry->is.item * columns, columns);
    NUMBER *out = y + bucket * size;
    for (Int i = 0; i < count; i++) out[i] = (NUMBER)sums[i];
  }
}
TASK(rows_add_buckets, 4)

/* Images (outer, rows_in, cols_in) of TYPE, float or double, resized to (outer, rows, cols).

   Rows are sums of neighbouring rows, and columns of neighbouring columns, as band matrices say:
   element i takes weight[k * n + i] of place start[i] + k, for k below its taps. Starts never fall.
   What is smaller goes first: where there are more rows than before, columns are resized while a
   row is read, and the resized rows are kept until none of those that follow reads them. */

/* What Python passes; all are Int. taps of columns are 0 where they stay as they are. */
typedef struct {
  Int rows_in, rows, row_taps, cols_in, cols, col_taps;
} Resize;

/* y (n) = the weighted sum of rows; a weight of 0 does not count, whatever the row holds. */
INLINE void sum_rows(
    Int n, Int taps, const TYPE *const *row, const TYPE *weight, TYPE *restrict y)
{
  Int k = 0;
  if (!taps) memset(y, 0, n * sizeof(TYPE));
  for (int first = 1; k < taps; first = 0) {
    const TYPE *restrict a = row[k], *restrict b = row[k + (taps - k > 1)];
    const TYPE u = weight[k], v = weight[k + (taps - k > 1)];
    if (taps - k >= 4) {
      const TYPE *restrict c = row[k + 2], *restrict d = row[k + 3];
      const TYPE w = weight[k + 2], z = weight[k + 3];
      if (first)
        for (Int j = 0; j < n; j++) y[j] = u * a[j] + v * b[j] + w * c[j] + z * d[j];
      else
        for (Int j = 0; j < n; j++) y[j] += u * a[j] + v * b[j] + w * c[j] + z * d[j];
      k += 4;
    } else if (taps - k >= 2) {
      if (first)
        for (Int j = 0; j < n; j++) y[j] = u * a[j] + v * b[j];
      else
        for (Int j = 0; j < n; j++) y[j] += u * a[j] + v * b[j];
      k += 2;
    } else {
      if (first)
        for (Int j = 0; j < n; j++) y[j] = u * a[j];
      else
        for (Int j = 0; j < n; j++) y[j] += u * a[j];
      k += 1;
    }
  }
}

INLINE TYPE part(TYPE weight, TYPE x) { return weight != 0 ? weight * x : 0; }

#define COLUMNS(sum) \
  for (Int j = 0; j < n; j++) { \
    const TYPE *t = x + start[j]; \
    y[j] = sum; \
  }

INLINE void resize_row(
    Int n, Int taps, const int32_t *restrict start, const TYPE *restrict w,
    const TYPE *restrict x, TYPE *restrict y)
{
  const TYPE *v = w + n, *u = w + 2 * n, *z = w + 3 * n;
  if (taps == 1) {
    COLUMNS(part(w[j], t[0]))
  } else if (taps == 2) {
    COLUMNS(part(w[j], t[0]) + part(v[j], t[1]))
  } else if (taps == 3) {
    COLUMNS(part(w[j], t[0]) + part(v[j], t[1]) + part(u[j], t[2]))
  } else if (taps == 4) {
    COLUMNS(part(w[j], t[0]) + part(v[j], t[1]) + part(u[j], t[2]) + part(z[j], t[3]))
  } else {
    for (Int j = 0; j < n; j++) {
      const TYPE *t = x + start[j];
      TYPE sum = 0;
      for (Int k = 0; k < taps; k++) sum += part(w[k * n + j], t[k]);
      y[j] = sum;
    }
  }
}

/* How many numbers of 4 bytes a thread works in: a ring of rows, what they are, and a list. */
int64_t resize_scratch(const Resize *s)
{
  Int taps = s->row_taps, widest = s->cols > s->cols_in ? s->cols : s->cols_in;
  return (taps * (widest + 1) * sizeof(TYPE) + taps * (sizeof(Int) + sizeof(TYPE *)) + 64) / 4;
}

/* y of x; an item of the share is a row of y. */
void resize(
    const Resize *s, const Share *share, const TYPE *x, const int32_t *row_start,
    const TYPE *row_weight, const int32_t *col_start, const TYPE *col_weight, TYPE *y,
    float *scratch)
{
  const Resize r = *s;
  const Int taps = r.row_taps, widen = r.rows >= r.rows_in && r.col_taps;
  const TYPE **list = (const TYPE **)scratch;
  Int *holds = (Int *)(list + taps); /* which row, of all images, a place of the ring has */
  TYPE *weight = (TYPE *)(holds + taps), *ring = weight + taps;
  EACH_PART (share, part) {
    for (Int k = 0; k < taps; k++) holds[k] = -1;
    for (Int n = part * share->each; n < part_end(share, part); n++) {
      Int image = n / r.rows, i = n - image * r.rows, used = 0;
      Int first = image * r.rows_in + row_start[i];
      TYPE *to = y + n * r.cols;
      for (Int k = 0; k < taps; k++) {
        TYPE w = row_weight[k * r.rows + i];
        const TYPE *row = x + (first + k) * r.cols_in;
        if (w == 0) continue;
        if (widen) {
          Int place = (first + k) % taps;
          TYPE *kept = ring + place * r.cols;
          if (holds[place] != first + k) {
            resize_row(r.cols, r.col_taps, col_start, col_weight, row, kept);
            holds[place] = first + k;
          }
          row = kept;
        }
        weight[used] = w;
        list[used++] = row;
      }
      if (widen || !r.col_taps) {
        sum_rows(r.cols, used, list, weight, to);
      } else {
        sum_rows(r.cols_in, used, list, weight, ring);
        resize_row(r.cols, r.col_taps, col_start, col_weight, ring, to);
      }
    }
  }
}
TASK(resize, 6)

/* Sums of float32 on the CPU: over rows, as the gradient of a bias is, and of each row. Runs of 16
   terms are added as they are, those in double. */

typedef struct {
  Int columns;
} Rows;

enum { RUN = 16, WIDE_ENOUGH = 64 };

/* How many rows make a line that is worth adding to another. */
INLINE Int together(Int columns) { return columns < WIDE_ENOUGH ? WIDE_ENOUGH / columns : 1; }

/* Floats that a thread works in: a line, and as doubles another. */
Int sums_scratch(const Rows *s) { return 3 * together(s->columns) * s->columns + 2; }

/* sums (parts, C), double, of the rows of each part of x (R, C). */
void sums_of_columns(
    const Rows *s, const Share *share, const float *all, double *sums, float *scratch)
{
  Int columns = s->columns, rows = together(columns), width = rows * columns;
  double *restrict total = (double *)scratch;
  float *restrict run = (float *)(total + width);
  EACH_PART (share, part) {
    Int first = part * share->each, end = part_end(share, part), lines = (end - first) / rows;
    const float *x = all + first * columns;
    memset(total, 0, 8 * (size_t)width);
    for (Int line = 0; line < lines; line += RUN) {
      Int count = lines - line < RUN ? lines - line : RUN, k = 1;
      memcpy(run, x, 4 * (size_t)width);
      x += width;
      for (; k + 3 <= count; k += 3, x += 3 * width) {
        const float *restrict from = x;
        for (Int i = 0; i < width; i++)
          run[i] += from[i] + from[width + i] + from[2 * width + i];
      }
      for (; k < count; k++, x += width) {
        const float *restrict from = x;
        for (Int i = 0; i < width; i++) run[i] += from[i];
      }
      for (Int i = 0; i < width; i++) total[i] += run[i];
    }
    double *to = sums + part * columns;
    for (Int i = 0; i < columns; i++) {
      double sum = 0;
      for (Int k = 0; k < rows; k++) sum += total[k * columns + i];
      for (Int k = 0; k < end - first - lines * rows; k++) sum += x[k * columns + i];
      to[i] = sum;
    }
  }
}
TASK(sums_of_columns, 2)

/* sums (R,), double, of the rows of x (R, C). */
void sums_of_rows(
    const Rows *s, const Share *share, const float *all, double *sums, float *scratch)
{
  (void)scratch;
  EACH_ITEM(share, part, row) {
    const float *x = all + row * s->columns;
    ROW_SUM(sum, s->columns, WIDE(x + i), x[i]);
    sums[row] = sum;
  }
}
TASK(sums_of_rows, 2)

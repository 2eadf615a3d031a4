/* Scans along the middle axis of arrays (outer, n, inner) of TYPE, float or double, forwards or
   backwards. What is carried from element to element is a double.

   Macros: TYPE, WIDTH, and the operators' numbers, as in reference.py.

   Where inner is 1 a thread takes whole rows, or a part of one that is long; else blocks of WIDTH
   columns, which it walks down side by side. */

/* What Python passes; all are Int. */
typedef struct {
  Int n, inner, op, reverse;
} Scan;

/* ``a`` are factors of a RECURRENCE, and ``starts`` those of a SEGMENTED sum: others read neither.
   ``first`` is the element that a scan begins with, ``step`` leads to the next one. */

/* What ``carry`` becomes at element i, of which the one before in the scan's order is i - step. A
   recurrence that runs backwards is the adjoint of the one that runs forwards: the factor between
   two elements is that of the later one in memory either way, and so is the start of a segment. */
INLINE double carried(
    const int op, const int back, double carry, double x, const TYPE *a, const uint8_t *starts,
    Int i, Int step)
{
  Int later = back ? i - step : i;
  switch (op) {
  case SUM: return carry + x;
  case PRODUCT: return carry * x;
  case MAXIMUM: return x > carry || x != x ? x : carry;
  case MINIMUM: return x < carry || x != x ? x : carry;
  case RECURRENCE: return x + (double)a[later] * carry;
  case SEGMENTED: return starts[later] ? x : carry + x;
  default: return 0;
  }
}

/* ``count`` elements from ``first`` on, to which ``carry`` leads; without one the first is as it
   is. Returns what leads on. */
INLINE double along(
    const int op, const int back, double carry, const int is_led, const TYPE *restrict x,
    const TYPE *restrict a, const uint8_t *restrict starts, TYPE *restrict y, Int first, Int count)
{
  const Int step = back ? -1 : 1;
  Int i = first, end = first + step * count;
  if (!is_led && count) {
    carry = x[i];
    y[i] = carry;
    i += step;
  }
  if (op == SUM) {  /* four at a time: an addition waits for the one before */
    for (; (end - i) * step >= 4; i += 4 * step) {
      double p = x[i], q = x[i + step], r = x[i + 2 * step], pq = p + q;
      double rs = r + x[i + 3 * step];
      y[i] = carry + p;
      y[i + step] = carry + pq;
      y[i + 2 * step] = carry + (pq + r);
      carry += pq + rs;
      y[i + 3 * step] = carry;
    }
  }
  for (; i != end; i += step) {
    carry = carried(op, back, carry, x[i], a, starts, i, step);
    y[i] = carry;
  }
  return carry;
}

INLINE void row(
    const int op, const Scan *s, Int n, const TYPE *x, const TYPE *a, const uint8_t *starts,
    TYPE *y)
{
  x += n * s->n, y += n * s->n;
  a = a ? a + n * s->n : a, starts = starts ? starts + n * s->n : starts;
  if (s->reverse)
    along(op, 1, 0, 0, x, a, starts, y, s->n - 1, s->n);
  else
    along(op, 0, 0, 0, x, a, starts, y, 0, s->n);
}

#define BY_OP(op, call) \
  switch (op) { \
  case SUM: call(SUM); break; \
  case PRODUCT: call(PRODUCT); break; \
  case MAXIMUM: call(MAXIMUM); break; \
  case MINIMUM: call(MINIMUM); break; \
  case RECURRENCE: call(RECURRENCE); break; \
  case SEGMENTED: call(SEGMENTED); break; \
  }

/* y (outer, n) of x (outer, n); an item of the share is a row. */
void scan_rows(
    const Scan *s, const Share *share, const TYPE *x, const TYPE *a, const uint8_t *starts,
    TYPE *y, float *scratch)
{
  (void)scratch;
#define EACH_ROW(op) EACH_ITEM(share, part, n) row(op, s, n, x, a, starts, y)
  BY_OP(s->op, EACH_ROW)
}
TASK(scan_rows, 4)

/* totals (parts): the sums of the parts of a row, in the order of the scan; an item of the share
   is an element. */
void scan_totals(
    const Scan *s, const Share *share, const TYPE *restrict x, double *totals, float *scratch)
{
  (void)scratch;
  EACH_PART (share, part) {
    Int start = part * share->each, stop = part_end(share, part);
    const TYPE *from = x + (s->reverse ? s->n - stop : start);
    double lanes[8] = {0}, total = 0;
    Int i = 0, count = stop - start;
    for (; i + 8 <= count; i += 8)
      for (int k = 0; k < 8; k++) lanes[k] += from[i + k];
    for (; i < count; i++) total += from[i];
    for (int k = 0; k < 8; k++) total += lanes[k];
    totals[part] = total;
  }
}
TASK(scan_totals, 2)

/* y (n), the cumulative sums of one row of which the parts' sums are known. */
void scan_parts(
    const Scan *s, const Share *share, const TYPE *x, const double *totals, TYPE *y,
    float *scratch)
{
  (void)scratch;
  EACH_PART (share, part) {
    Int start = part * share->each, count = part_end(share, part) - start;
    double carry = 0;
    for (Int k = 0; k < part; k++) carry += totals[k];
    if (s->reverse)
      along(SUM, 1, carry, part > 0, x, 0, 0, y, s->n - 1 - start, count);
    else
      along(SUM, 0, carry, part > 0, x, 0, 0, y, start, count);
  }
}
TASK(scan_parts, 3)

INLINE void columns(
    const int op, const int back, const Scan *s, Int width, const TYPE *restrict x,
    const TYPE *restrict a, const uint8_t *restrict starts, TYPE *restrict y)
{
  double carry[WIDTH];
  const Int step = back ? -s->inner : s->inner;
  Int at = back ? (s->n - 1) * s->inner : 0;
  for (Int c = 0; c < width; c++) y[at + c] = carry[c] = x[at + c];
  for (Int k = 1; k < s->n; k++) {
    at += step;
    for (Int c = 0; c < width; c++) {
      carry[c] = carried(op, back, carry[c], x[at + c], a, starts, at + c, step);
      y[at + c] = carry[c];
    }
  }
}

/* y (outer, n, inner) of x (outer, n, inner), n > 0; an item of the share is a block of
   columns. */
void scan_columns(
    const Scan *s, const Share *share, const TYPE *x, const TYPE *a, const uint8_t *starts,
    TYPE *y, float *scratch)
{
  (void)scratch;
  Int blocks = (s->inner + WIDTH - 1) / WIDTH;
  EACH_ITEM(share, part, item) {
    Int begin = item % blocks * WIDTH, at = item / blocks * s->n * s->inner + begin;
    Int width = s->inner - begin < WIDTH ? s->inner - begin : WIDTH;
    const TYPE *factors = a ? a + at : a;
    const uint8_t *flags = starts ? starts + at : starts;
#define EACH_COLUMN(op) \
  if (s->reverse) \
    columns(op, 1, s, width, x + at, factors, flags, y + at); \
  else \
    columns(op, 0, s, width, x + at, factors, flags, y + at)
    BY_OP(s->op, EACH_COLUMN)
  }
}
TASK(scan_columns, 4)

/* Softmax of rows (R, C) and its logarithm on the CPU, each way in one pass: a row is in the cache
   from the first look at it to the last. Sums are double. */

typedef struct {
  Int columns, log;
} Rows;

/* y (R, C) = exp(x - max) / sum of that, or its logarithm. */
void softmax_forward(const Rows *s, const Share *share, const float *all, float *to, float *scratch)
{
  Int columns = s->columns;
  (void)scratch;
  EACH_ITEM(share, part, row) {
    const float *restrict x = all + row * columns;
    float *restrict y = to + row * columns;
    float top = largest(x, columns);
    for (Int i = 0; i < columns; i++) y[i] = exp_of(x[i] - top);
    const float *e = y;
    ROW_SUM(sum, columns, WIDE(e + i), e[i]);
    if (s->log) {
      float less = (float)log_of(sum); /* sum >= 1, or NaN */
      for (Int i = 0; i < columns; i++) y[i] = x[i] - top - less;
    } else {
      float scale = (float)sum;
      for (Int i = 0; i < columns; i++) y[i] /= scale;
    }
  }
}
TASK(softmax_forward, 2)

/* dx (R, C) = y * (g - sum of g * y), or of the logarithm g - exp(y) * sum of g. */
void softmax_backward(
    const Rows *s, const Share *share, const float *grad, const float *given, float *to,
    float *scratch)
{
  Int columns = s->columns;
  (void)scratch;
  EACH_ITEM(share, part, row) {
    const float *restrict g = grad + row * columns, *restrict y = given + row * columns;
    float *restrict dx = to + row * columns;
    if (s->log) {
      ROW_SUM(sum, columns, WIDE(g + i), g[i]);
      float total = (float)sum;
      for (Int i = 0; i < columns; i++) dx[i] = g[i] - exp_of(y[i]) * total;
    } else {
      ROW_SUM(sum, columns, WIDE(g + i) * WIDE(y + i), (double)g[i] * y[i]);
      float total = (float)sum;
      for (Int i = 0; i < columns; i++) dx[i] = y[i] * (g[i] - total);
    }
  }
}
TASK(softmax_backward, 3)

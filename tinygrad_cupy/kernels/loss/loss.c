/* Softmax cross-entropy of rows (R, C) on the CPU: a row is in the cache from the first look at it
   to the last. Sums are double. Macros: IGNORED and ILLEGAL, in the place of a class. */

typedef struct {
  Int classes, by_row; /* from row to row of ``scale``: 1, or 0 where one number is for all */
  double smoothing;
} Loss;

/* exp(x - max) of a row, and that maximum; NaN, which is passed over there, is NaN here. */
INLINE float exponentials(const float *restrict x, Int count, float *restrict e)
{
  float top = largest(x, count);
  for (Int i = 0; i < count; i++) e[i] = exp_of(x[i] - top);
  return top;
}

/* losses (R,): that of each row whose class is ``place`` (R,), 0 where it is ignored.
   C floats of scratch. */
void loss_forward(
    const Loss *s, const Share *share, const float *logits, const int32_t *place, float *losses,
    float *scratch)
{
  Int classes = s->classes;
  const float *e = scratch;
  EACH_ITEM(share, part, row) {
    const float *x = logits + row * classes;
    int32_t class = place[row];
    if (class < 0) {
      losses[row] = class == IGNORED ? 0 : NAN;
      continue;
    }
    float top = exponentials(x, classes, scratch);
    ROW_SUM(sum, classes, WIDE(e + i), e[i]);
    double loss = log_of(sum) - (1 - s->smoothing) * (double)(x[class] - top);
    if (s->smoothing != 0) {
      double shifted = 0;
      for (Int i = 0; i < classes; i++) shifted += x[i] - top;
      loss -= s->smoothing * shifted / (double)classes;
    }
    losses[row] = (float)loss;
  }
}
TASK(loss_forward, 3)

/* dx (R, C) = (softmax(x) - q) * scale, where q is what is expected; 0 in rows that are ignored. */
void loss_backward(
    const Loss *s, const Share *share, const float *logits, const int32_t *place,
    const float *scale, float *all_dx, float *scratch)
{
  Int classes = s->classes;
  (void)scratch;
  EACH_ITEM(share, part, row) {
    float *restrict dx = all_dx + row * classes;
    int32_t class = place[row];
    if (class < 0) {
      for (Int i = 0; i < classes; i++) dx[i] = class == IGNORED ? 0 : NAN;
      continue;
    }
    exponentials(logits + row * classes, classes, dx);
    const float *e = dx;
    ROW_SUM(sum, classes, WIDE(e + i), e[i]);
    float factor = scale[row * s->by_row], total = (float)sum;
    float other = (float)(s->smoothing / (double)classes);
    float own = (dx[class] / total - (other + (float)(1 - s->smoothing))) * factor;
    for (Int i = 0; i < classes; i++) dx[i] = (dx[i] / total - other) * factor;
    dx[class] = own;
  }
}
TASK(loss_backward, 4)

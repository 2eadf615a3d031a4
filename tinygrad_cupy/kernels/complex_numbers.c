/* Complex numbers, TYPE twice each. */

typedef struct {
  Int unused;
} None;

/* by_x: grad x̄ / y of y = |x|; 0 where y is 0. */
void abs_backward(
    const None *none, const Share *share, const TYPE *restrict grad, const TYPE *restrict x,
    const TYPE *restrict y, TYPE *restrict by_x, float *scratch)
{
  (void)none;
  (void)scratch;
  EACH_ITEM (share, part, i) {
    TYPE size = y[i] == 0 ? 1 : y[i];
    by_x[2 * i] = grad[i] * (x[2 * i] / size);
    by_x[2 * i + 1] = -(grad[i] * (x[2 * i + 1] / size));
  }
}
TASK(abs_backward, 4)

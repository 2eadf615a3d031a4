/* Rows (R, C) normalized by their own mean and deviation, or by their root mean square alone. A row
   is in the cache from the first look at it to the last. Statistics are double. */

#include <math.h>

typedef struct {
  Int columns, centred;
  double eps;
} Rows;

/* Floats that a thread works in. */
Int layer_norm_scratch(const Rows *s) { return 4 * s->columns; }

/* y (R, C), and as stats (R, 2) each row's mean (0 where it is not taken off) and what the rest is
   multiplied with. ``weight`` and ``bias`` (C,) or null. */
void layer_norm_forward(
    const Rows *s, const Share *share, const float *all, const float *restrict weight,
    const float *restrict bias, float *to, double *stats, float *scratch)
{
  Int columns = s->columns;
  (void)scratch;
  EACH_ITEM(share, part, row) {
    const float *restrict x = all + row * columns;
    float *restrict y = to + row * columns;
    double mean = 0;
    if (s->centred) {
      ROW_SUM(sum, columns, WIDE(x + i), x[i]);
      mean = sum / (double)columns;
    }
    ROW_SUM(squares, columns, (WIDE(x + i) - mean) * (WIDE(x + i) - mean),
            (x[i] - mean) * (x[i] - mean));
    double scale = 1 / sqrt(squares / (double)columns + s->eps);
    stats[2 * row] = mean;
    stats[2 * row + 1] = scale;
    if (weight && bias)
      for (Int i = 0; i < columns; i++)
        y[i] = (float)((x[i] - mean) * scale) * weight[i] + bias[i];
    else
      for (Int i = 0; i < columns; i++) y[i] = (float)((x[i] - mean) * scale);
    if (weight && !bias)
      for (Int i = 0; i < columns; i++) y[i] *= weight[i];
    if (bias && !weight)
      for (Int i = 0; i < columns; i++) y[i] += bias[i];
  }
}
TASK(layer_norm_forward, 5)

enum { RUN = 16 }; /* rows that are added up in float32 */

INLINE void add_run(double *restrict total, float *restrict run, Int columns)
{
  for (Int i = 0; i < columns; i++) total[i] += run[i];
  memset(run, 0, 4 * (size_t)columns);
}

/* dx (R, C), or null, and as sums (parts, 2, C), or null, what a part of the rows adds to the
   gradients by weight and bias. */
void layer_norm_backward(
    const Rows *s, const Share *share, const float *grad, const float *all,
    const float *restrict weight, const double *stats, float *dx, double *sums, float *scratch)
{
  Int columns = s->columns;
  float *restrict by_weight = scratch, *restrict by_bias = by_weight + columns;
  float *restrict inner = by_bias + columns, *restrict normal = inner + columns;
  EACH_PART (share, part) {
    double *one = sums ? sums + part * 2 * columns : 0, *two = sums ? one + columns : 0;
    Int first = part * share->each, end = part_end(share, part);
    if (sums) {
      memset(one, 0, 16 * (size_t)columns);
      memset(scratch, 0, 8 * (size_t)columns);
    }
    for (Int row = first; row < end; row++) {
      const float *restrict x = all + row * columns, *restrict g = grad + row * columns;
      double mean = stats[2 * row], scale = stats[2 * row + 1];
      for (Int i = 0; i < columns; i++) normal[i] = (float)((x[i] - mean) * scale);
      if (sums)
        for (Int i = 0; i < columns; i++) {
          by_weight[i] += g[i] * normal[i];
          by_bias[i] += g[i];
        }
      if (sums && ((row - first) % RUN == RUN - 1 || row == end - 1)) {
        add_run(one, by_weight, columns);
        add_run(two, by_bias, columns);
      }
      if (!dx) continue;
      if (weight)
        for (Int i = 0; i < columns; i++) inner[i] = g[i] * weight[i];
      const float *h = weight ? inner : g;
      float *restrict out = dx + row * columns;
      float less = 0;
      if (s->centred) {
        ROW_SUM(sum, columns, WIDE(h + i), h[i]);
        less = (float)(sum / (double)columns);
      }
      ROW_SUM(products, columns, WIDE(h + i) * WIDE(normal + i), (double)h[i] * normal[i]);
      float slope = (float)(products / (double)columns), factor = (float)scale;
      for (Int i = 0; i < columns; i++) out[i] = (h[i] - less - normal[i] * slope) * factor;
    }
  }
}
TASK(layer_norm_backward, 6)

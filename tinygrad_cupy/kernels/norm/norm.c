/* Batch norm on the CPU: sums over the batch, and then each image with them, ReLU and a 2 x 2
   max-pool while it is in the cache. Images are float32; everything is added up in float64. */

/* What Python passes. ReLU gives ``cap`` at most; without a bound that is NaN, which no number is
   above. */
typedef struct {
  Int c, h, w, relu, pool;
  float cap;
} Norm;

/* Floats of scratch that each function below needs. */
Int norm_scratch(const Norm *s)
{
  return 3 * s->h * s->w * s->c + (2 * s->w + 1) * s->c;
}

/* What ``count`` pixels add to the sums of x - pivot and of its square, and of the gradient g and
   of g * (x - mean). Several pixels at once, as it is reading and writing the sums that takes
   long. */
INLINE void add_moments(
    const int count, Int c, const float *restrict x, const float *restrict pivot,
    double *restrict one, double *restrict two)
{
  for (Int o = 0; o < c; o++) {
    double sum = 0, squares = 0;
    for (int k = 0; k < count; k++) {
      double d = (double)x[k * c + o] - pivot[o];
      sum += d;
      squares += d * d;
    }
    one[o] += sum;
    two[o] += squares;
  }
}

INLINE void add_products(
    const int count, Int c, const float *restrict g, const float *restrict x,
    const float *restrict mean, double *restrict one, double *restrict two)
{
  for (Int o = 0; o < c; o++) {
    double sum = 0, products = 0;
    for (int k = 0; k < count; k++) {
      double d = (double)x[k * c + o] - mean[o];
      sum += g[k * c + o];
      products += g[k * c + o] * d;
    }
    one[o] += sum;
    two[o] += products;
  }
}

/* sums (parts, 2, C): of x - pivot and of its square. Any value of a channel may be its pivot, an
   outlier too: no one of n values lies further from their mean than sqrt(n) standard deviations,
   and digits of float64 are enough for such a distance. */
void norm_moments(
    const Norm *s, const Share *share, const Images *x, const float *pivot, double *sums,
    float *scratch)
{
  Int pixels = s->h * s->w, c = s->c;
  EACH_ITEM(share, part, n) {
    if (begins(share, part, n)) memset(sums + part * 2 * c, 0, 2 * c * sizeof(double));
    const float *image = channels_last(*x, n, pixels, c, scratch);
    double *one = sums + part * 2 * c, *two = one + c;
    Int p = 0;
    for (; p + 4 <= pixels; p += 4) add_moments(4, c, image + p * c, pivot, one, two);
    for (; p < pixels; p++) add_moments(1, c, image + p * c, pivot, one, two);
  }
}
TASK(norm_moments, 3)

/* One row of the output: bias added, then ReLU; values lie ``pitch`` apart from pixel to pixel. */
static void finish_row(
    const float *restrict row, Int pitch, Int width, Int channels, const float *restrict bias,
    Int relu, float cap, float *restrict y)
{
  for (Int p = 0; p < width; p++, row += pitch, y += channels) {
    if (relu)
      for (Int o = 0; o < channels; o++) {
        float value = relu_of(row[o] + bias[o]);
        y[o] = value > cap ? cap : value;
      }
    else
      for (Int o = 0; o < channels; o++) y[o] = row[o] + bias[o];
  }
}

/* The gradient in front of ReLU, whose result is y, from that behind it. */
static void relu_opened(
    const float *restrict grad, const float *restrict y, float cap, Int size, float *restrict out)
{
  for (Int i = 0; i < size; i++) {
    float g = y[i] <= 0 ? 0 : grad[i];
    out[i] = y[i] >= cap ? 0 : g;
  }
}

/* y (N, H, W, C) = (x - mean) * scale + shift, halved by the pool and with its argmax. */
void norm_apply(
    const Norm *s, const Share *share, const Images *x, const float *restrict mean,
    const float *restrict scale, const float *shift, float *y, uint8_t *argmax, float *scratch)
{
  Int height = s->pool ? s->h / 2 : s->h, width = s->pool ? s->w / 2 : s->w;
  float *copy = scratch, *rows = copy + s->h * s->w * s->c, *places = rows + 2 * s->w * s->c;
  EACH_ITEM(share, part, n) {
    const float *image = channels_last(*x, n, s->h * s->w, s->c, copy);
    for (Int row = 0; row < height; row++) {
      Int at = (n * height + row) * width * s->c, taken = s->pool ? 2 : 1;
      const float *restrict from = image + row * taken * s->w * s->c;
      float *restrict to = rows;
      for (Int p = 0; p < taken * s->w; p++, from += s->c, to += s->c)
        for (Int o = 0; o < s->c; o++) to[o] = (from[o] - mean[o]) * scale[o];
      if (s->pool)
        finish_pooled_row(rows, rows + s->w * s->c, s->c, width, s->c, shift, s->relu, y + at,
                          argmax + at, s->c, places);
      else
        finish_row(rows, s->c, width, s->c, shift, s->relu, s->cap, y + at);
    }
  }
}
TASK(norm_apply, 6)

/* The gradient of image n in front of ReLU and pool: where it lies, or put into ``place``. */
static const float *opened(
    const Norm *s, const Images *grad, Int n, const float *relu_y, const uint8_t *argmax,
    float *place, float *scratch)
{
  Int height = s->pool ? s->h / 2 : s->h, width = s->pool ? s->w / 2 : s->w;
  const float *here = channels_last(*grad, n, height * width, s->c, scratch);
  Int at = n * height * width * s->c;
  if (s->pool)
    pool_backward(here, argmax + at, height, width, s->c, place, s->c, s->w * s->c, s->h, s->w);
  else if (relu_y)
    relu_opened(here, relu_y + at, s->cap, s->h * s->w * s->c, place);
  else
    return here;
  return place;
}

/* sums (parts, 2, C): of the gradient g and of g * (x - mean). ``relu_y`` and ``argmax`` as for a
   convolution. */
void norm_backward_sums(
    const Norm *s, const Share *share, const Images *grad, const Images *x, const float *relu_y,
    const uint8_t *argmax, const float *mean, double *sums, float *scratch)
{
  Int pixels = s->h * s->w, c = s->c, size = pixels * c;
  float *copy = scratch, *given = copy + size, *place = given + size;
  EACH_ITEM(share, part, n) {
    if (begins(share, part, n)) memset(sums + part * 2 * c, 0, 2 * c * sizeof(double));
    const float *image = channels_last(*x, n, pixels, c, copy);
    const float *g = opened(s, grad, n, relu_y, argmax, place, given);
    double *one = sums + part * 2 * c, *two = one + c;
    Int p = 0;
    for (; p + 4 <= pixels; p += 4)
      add_products(4, c, g + p * c, image + p * c, mean, one, two);
    for (; p < pixels; p++) add_products(1, c, g + p * c, image + p * c, mean, one, two);
  }
}
TASK(norm_backward_sums, 6)

/* dx (N, H, W, C) = scale * (g + slope * (x - mean) - mean_g). */
void norm_backward_apply(
    const Norm *s, const Share *share, const Images *grad, const Images *x, const float *relu_y,
    const uint8_t *argmax, const float *restrict mean, const float *restrict scale,
    const float *restrict slope, const float *restrict mean_g, float *dx, float *scratch)
{
  Int pixels = s->h * s->w, size = pixels * s->c;
  float *copy = scratch, *given = copy + size, *place = given + size;
  EACH_ITEM(share, part, n) {
    const float *restrict image = channels_last(*x, n, pixels, s->c, copy);
    const float *restrict g = opened(s, grad, n, relu_y, argmax, place, given);
    float *restrict out = dx + n * size;
    for (Int p = 0; p < pixels; p++, image += s->c, g += s->c, out += s->c)
      for (Int o = 0; o < s->c; o++)
        out[o] = scale[o] * (g[o] + slope[o] * (image[o] - mean[o]) - mean_g[o]);
  }
}
TASK(norm_backward_apply, 9)

/* Batch norm on the CPU: sums over the batch, and then each image with them, ReLU and a 2 x 2
   max-pool while it is in the cache. Images are float32; sums over an image are float32, those over
   images float64. */

/* What Python passes; all are Int. */
typedef struct {
  Int c, h, w, relu, pool;
} Norm;

/* Floats of scratch that each function below needs. */
Int norm_scratch(const Norm *s)
{
  return 3 * s->h * s->w * s->c + (2 * s->w + 3) * s->c;
}

/* sums (parts, 2, C): of x - pivot and of its square; ``pivot`` (C,) is near the mean, so that
   nothing large is subtracted from something large. */
void norm_moments(
    const Norm *s, const Share *share, const Images *x, const float *pivot, double *sums,
    float *scratch)
{
  Int pixels = s->h * s->w;
  float *copy = scratch, *restrict one = copy + pixels * s->c, *restrict two = one + s->c;
  EACH_PART (share, part)
    memset(sums + part * 2 * s->c, 0, 2 * s->c * sizeof(double));
  EACH_ITEM(share, part, n) {
    const float *restrict image = channels_last(*x, n, pixels, s->c, copy);
    memset(one, 0, 2 * s->c * sizeof(float));
    for (Int p = 0; p < pixels; p++, image += s->c)
      for (Int o = 0; o < s->c; o++) {
        float d = image[o] - pivot[o];
        one[o] += d;
        two[o] += d * d;
      }
    double *sum = sums + part * 2 * s->c;
    for (Int o = 0; o < 2 * s->c; o++) sum[o] += one[o];
  }
}
TASK(norm_moments, 3)

/* y (N, H, W, C) = (x - mean) * scale + shift, halved by the pool and with its code. */
void norm_apply(
    const Norm *s, const Share *share, const Images *x, const float *restrict mean,
    const float *restrict scale, const float *shift, float *y, uint8_t *code, float *scratch)
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
                          code + at, places);
      else
        finish_row(rows, s->c, width, s->c, shift, s->relu, y + at);
    }
  }
}
TASK(norm_apply, 6)

/* The gradient of image n in front of ReLU and pool: where it lies, or put into ``place``. */
static const float *opened(
    const Norm *s, const Images *grad, Int n, const float *gate, const uint8_t *code, float *place,
    float *scratch)
{
  Int height = s->pool ? s->h / 2 : s->h, width = s->pool ? s->w / 2 : s->w;
  const float *here = channels_last(*grad, n, height * width, s->c, scratch);
  Int at = n * height * width * s->c;
  if (s->pool)
    open_pooled(here, code + at, height, width, s->c, place, s->c, s->w * s->c, s->h, s->w);
  else if (gate)
    open_gated(here, gate + at, s->h, s->w, s->c, place, s->c, s->w * s->c);
  else
    return here;
  return place;
}

/* sums (parts, 2, C): of the gradient g and of g * (x - mean). ``gate`` and ``code`` as for a
   convolution. */
void norm_backward_sums(
    const Norm *s, const Share *share, const Images *grad, const Images *x, const float *gate,
    const uint8_t *code, const float *restrict mean, double *sums, float *scratch)
{
  Int pixels = s->h * s->w, size = pixels * s->c;
  float *copy = scratch, *given = copy + size, *place = given + size;
  float *restrict one = place + size, *restrict two = one + s->c;
  EACH_PART (share, part)
    memset(sums + part * 2 * s->c, 0, 2 * s->c * sizeof(double));
  EACH_ITEM(share, part, n) {
    const float *restrict image = channels_last(*x, n, pixels, s->c, copy);
    const float *restrict g = opened(s, grad, n, gate, code, place, given);
    memset(one, 0, 2 * s->c * sizeof(float));
    for (Int p = 0; p < pixels; p++, image += s->c, g += s->c)
      for (Int o = 0; o < s->c; o++) {
        one[o] += g[o];
        two[o] += g[o] * (image[o] - mean[o]);
      }
    double *sum = sums + part * 2 * s->c;
    for (Int o = 0; o < 2 * s->c; o++) sum[o] += one[o];
  }
}
TASK(norm_backward_sums, 6)

/* dx (N, H, W, C) = scale * (g + slope * (x - mean) - mean_g). */
void norm_backward_apply(
    const Norm *s, const Share *share, const Images *grad, const Images *x, const float *gate,
    const uint8_t *code, const float *restrict mean, const float *restrict scale,
    const float *restrict slope, const float *restrict mean_g, float *dx, float *scratch)
{
  Int pixels = s->h * s->w, size = pixels * s->c;
  float *copy = scratch, *given = copy + size, *place = given + size;
  EACH_ITEM(share, part, n) {
    const float *restrict image = channels_last(*x, n, pixels, s->c, copy);
    const float *restrict g = opened(s, grad, n, gate, code, place, given);
    float *restrict out = dx + n * size;
    for (Int p = 0; p < pixels; p++, image += s->c, g += s->c, out += s->c)
      for (Int o = 0; o < s->c; o++)
        out[o] = scale[o] * (g[o] + slope[o] * (image[o] - mean[o]) - mean_g[o]);
  }
}
TASK(norm_backward_apply, 9)

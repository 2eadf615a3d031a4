/* What the CPU's files for images share: where an image lies, and what is done to its rows while
   they are in the cache. Images are float32 and, where nothing else is said, lie H, W, C.

   Macro: MASKED, in a pool's argmax, where ReLU lets no gradient through; else it is the maximum's
   place. */

/* max(a, b), NaN if either is. In two steps, as compilers make vectors of no compound condition. */
INLINE float larger(float a, float b)
{
  float most = a > b ? a : b;
  return a != a ? a : most;
}

INLINE float relu_of(float a) { return a < 0 ? 0 : a; }

/* An array whose pixels or whose channels are side by side: element (pixel, channel) of an image
   lies at pixel * by_pixel + channel * by_channel. */
typedef struct {
  const float *at;
  Int by_image, by_pixel, by_channel;
} Images;

/* Two rows pooled to one of ``width`` pixels: the largest of each 2 x 2 window, bias added, then
   ReLU; and in ``argmax`` the place 0 ... 3 of the window's first maximum, or MASKED. Results lie
   ``step`` apart. ``places`` is scratch: a loop over numbers of one size is what a compiler makes
   vectors of. */
INLINE void pooled_row(
    const float *restrict upper, const float *restrict lower, Int pitch, Int width, Int channels,
    const float *restrict bias, const int relu, float *restrict y, uint8_t *restrict argmax,
    Int step, float *restrict places)
{
  for (Int p = 0; p < width; p++, upper += 2 * pitch, lower += 2 * pitch) {
    for (Int o = 0; o < channels; o++) {
      float a = upper[o] + bias[o], b = upper[o + pitch] + bias[o];
      float c = lower[o] + bias[o], d = lower[o + pitch] + bias[o];
      float top = larger(a, b), bottom = larger(c, d), most = larger(top, bottom);
      float place = bottom > top ? (d > c ? 3 : 2) : (b > a ? 1 : 0);
      y[p * step + o] = relu ? relu_of(most) : most;
      if (relu) place = most <= 0 ? MASKED : place;
      places[o] = place;
    }
    for (Int o = 0; o < channels; o++) argmax[p * step + o] = (uint8_t)(int32_t)places[o];
  }
}

static void finish_pooled_row(
    const float *upper, const float *lower, Int pitch, Int width, Int channels, const float *bias,
    Int relu, float *y, uint8_t *argmax, Int step, float *places)
{
  if (relu) pooled_row(upper, lower, pitch, width, channels, bias, 1, y, argmax, step, places);
  else pooled_row(upper, lower, pitch, width, channels, bias, 0, y, argmax, step, places);
}

/* The gradient in front of a 2 x 2 pool and ReLU from that behind them: each window's goes to the
   place its argmax says. ``out`` has ``pitch`` floats per pixel and ``line`` per row. */
static void pool_backward(
    const float *restrict grad, const uint8_t *restrict argmax, Int height, Int width, Int channels,
    float *restrict out, Int pitch, Int line, Int out_height, Int out_width)
{
  for (Int y = 0; y < height; y++, out += 2 * line) {
    for (Int x = 0; x < width; x++, grad += channels, argmax += channels) {
      float *at = out + 2 * x * pitch;
      for (Int o = 0; o < channels; o++) {
        float g = grad[o];
        int32_t k = argmax[o];
        at[o] = k == 0 ? g : 0;
        at[o + pitch] = k == 1 ? g : 0;
        at[o + line] = k == 2 ? g : 0;
        at[o + line + pitch] = k == 3 ? g : 0;
      }
    }
    if (out_width > 2 * width) { /* an odd column, which no window sees */
      memset(out + 2 * width * pitch, 0, channels * sizeof(float));
      memset(out + line + 2 * width * pitch, 0, channels * sizeof(float));
    }
  }
  if (out_height > 2 * height)
    for (Int x = 0; x < out_width; x++) memset(out + x * pitch, 0, channels * sizeof(float));
}

/* The same for ReLU alone, whose result is ``relu_y``, or for neither (relu_y 0). */
static void relu_backward(
    const float *restrict grad, const float *restrict relu_y, Int height, Int width, Int channels,
    float *restrict out, Int pitch, Int line)
{
  for (Int y = 0; y < height; y++, out += line) {
    for (Int x = 0; x < width; x++, grad += channels) {
      float *at = out + x * pitch;
      if (relu_y) {
        for (Int o = 0; o < channels; o++) at[o] = relu_y[o] <= 0 ? 0 : grad[o];
        relu_y += channels;
      } else {
        memcpy(at, grad, channels * sizeof(float));
      }
    }
  }
}

enum { TOGETHER = 64 }; /* pixels whose channels stay in the cache while they are transposed */

/* Image n with its channels side by side: where it lies, or copied to ``scratch``. */
static const float *channels_last(Images x, Int n, Int pixels, Int channels, float *scratch)
{
  const float *image = x.at + n * x.by_image;
  if (x.by_channel == 1 && x.by_pixel == channels) return image;
  for (Int from = 0; from < pixels; from += TOGETHER) {
    Int to = from + TOGETHER < pixels ? from + TOGETHER : pixels;
    for (Int o = 0; o < channels; o++)
      for (Int p = from; p < to; p++)
        scratch[p * channels + o] = image[p * x.by_pixel + o * x.by_channel];
  }
  return scratch;
}

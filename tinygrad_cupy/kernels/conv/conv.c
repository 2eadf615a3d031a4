/* Convolution on the CPU, forward and backward, with bias, ReLU and a 2 x 2 max-pool while rows are
   in the cache. No column matrix: a tile of neighbouring output pixels times a block of output
   channels is summed up in registers over all taps and input channels. A tap in the padding above
   or below the image is skipped, the padding at its sides is zeros around a copy of the image.

   Letters as in windows.py. Weights come as (O / block, KH, KW, C, block), zeros behind the last
   channel, where a block is one or two vectors. Only float32 and one group. */

#if defined(__AVX512F__)
#define LANES 16
#define TILE 12 /* pixels: 24 of 32 registers hold sums */
#elif defined(__AVX__)
#define LANES 8
#define TILE 6 /* 12 of 16 */
#elif defined(__aarch64__)
#define LANES 4
#define TILE 12
#else
#define LANES 4
#define TILE 6
#endif

/* With one vector a pixel as many sums, so that none waits for the one before. */
enum { MOST = 12 };

INLINE Int tile_size(Int vectors) { return vectors == 1 ? MOST : TILE; }

typedef float Vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

/* What Python passes; all are Int. */
typedef struct {
  Int c, h, w, o, oh, ow, kh, kw, sh, sw, ph, pw, dh, dw;
  Int vectors; /* in a block of output channels: 1 or 2 */
  Int relu, pool;
  Int back_vectors, margin; /* of `conv_backward` */
} Conv;

Int conv_lanes(void) { return LANES; }

INLINE Int blocks_of(Int channels, Int block) { return (channels + block - 1) / block; }

INLINE Int least(Int a, Int b) { return a < b ? a : b; }

/* Taps of the kernel's rows that meet the image from output row ``row``: from .low up to .high. */
typedef struct {
  Int low, high;
} Range;

static Range rows_met(Int row, Int stride, Int padding, Int dilation, Int kernel, Int height)
{
  Int first = row * stride - padding;
  Int low = first >= 0 ? 0 : (-first + dilation - 1) / dilation;
  Int high = first >= height ? 0 : (height - 1 - first) / dilation + 1;
  return (Range){low, high < low ? low : least(high, kernel)};
}

/* --- sums over taps and input channels -------------------------------------------------------- */

/* Where a row of output pixels finds its input: pixel p's window starts at at + p * by_pixel; from
   there on lie ``rows`` times ``columns`` runs of ``run`` floats. */
typedef struct {
  const float *at;
  Int by_pixel, rows, by_row, columns, by_column, run;
} Window;

INLINE void tile(
    const int pixels, const int vectors, Window x, const float *w, float *out, Int pitch)
{
  Vector sum[MOST][2];
  for (int p = 0; p < pixels; p++)
    for (int v = 0; v < vectors; v++) sum[p][v] = (Vector){0};
  for (Int i = 0; i < x.rows; i++) {
    for (Int j = 0; j < x.columns; j++) {
      const float *from = x.at + i * x.by_row + j * x.by_column;
      for (Int k = 0; k < x.run; k++, from++, w += vectors * LANES) {
        Vector weight[2];
        for (int v = 0; v < vectors; v++) weight[v] = *(const Vector *)(w + v * LANES);
#pragma GCC unroll 12
        for (int p = 0; p < pixels; p++)
          for (int v = 0; v < vectors; v++) sum[p][v] += from[p * x.by_pixel] * weight[v];
      }
    }
  }
  for (int p = 0; p < pixels; p++)
    for (int v = 0; v < vectors; v++) *(Vector *)(out + p * pitch + v * LANES) = sum[p][v];
}

/* The same with the number of pixels known to the compiler, so that sums stay in registers. */
#define EACH_SIZE(CASE) \
  CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12)

static void any_tile(int pixels, Int vectors, Window x, const float *w, float *out, Int pitch)
{
#define CASE(n) \
  case n: \
    if (vectors == 1) tile(n, 1, x, w, out, pitch); \
    else if (n <= TILE) tile(n, 2, x, w, out, pitch); \
    break;
  switch (pixels) { EACH_SIZE(CASE) }
#undef CASE
}

/* One row of ``width`` output pixels, ``blocks`` blocks of channels at ``pitch`` floats per pixel;
   ``w`` has ``block_size`` floats for each block. */
static void row_of_pixels(
    Window x, Int width, const float *w, Int block_size, Int blocks, Int vectors, float *out,
    Int pitch)
{
  Int tiles = blocks_of(width, tile_size(vectors));
  for (Int b = 0; b < blocks; b++)
    for (Int t = 0; t < tiles; t++) {
      Int from = t * width / tiles, to = (t + 1) * width / tiles; /* of about equal sizes */
      Window part = x;
      part.at += from * x.by_pixel;
      any_tile((int)(to - from), vectors, part, w + b * block_size,
               out + from * pitch + b * vectors * LANES, pitch);
    }
}

/* An image between columns of zeros: (h, left + w + left, channels). */
static void fill_sides(float *image, Int h, Int w, Int left, Int channels)
{
  Int line = (w + 2 * left) * channels;
  for (Int y = 0; y < h; y++) {
    memset(image + y * line, 0, left * channels * sizeof(float));
    memset(image + y * line + (left + w) * channels, 0, left * channels * sizeof(float));
  }
}

static Window window_at(const float *image, Int line, Int pitch, const Conv *s, Int row, Range rows)
{
  Int first = row * s->sh - s->ph + rows.low * s->dh;
  Window x = {
      image + first * line, s->sw * pitch, rows.high - rows.low, s->dh * line, s->kw,
      s->dw * pitch, pitch};
  if (s->dw == 1) { /* neighbouring taps are one run */
    x.run *= s->kw;
    x.columns = 1;
  }
  return x;
}

/* --- forward ---------------------------------------------------------------------------------- */

/* Floats of scratch that `conv_forward` needs. */
Int conv_forward_scratch(const Conv *s)
{
  Int pitch = blocks_of(s->o, s->vectors * LANES) * s->vectors * LANES;
  return s->h * (s->w + 2 * s->pw) * s->c + s->h * s->w * s->c + (2 * s->ow + 1) * pitch;
}

/* y (N, OH, OW, O), halved by the pool and with its argmax: a thread's parts of it. */
void conv_forward(
    const Conv *s, const Share *share, const Images *x, const float *w, const float *bias, float *y,
    uint8_t *argmax, float *scratch)
{
  Int block = s->vectors * LANES, blocks = blocks_of(s->o, block), pitch = blocks * block;
  Int taps = s->kw * s->c * block, line = (s->w + 2 * s->pw) * s->c;
  Int height = s->pool ? s->oh / 2 : s->oh, width = s->pool ? s->ow / 2 : s->ow;
  float *padded = scratch, *copy = padded + s->h * line, *rows = copy + s->h * s->w * s->c;
  fill_sides(padded, s->h, s->w, s->pw, s->c);
  EACH_ITEM(share, part, n) {
    const float *image = channels_last(*x, n, s->h * s->w, s->c, copy);
    if (s->pw) {
      relu_backward(image, 0, s->h, s->w, s->c, padded + s->pw * s->c, s->c, line);
      image = padded;
    }
    for (Int row = 0; row < height; row++) {
      Int at = (n * height + row) * width * s->o;
      for (Int k = 0; k <= s->pool; k++) {
        Int out_row = s->pool ? 2 * row + k : row;
        Range met = rows_met(out_row, s->sh, s->ph, s->dh, s->kh, s->h);
        row_of_pixels(window_at(image, line, s->c, s, out_row, met), s->ow, w + met.low * taps,
                      s->kh * taps, blocks, s->vectors, rows + k * s->ow * pitch, pitch);
      }
      if (s->pool)
        finish_pooled_row(rows, rows + s->ow * pitch, pitch, width, s->o, bias, s->relu, y + at,
                          argmax + at, rows + 2 * s->ow * pitch);
      else
        finish_row(rows, pitch, width, s->o, bias, s->relu, y + at);
    }
  }
}
TASK(conv_forward, 5)

/* --- backward --------------------------------------------------------------------------------- */

/* dw[k] += sum over output pixels of x[k] * g, for ``size`` neighbouring inputs k of a tap. The sum
   begins at zero: what is added to dw is of its size, so that small terms are not lost in it. */
INLINE void weight_tile(
    const int size, const int vectors, const float *x, Int by_row, Int by_pixel, const float *g,
    Int g_line, Int pitch, Int rows, Int width, float *dw)
{
  Vector sum[MOST][2];
  for (int k = 0; k < size; k++)
    for (int v = 0; v < vectors; v++) sum[k][v] = (Vector){0};
  for (Int i = 0; i < rows; i++) {
    const float *from = x + i * by_row, *grad = g + i * g_line;
    for (Int p = 0; p < width; p++, from += by_pixel, grad += pitch) {
      Vector value[2];
      for (int v = 0; v < vectors; v++) value[v] = *(const Vector *)(grad + v * LANES);
#pragma GCC unroll 12
      for (int k = 0; k < size; k++)
        for (int v = 0; v < vectors; v++) sum[k][v] += from[k] * value[v];
    }
  }
  for (int k = 0; k < size; k++)
    for (int v = 0; v < vectors; v++) *(Vector *)(dw + (k * vectors + v) * LANES) += sum[k][v];
}

static void any_weight_tile(
    int size, Int vectors, const float *x, Int by_row, Int by_pixel, const float *g, Int g_line,
    Int pitch, Int rows, Int width, float *dw)
{
#define CASE(n) \
  case n: \
    if (vectors == 1) \
      weight_tile(n, 1, x, by_row, by_pixel, g, g_line, pitch, rows, width, dw); \
    else if (n <= TILE) \
      weight_tile(n, 2, x, by_row, by_pixel, g, g_line, pitch, rows, width, dw); \
    break;
  switch (size) { EACH_SIZE(CASE) }
#undef CASE
}

enum { RUN = 4096 }; /* pixels that one float32 adds up at most */

/* Of one image: dw (O / block, KH, KW, C, block) += its share. g has ``margin`` columns of zeros at
   its sides. */
static void add_weight_gradient(
    const Conv *s, const float *image, Int line, const float *g, Int margin, Int pitch, float *dw)
{
  Int block = s->vectors * LANES, g_line = (s->ow + 2 * margin) * pitch;
  Int run = s->dw == 1 ? s->kw * s->c : s->c, columns = s->dw == 1 ? 1 : s->kw;
  Int parts = blocks_of(run, tile_size(s->vectors)), rows = s->ow < RUN ? RUN / s->ow : 1;
  Int across = s->ow < RUN ? s->ow : RUN / 8; /* of a longer row a part that stays in the cache */
  for (Int b = 0; b < pitch / block; b++)
    for (Int i = 0; i < s->kh; i++) {
      /* output rows from which tap i meets the image */
      Int reach = s->ph - i * s->dh;
      Int low = reach <= 0 ? 0 : (reach + s->sh - 1) / s->sh;
      Int high = s->h - 1 + reach < 0 ? 0 : least((s->h - 1 + reach) / s->sh + 1, s->oh);
      for (; low < high; low += rows) {
        for (Int left = 0; left < s->ow; left += across) {
          const float *grad = g + low * g_line + (margin + left) * pitch + b * block;
          const float *from = image + (low * s->sh - reach) * line + left * s->sw * s->c;
          for (Int j = 0; j < columns; j++)
            for (Int part = 0; part < parts; part++) {
              Int k = part * run / parts, end = (part + 1) * run / parts;
              any_weight_tile(
                  (int)(end - k), s->vectors, from + j * s->dw * s->c + k, s->sh * line,
                  s->sw * s->c, grad, g_line, pitch, least(rows, high - low),
                  least(across, s->ow - left),
                  dw + (((b * s->kh + i) * columns + j) * run + k) * block);
            }
        }
      }
    }
}

/* db[o] += the sum over pixels of g (pixels, pitch). */
static void add_bias_gradient(const float *restrict g, Int pixels, Int pitch, double *restrict db)
{
  Int p = 0;
  for (; p + 4 <= pixels; p += 4, g += 4 * pitch)
    for (Int o = 0; o < pitch; o++)
      db[o] += ((double)g[o] + g[pitch + o]) + ((double)g[2 * pitch + o] + g[3 * pitch + o]);
  for (; p < pixels; p++, g += pitch)
    for (Int o = 0; o < pitch; o++) db[o] += g[o];
}

/* Floats of scratch that `conv_backward` needs. */
Int conv_backward_scratch(const Conv *s)
{
  Int pitch = blocks_of(s->o, s->vectors * LANES) * s->vectors * LANES;
  Int back_pitch = blocks_of(s->c, 2 * LANES) * 2 * LANES;
  return s->h * (s->w + 2 * s->pw) * s->c + s->h * s->w * s->c + s->w * back_pitch +
         s->oh * (s->ow + 2 * s->margin) * pitch + s->oh * s->ow * s->o;
}

/* A thread's parts of the gradients from ``grad``, that by y: with a pool its ``argmax`` is read,
   with ReLU alone ``relu_y``. dx (N, H, W, C) if not 0, for a stride of 1: a convolution of the
   gradient between ``margin`` columns of zeros with the kernel turned by 180 degrees, ``turned``
   (C / block, KH, KW, pitch, block), a block being ``back_vectors``. Each part's dw (O / block, KH,
   KW, C, block) and db (O, filled up to whole blocks, float64), of which there are as many as
   parts, if not 0. */
void conv_backward(
    const Conv *s, const Share *share, const Images *x, const Images *grad, const float *relu_y,
    const uint8_t *argmax, const float *turned, float *dx, float *all_dw, double *all_db,
    float *scratch)
{
  Int margin = s->margin, back_vectors = s->back_vectors;
  Int block = s->vectors * LANES, pitch = blocks_of(s->o, block) * block;
  Int line = (s->w + 2 * s->pw) * s->c, g_line = (s->ow + 2 * margin) * pitch;
  Int height = s->pool ? s->oh / 2 : s->oh, width = s->pool ? s->ow / 2 : s->ow;
  Int back_block = back_vectors * LANES, back_blocks = blocks_of(s->c, back_block);
  Int back_pitch = back_blocks * back_block;
  float *padded = scratch, *copy = padded + s->h * line, *row = copy + s->h * s->w * s->c;
  float *g = row + s->w * blocks_of(s->c, 2 * LANES) * 2 * LANES, *given = g + s->oh * g_line;
  /* The way back: a convolution of the gradient to the size of the input. */
  Conv back = {pitch, s->oh, s->ow, s->c, s->h, s->w, s->kh, s->kw, 1, 1,
               s->dh * (s->kh - 1) - s->ph, margin, s->dh, s->dw, back_vectors, 0, 0, 0, 0};
  Int taps = s->kw * pitch * back_block, weights = s->kh * s->kw * s->c * pitch;

  EACH_PART (share, part) {
    if (all_dw) memset(all_dw + part * weights, 0, weights * sizeof(float));
    if (all_db) memset(all_db + part * pitch, 0, pitch * sizeof(double));
  }
  fill_sides(padded, s->h, s->w, s->pw, s->c);
  memset(g, 0, s->oh * g_line * sizeof(float));
  EACH_ITEM(share, part, n) {
    float *dw = all_dw ? all_dw + part * weights : 0;
    double *db = all_db ? all_db + part * pitch : 0;
    const float *here = channels_last(*grad, n, height * width, s->o, given);
    Int at = n * height * width * s->o;
    float *inside = g + margin * pitch;
    if (s->pool)
      pool_backward(here, argmax + at, height, width, s->o, inside, pitch, g_line, s->oh, s->ow);
    else
      relu_backward(here, relu_y ? relu_y + at : 0, height, width, s->o, inside, pitch, g_line);
    if (db) add_bias_gradient(g, s->oh * (s->ow + 2 * margin), pitch, db);
    if (dw) {
      const float *image = channels_last(*x, n, s->h * s->w, s->c, copy);
      if (s->pw) {
        relu_backward(image, 0, s->h, s->w, s->c, padded + s->pw * s->c, s->c, line);
        image = padded;
      }
      add_weight_gradient(s, image, line, g, margin, pitch, dw);
    }
    if (dx)
      for (Int y = 0; y < s->h; y++) {
        float *out = dx + (n * s->h + y) * s->w * s->c;
        Range met = rows_met(y, 1, back.ph, s->dh, s->kh, s->oh);
        row_of_pixels(window_at(g, g_line, pitch, &back, y, met), s->w, turned + met.low * taps,
                      s->kh * taps, back_blocks, back_vectors, row, back_pitch);
        for (Int p = 0; p < s->w; p++)
          memcpy(out + p * s->c, row + p * back_pitch, s->c * sizeof(float));
      }
  }
}
TASK(conv_backward, 8)

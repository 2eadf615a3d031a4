/* Convolution on the CPU, forward and backward, with bias, ReLU and a 2 x 2 max-pool while rows are
   in the cache. No column matrix: a tile of neighbouring output pixels times a block of output
   channels is summed up in registers over all taps and input channels. A tap in the padding above
   or below the image is skipped, the padding at its sides is zeros around a copy of the image.

   Letters as in windows.py. Channels are filled up with zeros to whole vectors, and fall into
   blocks of two, the last of one or two. Weights come block by block, each (KH, KW, C, block). Only
   float32 and one group. */

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

/* With one vector a pixel, more of them, so that no sum waits for the one before. */
enum { MOST = TILE > 8 ? TILE : 8 };

INLINE Int tile_size(Int vectors) { return vectors == 1 ? MOST : TILE; }

typedef float Vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t Bits __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

enum { BLOCK = 2 * LANES };

/* Floats in a line of the cache, and how far ahead weights are fetched, which pass but once. */
enum { LINE = 16, AHEAD = 16 * LINE };

/* What Python passes; all are Int. The result's image, row and pixel n begin at n times ``image``,
   ``row`` and ``pixel`` floats; a padding below zero leaves out what the first windows leave. */
typedef struct {
  Int n, c, h, w, o, oh, ow, kh, kw, sh, sw, ph, pw, dh, dw;
  Int relu, pool;
  Int group, slices; /* images together, and parts of the blocks: an item, or of one */
  Int band;          /* of `conv_wgrad`: rows of the output together */
  Int image, row, pixel;
  Int margin; /* of `conv_backward` */
} Conv;

Int conv_lanes(void) { return LANES; }

INLINE Int parts_in(Int count, Int size) { return (count + size - 1) / size; }

INLINE Int least(Int a, Int b) { return a < b ? a : b; }

INLINE Int most(Int a, Int b) { return a > b ? a : b; }

/* Channels with those that fill up the last vector. */
INLINE Int filled(Int channels) { return parts_in(channels, LANES) * LANES; }

/* Vectors in block b. */
INLINE Int vectors_of(Int channels, Int b) { return least(2, parts_in(channels, LANES) - 2 * b); }

/* --- sums over taps and input channels -------------------------------------------------------- */

/* Where output pixels find their input: the window of pixel p starts at at + from[p]; from there on
   lie ``rows`` times ``columns`` runs of ``run`` floats. */
typedef struct {
  const float *at;
  const Int *from;
  Int rows, by_row, columns, by_column, run;
} Window;

/* Where a block of them goes: pixel p's to at + to[p], ``width`` channels; ``bias`` is a whole
   block. */
typedef struct {
  float *at;
  const Int *to;
  const float *bias;
  Int relu, width;
} Result;

/* ReLU, and to where they go, of the last vector a part. */
static void finish(const float *sums, Int pixels, Int vectors, Result y)
{
  for (Int p = 0; p < pixels; p++)
    for (Int v = 0; v < vectors; v++, sums += LANES) {
      float *to = y.at + y.to[p] + v * LANES;
      Vector sum = *(const Vector *)sums;
      if (y.relu) sum = (Vector)((Bits)sum & ~(sum < 0));
      if (y.width >= (v + 1) * LANES) *(Vector *)to = sum;
      else memcpy(to, &sum, (y.width - v * LANES) * sizeof(float));
    }
}

static const float none[BLOCK]; /* no bias */

INLINE void tile(const int pixels, const int vectors, Window x, const float *w, Result y)
{
  Vector sum[MOST][2];
  for (int p = 0; p < pixels; p++)
    for (int v = 0; v < vectors; v++) sum[p][v] = (Vector){0};
  const float *from[MOST];
  for (int p = 0; p < pixels; p++) from[p] = x.at + x.from[p];
  for (Int i = 0; i < x.rows; i++) {
    for (Int j = 0; j < x.columns; j++) {
      Int tap = i * x.by_row + j * x.by_column;
      for (Int k = tap; k < tap + x.run; k++, w += vectors * LANES) {
        Vector weight[2];
        for (int v = 0; v < vectors; v++) weight[v] = *(const Vector *)(w + v * LANES);
        for (int v = 0; v < vectors * LANES; v += LINE) __builtin_prefetch(w + AHEAD + v);
#pragma GCC unroll 12
        for (int p = 0; p < pixels; p++)
          for (int v = 0; v < vectors; v++) sum[p][v] += from[p][k] * weight[v];
      }
    }
  }
  for (int v = 0; v < vectors; v++) {
    Vector bias = *(const Vector *)(y.bias + v * LANES);
    for (int p = 0; p < pixels; p++) sum[p][v] += bias;
  }
  float sums[MOST * BLOCK];
  int direct = !y.relu && y.width == vectors * LANES;
  for (int p = 0; p < pixels; p++) {
    float *to = direct ? y.at + y.to[p] : sums + p * vectors * LANES;
    for (int v = 0; v < vectors; v++) *(Vector *)(to + v * LANES) = sum[p][v];
  }
  if (!direct) finish(sums, pixels, vectors, y);
}

/* The same with the number of pixels known to the compiler, so that sums stay in registers. */
#define EACH_SIZE(CASE) \
  CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12)

__attribute__((noinline)) static void any_tile(
    int pixels, Int vectors, Window x, const float *w, Result y)
{
#define CASE(n) \
  case n: \
    if (vectors == 1 && n <= MOST) tile(n, 1, x, w, y); \
    else if (vectors == 2 && n <= TILE) tile(n, 2, x, w, y); \
    break;
  switch (pixels) { EACH_SIZE(CASE) }
#undef CASE
}

/* ``count`` output pixels, of one block of channels. */
static void row_of_pixels(Window x, Int count, const float *w, Int vectors, Result y)
{
  Int tiles = parts_in(count, tile_size(vectors));
  for (Int t = 0; t < tiles; t++) {
    Int from = t * count / tiles, to = (t + 1) * count / tiles; /* of about equal sizes */
    Window part = x;
    Result there = y;
    part.from += from;
    there.to += from;
    any_tile((int)(to - from), vectors, part, w, there);
  }
}

/* Images with their channels side by side and, where windows reach beyond their sides, zeros there;
   column 0 is the first that the first window sees. */
typedef struct {
  const float *at;
  Int by_image, by_row, by_pixel;
} Lines;

/* Columns that the windows of a row see. */
INLINE Int columns_seen(const Conv *s) { return (s->ow - 1) * s->sw + (s->kw - 1) * s->dw + 1; }

/* ``count`` images from n on: where they lie, or copied to ``scratch``, and each through ``copy``.
   Zeros at the sides of copies are there already. */
static Lines lines_of(const Conv *s, const Images *x, Int n, Int count, float *scratch, float *copy)
{
  Int seen = columns_seen(s), begin = most(0, s->pw), end = least(seen, s->w + s->pw);
  const float *first = x->at + n * x->by_image;
  if (begin == 0 && end == seen && x->by_channel == 1)
    return (Lines){first - s->pw * x->by_pixel, x->by_image, s->w * x->by_pixel, x->by_pixel};
  Lines lines = {scratch, s->h * seen * s->c, seen * s->c, s->c};
  for (Int k = 0; k < count && begin < end; k++) {
    const float *image = channels_last(*x, n + k, s->h * s->w, s->c, copy);
    for (Int y = 0; y < s->h; y++)
      memcpy(scratch + k * lines.by_image + y * lines.by_row + begin * s->c,
             image + (y * s->w + begin - s->pw) * s->c, (end - begin) * s->c * sizeof(float));
  }
  return lines;
}

static Window window_at(const Conv *s, Lines x, const Int *from, Int row, Range rows)
{
  Int first = row * s->sh - s->ph + rows.low * s->dh;
  Window window = {
      x.at + first * x.by_row, from, rows.high - rows.low, s->dh * x.by_row, s->kw,
      s->dw * x.by_pixel, s->c};
  if (window.by_column == window.run) { /* neighbouring taps are one run */
    window.run *= s->kw;
    window.columns = 1;
  }
  return window;
}

/* --- weights ---------------------------------------------------------------------------------- */

/* packed (blocks, KH * KW, C, block) from w, whose element (o, c, i, j) lies at the sum of these
   times ``steps``, and zeros where ``channels`` are more than C. */
typedef struct {
  Int o, c, kh, kw, channels;
  Int steps[4];
} Packing;

void conv_pack(const Packing *s, const Share *share, const float *w, float *packed, float *scratch)
{
  Int taps = s->kh * s->kw;
  (void)scratch;
  EACH_ITEM(share, part, b) {
    Int block = vectors_of(s->o, b) * LANES, some = least(block, s->o - b * BLOCK);
    float *to = packed + b * BLOCK * taps * s->channels;
    if (some < block || s->c < s->channels)
      memset(to, 0, block * taps * s->channels * sizeof(float));
    for (Int c = 0; c < s->c; c++)
      for (Int i = 0; i < s->kh; i++)
        for (Int j = 0; j < s->kw; j++) {
          const float *from =
              w + b * BLOCK * s->steps[0] + c * s->steps[1] + i * s->steps[2] + j * s->steps[3];
          float *at = to + ((i * s->kw + j) * s->channels + c) * block;
          for (Int o = 0; o < some; o++) at[o] = from[o * s->steps[0]];
        }
  }
}
TASK(conv_pack, 2)

/* w (O, C, KH, KW), the sum of so many parts (in the place of ``channels``), packed as above. */
void conv_unpack(
    const Packing *s, const Share *share, const float *packed, float *w, float *scratch)
{
  Int taps = s->kh * s->kw, size = filled(s->o) * taps * s->c;
  (void)scratch;
  EACH_ITEM(share, part, b) {
    Int block = vectors_of(s->o, b) * LANES, some = least(block, s->o - b * BLOCK);
    const float *from = packed + b * BLOCK * taps * s->c;
    float *to = w + b * BLOCK * s->c * taps;
    for (Int c = 0; c < s->c; c++)
      for (Int k = 0; k < taps; k++) {
        const float *at = from + (k * s->c + c) * block;
        float sums[BLOCK];
        memcpy(sums, at, block * sizeof(float));
        for (Int p = 1; p < s->channels; p++)
          for (Int o = 0; o < block; o++) sums[o] += at[p * size + o];
        for (Int o = 0; o < some; o++) to[(o * s->c + c) * taps + k] = sums[o];
      }
  }
}
TASK(conv_unpack, 2)

/* --- forward ---------------------------------------------------------------------------------- */

enum { BAND = 1 << 15 }; /* floats of the input that stay in the cache while blocks pass */

/* Floats of scratch that `conv_forward` needs. */
Int conv_forward_scratch(const Conv *s)
{
  Int pixels = s->group * s->ow;
  return 4 * pixels + s->group * s->h * columns_seen(s) * s->c + s->h * s->w * s->c +
         (2 * pixels + 1) * BLOCK;
}

/* y, halved by the pool and with its argmax, (N, OH, OW, O) then: a thread's items of it. */
void conv_forward(
    const Conv *s, const Share *share, const Images *x, const float *w, const float *bias, float *y,
    uint8_t *argmax, float *scratch)
{
  Int blocks = parts_in(s->o, BLOCK), weights = BLOCK * s->kh * s->kw * s->c;
  Int height = s->pool ? s->oh / 2 : s->oh, width = s->pool ? s->ow / 2 : s->ow;
  Int *from = (Int *)scratch, *to = from + s->group * s->ow;
  float *padded = (float *)(to + s->group * s->ow);
  Int copied = s->group * s->h * columns_seen(s) * s->c;
  float *copy = padded + copied, *rows = copy + s->h * s->w * s->c;
  memset(padded, 0, copied * sizeof(float));
  EACH_ITEM(share, part, item) {
    Int n = item / s->slices * s->group, slice = item % s->slices;
    Int count = least(s->group, s->n - n), pixels = count * s->ow;
    Int b_first = slice * blocks / s->slices, b_end = (slice + 1) * blocks / s->slices;
    Lines lines = lines_of(s, x, n, count, padded, copy);
    Int line = most(1, count * s->sh * lines.by_row * (s->pool ? 2 : 1));
    Int band = most(1, BAND / line);
    for (Int image = 0, p = 0; image < count; image++)
      for (Int column = 0; column < s->ow; column++, p++) {
        from[p] = image * lines.by_image + column * s->sw * lines.by_pixel;
        to[p] = image * s->image + column * s->pixel;
      }
    for (Int first = 0; first < height; first += band)
      for (Int b = b_first; b < b_end; b++) {
        Int vectors = vectors_of(s->o, b), block = vectors * LANES;
        Int channels = least(block, s->o - b * BLOCK);
        const float *shift = bias ? bias + b * BLOCK : none;
        if (s->pool)
          for (Int p = 0; p < pixels; p++) to[p] = p * block;
        for (Int row = first; row < least(first + band, height); row++) {
          for (Int k = 0; k <= s->pool; k++) {
            Int out_row = s->pool ? 2 * row + k : row;
            Range met = taps_met(out_row, s->sh, s->ph, s->dh, s->kh, s->h);
            Result there = {
                y + n * s->image + row * s->row + b * BLOCK, to, shift, s->relu, channels};
            if (s->pool) there = (Result){rows + k * pixels * block, to, none, 0, block};
            row_of_pixels(window_at(s, lines, from, out_row, met), pixels,
                          w + b * weights + met.low * s->kw * s->c * block, vectors, there);
          }
          for (Int image = 0; s->pool && image < count; image++) {
            const float *upper = rows + image * s->ow * block;
            Int at = ((n + image) * height + row) * width * s->o + b * BLOCK;
            finish_pooled_row(upper, upper + pixels * block, block, width, channels, shift, s->relu,
                              y + at, argmax + at, s->o, rows + 2 * pixels * block);
          }
        }
      }
  }
}
TASK(conv_forward, 5)

/* --- backward --------------------------------------------------------------------------------- */

/* An image between columns of zeros: (h, left + w + left, channels). */
static void fill_sides(float *image, Int h, Int w, Int left, Int channels)
{
  Int line = (w + 2 * left) * channels;
  for (Int y = 0; y < h; y++) {
    memset(image + y * line, 0, left * channels * sizeof(float));
    memset(image + y * line + (left + w) * channels, 0, left * channels * sizeof(float));
  }
}

/* Pixels of the output whose products are summed up: of so many images, rows and columns, where
   their windows and their gradients are. */
typedef struct {
  Int images, rows, width;
  const float *x;
  Int x_by_image, x_by_row, x_by_pixel;
  const float *g;
  Int g_by_image, g_by_row, g_by_pixel;
} Pixels;

/* dw[k] += sum over output pixels of x[k] * g, for ``size`` neighbouring inputs k of a tap. The sum
   begins at zero: what is added to dw is of its size, so that small terms are not lost in it. */
INLINE void weight_tile(const int size, const int vectors, Pixels s, float *dw)
{
  Vector sum[MOST][2];
  for (int k = 0; k < size; k++)
    for (int v = 0; v < vectors; v++) sum[k][v] = (Vector){0};
  for (Int image = 0; image < s.images; image++)
    for (Int row = 0; row < s.rows; row++) {
      const float *from = s.x + image * s.x_by_image + row * s.x_by_row;
      const float *grad = s.g + image * s.g_by_image + row * s.g_by_row;
      for (Int p = 0; p < s.width; p++, from += s.x_by_pixel, grad += s.g_by_pixel) {
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

__attribute__((noinline)) static void any_weight_tile(
    int size, Int vectors, Pixels s, float *dw)
{
  if (s.x_by_row == s.width * s.x_by_pixel && s.g_by_row == s.width * s.g_by_pixel) {
    s.width *= s.rows; /* rows that follow each other are one */
    s.rows = 1;
    if (s.x_by_image == s.width * s.x_by_pixel && s.g_by_image == s.width * s.g_by_pixel) {
      s.width *= s.images;
      s.images = 1;
    }
  }
#define CASE(n) \
  case n: \
    if (vectors == 1 && n <= MOST) weight_tile(n, 1, s, dw); \
    else if (vectors == 2 && n <= TILE) weight_tile(n, 2, s, dw); \
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
  Int g_line = (s->ow + 2 * margin) * pitch;
  Int run = s->dw == 1 ? s->kw * s->c : s->c, columns = s->dw == 1 ? 1 : s->kw;
  Int rows = s->ow < RUN ? RUN / s->ow : 1;
  Int across = s->ow < RUN ? s->ow : RUN / 8; /* of a longer row a part that stays in the cache */
  for (Int b = 0; b < parts_in(s->o, BLOCK); b++) {
    Int vectors = vectors_of(s->o, b), block = vectors * LANES;
    Int parts = parts_in(run, tile_size(vectors));
    float *here = dw + b * BLOCK * s->kh * s->kw * s->c;
    for (Int i = 0; i < s->kh; i++) {
      /* output rows from which tap i meets the image */
      Int reach = s->ph - i * s->dh;
      Int low = reach <= 0 ? 0 : (reach + s->sh - 1) / s->sh;
      Int high = s->h - 1 + reach < 0 ? 0 : least((s->h - 1 + reach) / s->sh + 1, s->oh);
      for (; low < high; low += rows) {
        for (Int left = 0; left < s->ow; left += across) {
          const float *grad = g + low * g_line + (margin + left) * pitch + b * BLOCK;
          const float *from = image + (low * s->sh - reach) * line + left * s->sw * s->c;
          for (Int j = 0; j < columns; j++)
            for (Int part = 0; part < parts; part++) {
              Int k = part * run / parts, end = (part + 1) * run / parts;
              Pixels pixels = {
                  1, least(rows, high - low), least(across, s->ow - left),
                  from + j * s->dw * s->c + k, 0, s->sh * line, s->sw * s->c, grad, 0, g_line,
                  pitch};
              any_weight_tile((int)(end - k), vectors, pixels,
                              here + ((i * columns + j) * run + k) * block);
            }
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
  return s->h * (s->w + 2 * s->pw) * s->c + s->h * s->w * s->c + 4 * s->w +
         s->oh * (s->ow + 2 * s->margin) * filled(s->o) + s->oh * s->ow * s->o;
}

/* A thread's parts of the gradients from ``grad``, that by y: with a pool its ``argmax`` is read,
   with ReLU alone ``relu_y``. dx (N, H, W, C) if not 0, for a stride of 1: a convolution of the
   gradient between ``margin`` columns of zeros with the kernel turned by 180 degrees, ``turned``,
   packed for as many channels as fill O up. Each part's dw, packed, and db (O, filled up, float64),
   of which there are as many as parts, if not 0. */
void conv_backward(
    const Conv *s, const Share *share, const Images *x, const Images *grad, const float *relu_y,
    const uint8_t *argmax, const float *turned, float *dx, float *all_dw, double *all_db,
    float *scratch)
{
  Int margin = s->margin, pitch = filled(s->o);
  Int line = (s->w + 2 * s->pw) * s->c, g_line = (s->ow + 2 * margin) * pitch;
  Int height = s->pool ? s->oh / 2 : s->oh, width = s->pool ? s->ow / 2 : s->ow;
  Int *from = (Int *)scratch, *to = from + s->w;
  float *padded = (float *)(to + s->w), *copy = padded + s->h * line;
  float *g = copy + s->h * s->w * s->c, *given = g + s->oh * g_line;
  /* The way back: a convolution of the gradient to the size of the input. */
  Conv back = {.c = pitch, .kw = s->kw, .sh = 1, .ph = s->dh * (s->kh - 1) - s->ph, .dh = s->dh,
               .dw = s->dw};
  Lines lines = {g, 0, g_line, pitch};
  Int taps = s->kw * pitch, weights = s->kh * s->kw * s->c * pitch;

  for (Int p = 0; p < s->w; p++) {
    from[p] = p * pitch;
    to[p] = p * s->c;
  }
  fill_sides(padded, s->h, s->w, s->pw, s->c);
  memset(g, 0, s->oh * g_line * sizeof(float));
  EACH_ITEM(share, part, n) {
    float *dw = all_dw ? all_dw + part * weights : 0;
    double *db = all_db ? all_db + part * pitch : 0;
    if (dw && begins(share, part, n)) memset(dw, 0, weights * sizeof(float));
    if (db && begins(share, part, n)) memset(db, 0, pitch * sizeof(double));
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
    for (Int b = 0; dx && b < parts_in(s->c, BLOCK); b++) {
      Int vectors = vectors_of(s->c, b), block = vectors * LANES;
      for (Int y = 0; y < s->h; y++) {
        Result there = {dx + (n * s->h + y) * s->w * s->c + b * BLOCK, to, none, 0,
                        least(block, s->c - b * BLOCK)};
        Range met = taps_met(y, 1, back.ph, s->dh, s->kh, s->oh);
        row_of_pixels(window_at(&back, lines, from, y, met), s->w,
                      turned + (b * BLOCK * s->kh + met.low * block) * taps, vectors, there);
      }
    }
  }
}
TASK(conv_backward, 8)

/* Floats of scratch that `conv_open` needs. */
Int conv_open_scratch(const Conv *s) { return s->oh * s->ow * s->o; }

/* g (N, OH, OW, O), the gradient in front of ReLU or pool, from ``grad``, that by y. */
void conv_open(
    const Conv *s, const Share *share, const Images *grad, const float *relu_y,
    const uint8_t *argmax, float *g, float *scratch)
{
  Int height = s->pool ? s->oh / 2 : s->oh, width = s->pool ? s->ow / 2 : s->ow;
  EACH_ITEM(share, part, n) {
    const float *here = channels_last(*grad, n, height * width, s->o, scratch);
    float *to = g + n * s->oh * s->ow * s->o;
    Int at = n * height * width * s->o;
    if (s->pool)
      pool_backward(here, argmax + at, height, width, s->o, to, s->o, s->ow * s->o, s->oh, s->ow);
    else
      relu_backward(here, relu_y + at, height, width, s->o, to, s->o, s->ow * s->o);
  }
}
TASK(conv_open, 4)

/* --- the gradient by the weights of many channels --------------------------------------------- */

enum { CHUNK = 64 }; /* input channels of an item */

Int conv_chunk(void) { return CHUNK; }

/* Rows of the input that ``band`` rows of the output see. */
INLINE Int rows_seen(const Conv *s, Int band)
{
  return (band - 1) * s->sh + (s->kh - 1) * s->dh + 1;
}

/* Floats of scratch that `conv_wgrad` needs. */
Int conv_wgrad_scratch(const Conv *s)
{
  return s->group * (rows_seen(s, s->band) * columns_seen(s) * CHUNK + s->band * s->ow * BLOCK);
}

/* ``width`` channels of ``count`` pixels, from side by side or apart to side by side. */
INLINE void take(
    const float *restrict from, Int by_pixel, Int by_channel, Int width, Int count,
    float *restrict to, Int pitch)
{
  if (by_channel == 1)
    for (Int p = 0; p < count; p++)
      memcpy(to + p * pitch, from + p * by_pixel, width * sizeof(float));
  else
    for (Int p = 0; p < count; p++)
      for (Int o = 0; o < width; o++) to[p * pitch + o] = from[p * by_pixel + o * by_channel];
}

/* dw, packed, from x and the gradient by y. An item has some input channels, all their taps, and a
   slice of the blocks of output channels: no two write to the same weights, so that nothing is
   added up over threads. What an item reads is copied together for some images at a time, as far
   as it stays in the cache. */
void conv_wgrad(
    const Conv *s, const Share *share, const Images *x, const Images *grad, float *dw,
    float *scratch)
{
  Int chunks = parts_in(s->c, CHUNK), blocks = parts_in(s->o, BLOCK), taps = s->kh * s->kw;
  Int seen = columns_seen(s), begin = most(0, s->pw), end = least(seen, s->w + s->pw);
  Int size = rows_seen(s, s->band) * seen * CHUNK;
  float *windows = scratch, *g = windows + s->group * size;
  memset(windows, 0, s->group * size * sizeof(float));
  EACH_ITEM(share, part, item) {
    Int chunk = item / s->slices, slice = item % s->slices;
    Int c = chunk * s->c / chunks, width = (chunk + 1) * s->c / chunks - c;
    Int b_first = slice * blocks / s->slices, b_end = (slice + 1) * blocks / s->slices;
    for (Int b = b_first; b < b_end; b++)
      for (Int k = 0; k < taps; k++) {
        Int block = vectors_of(s->o, b) * LANES;
        memset(dw + b * BLOCK * taps * s->c + (k * s->c + c) * block, 0,
               width * block * sizeof(float));
      }
    for (Int n = 0; n < s->n; n += s->group)
      for (Int row = 0; row < s->oh; row += s->band) {
        Int images = least(s->group, s->n - n), rows = least(s->band, s->oh - row);
        Int top = row * s->sh - s->ph; /* of the input, the first row that is seen */
        for (Int image = 0; image < images; image++)
          for (Int y = most(0, top); y < least(s->h, top + rows_seen(s, rows)) && begin < end; y++)
            take(x->at + (n + image) * x->by_image + (y * s->w + begin - s->pw) * x->by_pixel +
                     c * x->by_channel,
                 x->by_pixel, x->by_channel, width, end - begin,
                 windows + image * size + ((y - top) * seen + begin) * CHUNK, CHUNK);
        for (Int b = b_first; b < b_end; b++) {
          Int vectors = vectors_of(s->o, b), block = vectors * LANES;
          Int tiles = parts_in(width, tile_size(vectors));
          Int channels = least(block, s->o - b * BLOCK), count = rows * s->ow;
          if (channels < block) memset(g, 0, images * count * block * sizeof(float));
          for (Int image = 0; image < images; image++)
            take(grad->at + (n + image) * grad->by_image + row * s->ow * grad->by_pixel +
                     b * BLOCK * grad->by_channel,
                 grad->by_pixel, grad->by_channel, channels, count, g + image * count * block,
                 block);
          for (Int i = 0; i < s->kh; i++) {
            /* of the band, rows from which tap i meets the image */
            Int reach = i * s->dh + top;
            Int low = reach >= 0 ? 0 : parts_in(-reach, s->sh);
            Int high = reach >= s->h ? 0 : least(rows, (s->h - 1 - reach) / s->sh + 1);
            if (low >= high) continue;
            for (Int j = 0; j < s->kw; j++)
              for (Int t = 0; t < tiles; t++) {
                Int k = t * width / tiles, next = (t + 1) * width / tiles;
                Pixels pixels = {
                    images, high - low, s->ow,
                    windows + ((i * s->dh + low * s->sh) * seen + j * s->dw) * CHUNK + k, size,
                    s->sh * seen * CHUNK, s->sw * CHUNK, g + low * s->ow * block, count * block,
                    s->ow * block, block};
                any_weight_tile((int)(next - k), vectors, pixels,
                                dw + b * BLOCK * taps * s->c +
                                    ((i * s->kw + j) * s->c + c + k) * block);
              }
          }
        }
      }
  }
}
TASK(conv_wgrad, 3)

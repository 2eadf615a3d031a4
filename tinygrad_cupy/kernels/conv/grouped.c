/* Convolution in groups of few channels on the CPU, depthwise ones above all: vectors run along the
   output's channels, each of which meets the ``per`` input channels of its group. Rows of the input
   pass through a ring in the cache, zeros at their sides, in which output channel o has its group's
   channel c beside it; so every tap is a product of vectors, whatever the sizes of the groups.

   Letters as in windows.py. Weights come as (KH, KW, per, pitch), zeros behind the last of O. An
   item is a slice of an image's output channels. Only float32. */

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif

enum { SLICE = 64, MOST = 8 }; /* channels of an item; sums in registers */

typedef float Vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

/* What Python passes; all are Int. The output's image, row and pixel n begin at n times ``image``,
   ``row`` and ``pixel`` floats; a padding below zero leaves out what the first windows leave. */
typedef struct {
  Int per, o, h, w, oh, ow, kh, kw, sh, sw, ph, pw, dh, dw;
  Int pitch, slices;
  Int neighbours; /* 1 where output channel o meets channel o alone */
  Int image, row, pixel;
} Grouped;

Int grouped_lanes(void) { return LANES; }

Int grouped_slice(void) { return SLICE; }

INLINE Int least(Int a, Int b) { return a < b ? a : b; }

INLINE Int most(Int a, Int b) { return a > b ? a : b; }

/* --- rows in the cache ------------------------------------------------------------------------ */

/* Columns that the windows of a row see, and rows that those of a pixel do. */
INLINE Int columns_seen(const Grouped *s) { return (s->ow - 1) * s->sw + (s->kw - 1) * s->dw + 1; }

INLINE Int rows_seen(const Grouped *s) { return (s->kh - 1) * s->dh + 1; }

/* The rows of a slice: (per, rows_seen, columns_seen, SLICE). */
typedef struct {
  float *rows;
  Int line, plane; /* floats of a row, and of all rows of one of ``per`` */
  Int next; /* row of the image that it has not had yet */
  Int slot; /* of the first row that the output's row sees */
} Ring;

/* ``width`` channels of ``count`` pixels: those that ``source`` says, which may be neighbours. */
static void gather(
    const float *restrict from, Int by_pixel, const Int *restrict source, Int by_channel,
    Int neighbours, Int width, Int count, float *restrict to)
{
  if (neighbours && by_channel == 1)
    for (Int p = 0; p < count; p++)
      memcpy(to + p * SLICE, from + p * by_pixel + source[0], width * sizeof(float));
  else
    for (Int p = 0; p < count; p++)
      for (Int o = 0; o < width; o++)
        to[p * SLICE + o] = from[p * by_pixel + source[o] * by_channel];
}

/* Of image n, the rows that output row ``row`` sees and no row before it has seen. */
static void advance(
    const Grouped *s, Ring *ring, const Images *x, Int n, const Int *source, Int width, Int row)
{
  Int first = most(0, row * s->sh - s->ph);
  Int last = least(s->h - 1, row * s->sh - s->ph + rows_seen(s) - 1);
  Int begin = most(0, s->pw), end = least(columns_seen(s), s->w + s->pw); /* columns of x */
  if (ring->next < first) ring->next = first;
  ring->slot = row * s->sh % rows_seen(s);
  for (; ring->next <= last; ring->next++)
    for (Int c = 0; c < s->per && begin < end; c++)
      gather(
          x->at + n * x->by_image + (ring->next * s->w + begin - s->pw) * x->by_pixel, x->by_pixel,
          source + c * s->o, x->by_channel, s->neighbours, width, end - begin,
          ring->rows + c * ring->plane + (ring->next + s->ph) % rows_seen(s) * ring->line +
              begin * SLICE);
}

/* Where tap row i of output row ``row`` lies for channel c of the groups; 0 outside the image. */
INLINE const float *row_of(const Grouped *s, const Ring *ring, Int row, Int i, Int c)
{
  Int y = row * s->sh - s->ph + i * s->dh, slot = ring->slot + i * s->dh;
  if (y < 0 || y >= s->h) return 0;
  if (slot >= rows_seen(s)) slot -= rows_seen(s);
  return ring->rows + c * ring->plane + slot * ring->line;
}

static Ring ring_in(const Grouped *s, float *scratch)
{
  Int line = columns_seen(s) * SLICE;
  memset(scratch, 0, s->per * rows_seen(s) * line * sizeof(float));
  return (Ring){scratch, line, rows_seen(s) * line, 0, 0};
}

/* Floats of scratch that the functions below need. */
Int grouped_scratch(const Grouped *s)
{
  Int ring = s->per * rows_seen(s) * columns_seen(s) * SLICE;
  return ring + most(s->ow * SLICE, 4 * s->kh * s->per); /* a gradient's row, or pointers */
}

#define EACH_SIZE(CASE) CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8)

/* --- forward ---------------------------------------------------------------------------------- */

/* Taps of a row of windows: rows, each of ``taps`` columns ``by_tap`` floats apart; weights of a
   tap are ``w_by_tap`` apart. */
typedef struct {
  const float *const *rows;
  const float *const *weights;
  Int count, taps, by_tap, w_by_tap, by_pixel;
} Window;

/* One vector of channels of ``pixels`` neighbours, the first of which begins at x.rows + at. */
INLINE void tile(const int pixels, Window x, Int at, Int v, float *sums)
{
  Vector sum[MOST];
  for (int p = 0; p < pixels; p++) sum[p] = (Vector){0};
  for (Int i = 0; i < x.count; i++) {
    const float *from = x.rows[i] + at, *w = x.weights[i] + v;
    for (Int j = 0; j < x.taps; j++, from += x.by_tap, w += x.w_by_tap) {
      Vector weight = *(const Vector *)w;
#pragma GCC unroll 8
      for (int p = 0; p < pixels; p++) sum[p] += *(const Vector *)(from + p * x.by_pixel) * weight;
    }
  }
  for (int p = 0; p < pixels; p++) *(Vector *)(sums + p * LANES) = sum[p];
}

__attribute__((noinline)) static void any_tile(int pixels, Window x, Int at, Int v, float *sums)
{
#define CASE(k) \
  case k: tile(k, x, at, v, sums); break;
  switch (pixels) { EACH_SIZE(CASE) }
#undef CASE
}

/* y from x, weights and a ``bias`` filled up as they are, or 0. ``source`` (per, O): which of x's
   channels meets each output channel. */
void grouped_forward(
    const Grouped *s, const Share *share, const Images *x, const Int *source, const float *w,
    const float *bias, float *y, float *scratch)
{
  Ring ring = ring_in(s, scratch);
  Int tiles = (s->ow + MOST - 1) / MOST, many = s->kh * s->per;
  const float **rows = (const float **)(scratch + s->per * ring.plane), **weights = rows + many;
  EACH_ITEM(share, part, item) {
    Int n = item / s->slices, first = item % s->slices * SLICE, width = least(SLICE, s->o - first);
    ring.next = 0;
    for (Int row = 0; row < s->oh; row++) {
      advance(s, &ring, x, n, source + first, width, row);
      Window window = {rows, weights, 0, s->kw, s->dw * SLICE, s->per * s->pitch, s->sw * SLICE};
      for (Int i = 0; i < s->kh; i++)
        for (Int c = 0; c < s->per; c++)
          if ((rows[window.count] = row_of(s, &ring, row, i, c)))
            weights[window.count++] = w + (i * s->kw * s->per + c) * s->pitch + first;
      float *to = y + n * s->image + row * s->row + first;
      for (Int t = 0; t < tiles; t++) {
        Int from = t * s->ow / tiles, count = (t + 1) * s->ow / tiles - from;
        for (Int v = 0; v < width; v += LANES) {
          float sums[MOST * LANES];
          any_tile((int)count, window, from * window.by_pixel + v, v, sums);
          Vector shift = {0};
          if (bias) shift = *(const Vector *)(bias + first + v);
          for (Int p = 0; p < count; p++) {
            Vector sum = *(const Vector *)(sums + p * LANES) + shift;
            float *at = to + (from + p) * s->pixel + v;
            if (width - v >= LANES) *(Vector *)at = sum;
            else memcpy(at, &sum, (width - v) * sizeof(float));
          }
        }
      }
    }
  }
}
TASK(grouped_forward, 5)

/* --- the gradient by the weight --------------------------------------------------------------- */

/* dw of ``taps`` neighbours += the sum over a row's ``width`` pixels of x * g. */
INLINE void weight_tile(
    const int taps, Int width, const float *x, Int by_pixel, Int by_tap, const float *g, float *dw,
    Int dw_by_tap)
{
  Vector sum[MOST];
  for (int j = 0; j < taps; j++) sum[j] = (Vector){0};
  for (Int p = 0; p < width; p++, x += by_pixel, g += SLICE) {
    Vector value = *(const Vector *)g;
#pragma GCC unroll 8
    for (int j = 0; j < taps; j++) sum[j] += *(const Vector *)(x + j * by_tap) * value;
  }
  for (int j = 0; j < taps; j++) *(Vector *)(dw + j * dw_by_tap) += sum[j];
}

__attribute__((noinline)) static void any_weight_tile(
    int taps, Int width, const float *x, Int by_pixel, Int by_tap, const float *g, float *dw,
    Int dw_by_tap)
{
#define CASE(k) \
  case k: weight_tile(k, width, x, by_pixel, by_tap, g, dw, dw_by_tap); break;
  switch (taps) { EACH_SIZE(CASE) }
#undef CASE
}

/* Each part's dw (KH, KW, per, pitch), from x and g (N, O, OH, OW). ``own``: 0, 1, 2, ... */
void grouped_wgrad(
    const Grouped *s, const Share *share, const Images *x, const Int *source, const Images *g,
    const Int *own, float *all_dw, float *scratch)
{
  Ring ring = ring_in(s, scratch);
  Int weights = s->kh * s->kw * s->per * s->pitch;
  float *grad = scratch + s->per * ring.plane;
  memset(grad, 0, s->ow * SLICE * sizeof(float));
  EACH_ITEM(share, part, item) {
    if (begins(share, part, item))
      memset(all_dw + part * weights, 0, weights * sizeof(float));
    Int n = item / s->slices, first = item % s->slices * SLICE, width = least(SLICE, s->o - first);
    float *dw = all_dw + part * weights + first;
    ring.next = 0;
    for (Int row = 0; row < s->oh; row++) {
      advance(s, &ring, x, n, source + first, width, row);
      gather(g->at + n * g->by_image + row * s->ow * g->by_pixel, g->by_pixel, own + first,
             g->by_channel, 1, width, s->ow, grad);
      for (Int i = 0; i < s->kh; i++)
        for (Int c = 0; c < s->per; c++) {
          const float *seen = row_of(s, &ring, row, i, c);
          if (!seen) continue;
          for (Int j = 0; j < s->kw; j += MOST)
            for (Int v = 0; v < width; v += LANES) {
              const float *from = seen + j * s->dw * SLICE + v;
              float *to = dw + ((i * s->kw + j) * s->per + c) * s->pitch + v;
              any_weight_tile((int)least(MOST, s->kw - j), s->ow, from, s->sw * SLICE,
                              s->dw * SLICE, grad + v, to, s->per * s->pitch);
            }
        }
    }
  }
}
TASK(grouped_wgrad, 5)

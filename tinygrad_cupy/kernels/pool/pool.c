/* Pooling on the CPU of images (N, H, W, C), whose channels are what vectors run along. Letters as
   in windows.py. Sums have their terms in the order of the taps, as in reference.py, so that both
   have the same bits: backward, windows are gone through from the last to the first. Only float32.
   */

/* What Python passes; all are Int. ``disjoint``: no pixel lies in two windows. */
typedef struct {
  Int n, c, h, w, oh, ow, kh, kw, sh, sw, ph, pw, dh, dw, disjoint;
} Pool;

#define ROWS_OF(s, row) taps_met(row, (s)->sh, (s)->ph, (s)->dh, (s)->kh, (s)->h)
#define COLUMNS_OF(s, column) taps_met(column, (s)->sw, (s)->pw, (s)->dw, (s)->kw, (s)->w)

/* A row of the output: the image it is of, its number in there, and the taps of its windows. */
typedef struct {
  const float *image;
  Int row;
  Range taps;
} Line;

INLINE Line line_of(const Pool *s, const float *x, Int item)
{
  Int row = item % s->oh;
  return (Line){x + item / s->oh * s->h * s->w * s->c, row, ROWS_OF(s, row)};
}

/* Where tap (i, j) of window (row, column) lies in an image. */
INLINE Int pixel_of(const Pool *s, Int row, Int column, Int i, Int j)
{
  return ((row * s->sh - s->ph + i * s->dh) * s->w + column * s->sw - s->pw + j * s->dw) * s->c;
}

/* The larger ones of v and best, and the number of the tap that each is of. NaN is larger than all,
   the first of them the largest. */
INLINE void raise(Int channels, const float *restrict v, int32_t tap, float *restrict best,
                  int32_t *restrict taps)
{
  for (Int c = 0; c < channels; c++) {
    int better = !(v[c] <= best[c]) & (best[c] == best[c]);
    best[c] = better ? v[c] : best[c];
    taps[c] = better ? tap : taps[c];
  }
}

/* y and argmax (N, OH, OW, C); items are rows of y. C numbers of scratch. */
void max_pool(const Pool *s, const Share *share, const float *x, float *y, uint8_t *argmax,
              float *scratch)
{
  int32_t *taps = (int32_t *)scratch;
  EACH_ITEM(share, part, item) {
    Line line = line_of(s, x, item);
    Range rows = line.taps;
    for (Int column = 0; column < s->ow; column++) {
      Range columns = COLUMNS_OF(s, column);
      float *best = y + (item * s->ow + column) * s->c;
      uint8_t *places = argmax + (item * s->ow + column) * s->c;
      /* the first that is not in the padding before the image, if there is one */
      Int first = (rows.low < s->kh ? rows.low : 0) * s->kw +
                  (columns.low < s->kw ? columns.low : 0);
      if (rows.low == rows.high || columns.low == columns.high) { /* all in the padding */
        for (Int c = 0; c < s->c; c++) best[c] = -__builtin_inff();
        memset(places, (int)first, s->c);
        continue;
      }
      memcpy(best, line.image + pixel_of(s, line.row, column, rows.low, columns.low),
             s->c * sizeof(float));
      for (Int c = 0; c < s->c; c++) taps[c] = (int32_t)first;
      for (Int i = rows.low; i < rows.high; i++)
        for (Int j = columns.low; j < columns.high; j++)
          if (i * s->kw + j > first)
            raise(s->c, line.image + pixel_of(s, line.row, column, i, j),
                  (int32_t)(i * s->kw + j), best, taps);
      for (Int c = 0; c < s->c; c++) places[c] = (uint8_t)taps[c];
    }
  }
}
TASK(max_pool, 3)

/* y (N, OH, OW, C), each window's sum; items are rows of y. */
void sum_pool(const Pool *s, const Share *share, const float *x, float *y, float *scratch)
{
  (void)scratch;
  EACH_ITEM(share, part, item) {
    Line line = line_of(s, x, item);
    Range rows = line.taps;
    for (Int column = 0; column < s->ow; column++) {
      Range columns = COLUMNS_OF(s, column);
      float *restrict sum = y + (item * s->ow + column) * s->c;
      memset(sum, 0, s->c * sizeof(float));
      for (Int i = rows.low; i < rows.high; i++)
        for (Int j = columns.low; j < columns.high; j++) {
          const float *v = line.image + pixel_of(s, line.row, column, i, j);
          for (Int c = 0; c < s->c; c++) sum[c] += v[c];
        }
    }
  }
}
TASK(sum_pool, 2)

/* dx (N, H, W, C) from the gradient (N, OH, OW, C): what ``TAKEN`` is of it is added to each tap,
   or is all there is if ``alone``. Items are images. */
#define SPREAD(TAKEN, alone) \
  (void)scratch; \
  EACH_ITEM(share, part, n) { \
    float *image = dx + n * s->h * s->w * s->c; \
    memset(image, 0, s->h * s->w * s->c * sizeof(float)); \
    for (Int row = s->oh - 1; row >= 0; row--) { \
      Range rows = ROWS_OF(s, row); \
      for (Int column = s->ow - 1; column >= 0; column--) { \
        Range columns = COLUMNS_OF(s, column); \
        Int at = ((n * s->oh + row) * s->ow + column) * s->c; \
        for (Int i = rows.low; i < rows.high; i++) \
          for (Int j = columns.low; j < columns.high; j++) { \
            float *restrict to = image + pixel_of(s, row, column, i, j); \
            int32_t tap = (int32_t)(i * s->kw + j); \
            (void)tap; \
            if (alone) \
              for (Int c = 0; c < s->c; c++) to[c] = TAKEN; \
            else \
              for (Int c = 0; c < s->c; c++) to[c] += TAKEN; \
          } \
      } \
    } \
  }

void max_scatter(const Pool *s, const Share *share, const float *restrict g,
                 const uint8_t *restrict argmax, float *dx, float *scratch)
{
  SPREAD(argmax[at + c] == tap ? g[at + c] : 0, s->disjoint)
}
TASK(max_scatter, 3)

void spread(const Pool *s, const Share *share, const float *restrict g, float *dx, float *scratch)
{
  SPREAD(g[at + c], 0)
}
TASK(spread, 2)

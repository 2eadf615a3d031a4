/* Direct convolution on the CPU, of volumes, which it reads as they lie, N, C, D, H, W, between
   zeros: a tile of neighbouring output places times a block of output channels is summed up
   in registers over all products of a place, which are its channels' taps. How far each is from
   where the place begins is in a table, so that strides, dilations and the number of axes cost
   nothing. Weights come as (O / block, products, block), zeros behind the last channel, where a
   block is one or two vectors. Only float32 and one group. */

#if defined(__AVX512F__)
#define LANES 16
#define TILE 12 /* places: 24 of 32 registers hold sums */
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

enum { MOST = 12 }; /* with one vector a place as many sums, so that none waits for another */

typedef float Vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

/* What Python passes; all are Int. A place's item is a part of a row of the output, ``segment``
   long; ``planes`` of rows by ``height`` of them are an image. */
typedef struct {
  Int image; /* floats of an image between its zeros */
  Int outputs, products, planes, height, width, segment, segments;
  Int by_plane, by_row, by_place; /* from place to place, in floats of the input */
  Int vectors;
} Direct;

Int direct_lanes(void) { return LANES; }

INLINE Int least(Int a, Int b) { return a < b ? a : b; }

typedef struct {
  const float *x; /* where the first place begins */
  Int n, row, from, count;
} Item;

INLINE Item item_of(const Direct *s, Int number, const float *x)
{
  Int rows = s->planes * s->height, line = number / s->segments, row = line % rows;
  Int from = number % s->segments * s->segment, n = line / rows;
  const float *at = x + n * s->image + row / s->height * s->by_plane +
                    row % s->height * s->by_row + from * s->by_place;
  return (Item){at, n, row, from, least(s->segment, s->width - from)};
}

INLINE void tile(
    const int places, const int vectors, const float *x, Int by_place, const Int *reach,
    Int products, const float *w, float *out)
{
  Vector sum[MOST][2];
  for (int p = 0; p < places; p++)
    for (int v = 0; v < vectors; v++) sum[p][v] = (Vector){0};
  for (Int k = 0; k < products; k++, w += vectors * LANES) {
    const float *from = x + reach[k];
    Vector weight[2];
    for (int v = 0; v < vectors; v++) weight[v] = *(const Vector *)(w + v * LANES);
#pragma GCC unroll 12
    for (int p = 0; p < places; p++)
      for (int v = 0; v < vectors; v++) sum[p][v] += from[p * by_place] * weight[v];
  }
  for (int p = 0; p < places; p++)
    for (int v = 0; v < vectors; v++) *(Vector *)(out + (p * vectors + v) * LANES) = sum[p][v];
}

#define EACH_SIZE(CASE) \
  CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12)

static void any_tile(
    int places, Int vectors, const float *x, Int by_place, const Int *reach, Int products,
    const float *w, float *out)
{
#define ONE(n, step) \
  if (vectors == 1) tile(n, 1, x, step, reach, products, w, out); \
  else if (n <= TILE) tile(n, 2, x, step, reach, products, w, out);
#define CASE(n) \
  case n: \
    if (by_place == 1) { ONE(n, 1) } else { ONE(n, by_place) } \
    break;
  switch (places) { EACH_SIZE(CASE) }
#undef CASE
#undef ONE
}

/* y (N, O, places): a thread's parts of it. */
void direct_forward(
    const Direct *s, const Share *share, const float *x, const Int *reach, const float *w,
    const float *bias, float *y, float *scratch)
{
  Int block = s->vectors * LANES, blocks = (s->outputs + block - 1) / block;
  Int most = s->vectors == 1 ? MOST : TILE, places = s->planes * s->height * s->width;
  float sums[MOST * 2 * LANES];
  (void)scratch;
  EACH_ITEM(share, part, number) {
    Item item = item_of(s, number, x);
    Int tiles = (item.count + most - 1) / most;
    for (Int b = 0; b < blocks; b++)
      for (Int t = 0; t < tiles; t++) {
        Int from = t * item.count / tiles, count = (t + 1) * item.count / tiles - from;
        any_tile((int)count, s->vectors, item.x + from * s->by_place, s->by_place, reach,
                 s->products, w + b * s->products * block, sums);
        float *to = y + (item.n * s->outputs + b * block) * places + item.row * s->width +
                    item.from + from;
        for (Int o = 0; o < least(block, s->outputs - b * block); o++) {
          float add = bias ? bias[b * block + o] : 0;
          for (Int p = 0; p < count; p++) to[o * places + p] = sums[p * block + o] + add;
        }
      }
  }
}
TASK(direct_forward, 5)

/* dw[k] += the sum over an item's places of x[k] * g, for ``size`` products k. */
INLINE void weight_tile(
    const int size, const int vectors, const Direct *s, Int first, Int last, const float *x,
    const Int *reach, const float *g, Int pitch, float *dw)
{
  Vector sum[MOST][2];
  for (int k = 0; k < size; k++)
    for (int v = 0; v < vectors; v++) sum[k][v] = (Vector){0};
  for (Int number = first; number < last; number++) {
    Item item = item_of(s, number, x);
    const float *grad = g + (number / s->segments * s->width + item.from) * pitch;
    const float *from[MOST];
    for (int k = 0; k < size; k++) from[k] = item.x + reach[k];
    for (Int p = 0; p < item.count; p++, grad += pitch) {
      Int at = p * s->by_place;
      Vector value[2];
      for (int v = 0; v < vectors; v++) value[v] = *(const Vector *)(grad + v * LANES);
#pragma GCC unroll 12
      for (int k = 0; k < size; k++)
        for (int v = 0; v < vectors; v++) sum[k][v] += from[k][at] * value[v];
    }
  }
  for (int k = 0; k < size; k++)
    for (int v = 0; v < vectors; v++) *(Vector *)(dw + (k * vectors + v) * LANES) += sum[k][v];
}

enum { RUN = 4096 }; /* places that one float32 adds up at most */

/* Each part's dw (O / block, products, block), from g (N, places, whole blocks). */
void direct_wgrad(
    const Direct *s, const Share *share, const float *x, const Int *reach, const float *g,
    float *all_dw, float *scratch)
{
  Int block = s->vectors * LANES, blocks = (s->outputs + block - 1) / block;
  Int most = s->vectors == 1 ? MOST : TILE, parts = (s->products + most - 1) / most;
  Int pitch = blocks * block, together = RUN / s->segment > 1 ? RUN / s->segment : 1;
  (void)scratch;
  EACH_PART (share, part) {
    Int end = part_end(share, part);
    float *dw = all_dw + part * blocks * s->products * block;
    memset(dw, 0, blocks * s->products * block * sizeof(float));
    for (Int first = part * share->each; first < end; first += together) {
      Int last = least(first + together, end);
      for (Int b = 0; b < blocks; b++)
        for (Int i = 0; i < parts; i++) {
          Int k = i * s->products / parts, size = (i + 1) * s->products / parts - k;
          float *to = dw + (b * s->products + k) * block;
          const float *grad = g + b * block;
#define CASE(n) \
  case n: \
    if (s->vectors == 1) weight_tile(n, 1, s, first, last, x, reach + k, grad, pitch, to); \
    else if (n <= TILE) weight_tile(n, 2, s, first, last, x, reach + k, grad, pitch, to); \
    break;
          switch ((int)size) { EACH_SIZE(CASE) }
#undef CASE
        }
    }
  }
}
TASK(direct_wgrad, 4)

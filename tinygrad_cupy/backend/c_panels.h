/* Products of float32 matrices by panels: WIDTH columns of the right one by DEPTH of their terms,
   packed side by side, which stay in the cache while rows of the left one pass. A tile of TILE rows
   is summed up in registers. Every sum has its terms in one order, whatever is done together. */

#if defined(__AVX512F__)
#define LANES 16
#define VECTORS 2
#define TILE 12 /* rows: 24 of 32 registers hold sums */
#elif defined(__AVX__)
#define LANES 8
#define VECTORS 2
#define TILE 6 /* 12 of 16 */
#elif defined(__aarch64__)
#define LANES 4
#define VECTORS 4
#define TILE 6
#else
#define LANES 4
#define VECTORS 2
#define TILE 6
#endif

enum { WIDTH = LANES * VECTORS, DEPTH = 256 };
/* Floats in a line of the cache, and how far ahead panels are fetched. */
enum { LINE = 16, AHEAD = 16 * LINE };

typedef float Vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

INLINE Int least(Int a, Int b) { return a < b ? a : b; }
INLINE Int panels(Int columns) { return (columns + WIDTH - 1) / WIDTH; }

/* ``depth`` terms of ``count`` columns as a panel, zeros behind the last column. */
static void pack_panel(
    Int count, Int depth, Int by_column, Int by_term, const float *from, float *restrict to)
{
  if (count < WIDTH) memset(to, 0, 4 * (size_t)(depth * WIDTH));
  if (by_term == 1) { /* some terms at a time: what is written to stays in the cache */
    for (Int first = 0; first < depth; first += LINE)
      for (Int c = 0; c < count; c++)
        for (Int k = first; k < least(depth, first + LINE); k++)
          to[k * WIDTH + c] = from[c * by_column + k];
  } else if (by_column == 1 && count == WIDTH)
    for (Int k = 0; k < depth; k++) memcpy(to + k * WIDTH, from + k * by_term, 4 * WIDTH);
  else
    for (Int k = 0; k < depth; k++)
      for (Int c = 0; c < count; c++) to[k * WIDTH + c] = from[c * by_column + k * by_term];
}

/* Rows of the left matrix, whose row r and term k lie at ``at`` + r * by_row + k * by_term. */
typedef struct {
  const float *at;
  Int by_row, by_term;
} Rows;

/* What is fetched while a tile is computed: a line each term, from ``at`` on; LINE of them
   ``by_line`` apart, the next LINE ``by_lines`` behind these. */
typedef struct {
  const float *at;
  Int by_line, by_lines;
} Ahead;

INLINE void tile(const int rows, Rows a, Int depth, const float *w, Ahead next, const int begin,
                 float *out, Int out_pitch)
{
  Vector sum[TILE][VECTORS];
  const float *from[TILE];
  for (int r = 0; r < rows; r++)
    for (int v = 0; v < WIDTH; v += LINE) __builtin_prefetch(out + r * out_pitch + v, 1);
  for (int r = 0; r < rows; r++) {
    from[r] = a.at + r * a.by_row;
    for (int v = 0; v < VECTORS; v++) sum[r][v] = (Vector){0};
  }
  for (Int k = 0, at = 0; k < depth; k++, at += a.by_term, w += WIDTH) {
    Vector weight[VECTORS];
    for (int v = 0; v < VECTORS; v++) weight[v] = *(const Vector *)(w + v * LANES);
    for (int v = 0; v < WIDTH; v += LINE) __builtin_prefetch(w + AHEAD + v);
    __builtin_prefetch(next.at, 0, 2);
    next.at += next.by_line;
    if (!(~k & (LINE - 1))) next.at += next.by_lines;
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++)
      for (int v = 0; v < VECTORS; v++) sum[r][v] += from[r][at] * weight[v];
  }
  for (int r = 0; r < rows; r++)
    for (int v = 0; v < VECTORS; v++) {
      Vector *to = (Vector *)(out + r * out_pitch + v * LANES);
      if (begin) *to = sum[r][v];
      else *to += sum[r][v];
    }
}

#define EACH_SIZE(CASE) \
  CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12)

__attribute__((noinline)) static void any_tile(
    Int rows, Rows a, Int depth, const float *w, Ahead next, int begin, float *out, Int out_pitch)
{
#define CASE(n) \
  case n: \
    if (n > TILE) break; \
    if (begin) tile(n > TILE ? TILE : n, a, depth, w, next, 1, out, out_pitch); \
    else tile(n > TILE ? TILE : n, a, depth, w, next, 0, out, out_pitch); \
    break;
  switch (rows) { EACH_SIZE(CASE) }
#undef CASE
}

/* Where sums go: row r and column c to ``at`` + r * by_row + c * by_column. */
typedef struct {
  float *at;
  Int by_row, by_column;
} Sums;

/* ``rows`` times the first ``count`` columns of a panel: written where ``begin``, else added. */
static void times_panel(
    Int rows, Rows a, Int depth, const float *panel, Int count, Ahead next, int begin, Sums y)
{
  Int tiles = (rows + TILE - 1) / TILE;
  float aside[TILE * WIDTH];
  for (Int t = 0; t < tiles; t++) {
    Int from = t * rows / tiles, here = (t + 1) * rows / tiles - from; /* of about equal sizes */
    Rows some = {a.at + from * a.by_row, a.by_row, a.by_term};
    float *to = y.at + from * y.by_row;
    if (count == WIDTH && y.by_column == 1) {
      any_tile(here, some, depth, panel, next, begin, to, y.by_row);
      continue;
    }
    any_tile(here, some, depth, panel, next, 1, aside, WIDTH);
    for (Int c = 0; c < count; c++)
      for (Int r = 0; r < here; r++) {
        float *place = to + r * y.by_row + c * y.by_column;
        *place = begin ? aside[r * WIDTH + c] : *place + aside[r * WIDTH + c];
      }
  }
}

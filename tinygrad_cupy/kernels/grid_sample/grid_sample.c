/* Grids (N, C, sizes) of TYPE, float or double, sampled at points (N, P, D), and the adjoint.

   Along each of up to three axes a point has up to four neighbours, whose weights are polynomials
   of how far it is beyond the one that it is counted from. The numbers of WIDTH points are found
   first, and then used for one channel after the other.

   Macros: TYPE, WIDTH, and the numbers of kinds and rules. */

#include <math.h>

enum { AXES = 3, EACH = 4, MOST = 64 };

/* What Python passes. Axes in front that are missing have one element and one neighbour, 0. */
typedef struct {
  Int channels, points, columns, sizes[AXES], taps[AXES], column[AXES];
  Int lead, rule, round, block; /* round: 0 down, 1 to the nearest even, 2 to the nearest, up */
  double scale[AXES], shift[AXES], factor, weights[AXES][EACH][EACH];
} Grid;

/* Which element of an axis stands for an index; -1 where none does. */
INLINE Int inside(Int i, Int n, Int rule)
{
  if (i >= 0 && i < n) return i;
  Int period = 2 * n - (rule == MIRROR ? 2 : 0);
  switch (rule) {
  case CLIP: return i < 0 ? 0 : n - 1;
  case WRAP: i %= n; return i < 0 ? i + n : i;
  case MIRROR:
    if (n == 1) return 0;
    i %= period, i = i < 0 ? i + period : i;
    return i < n ? i : period - i;
  case REFLECT:
    i %= period, i = i < 0 ? i + period : i;
    return i < n ? i : period - 1 - i;
  default: return -1;
  }
}

/* The neighbours of a point that count: how many, where, and their weights. */
INLINE int neighbours(const Grid *g, const TYPE *point, int32_t *place, TYPE *weight)
{
  Int index[AXES][EACH];
  TYPE share[AXES][EACH];
  const TYPE far = (TYPE)((Int)1 << 40);
  for (int a = 0; a < AXES; a++) {
    if (g->column[a] < 0) {
      index[a][0] = 0, share[a][0] = 1;
      continue;
    }
    TYPE at = point[g->column[a]] * (TYPE)g->scale[a] + (TYPE)g->shift[a];
    TYPE first = (TYPE)(g->round == 0   ? floor(at)
                        : g->round == 1 ? rint(at)
                                        : floor(at + (TYPE)0.5));
    TYPE beyond = at - first;
    first = first < -far ? -far : first > far ? far : first;
    Int whole = (first == first ? (Int)first : 0) - g->lead;
    for (int k = 0; k < g->taps[a]; k++) {
      const double *c = g->weights[a][k];
      TYPE w = (TYPE)c[3];
      for (int i = 2; i >= 0; i--) w = w * beyond + (TYPE)c[i];
      index[a][k] = inside(whole + k, g->sizes[a], g->rule);
      share[a][k] = index[a][k] < 0 ? 0 : w;
    }
  }
  int count = 0;
  for (int i = 0; i < g->taps[0]; i++)
    for (int j = 0; j < g->taps[1]; j++)
      for (int k = 0; k < g->taps[2]; k++) {
        TYPE w = share[0][i] * share[1][j] * share[2][k] * (TYPE)g->factor;
        if (w == 0 || index[0][i] < 0 || index[1][j] < 0 || index[2][k] < 0) continue;
        place[count] = (int32_t)((index[0][i] * g->sizes[1] + index[1][j]) * g->sizes[2]
                                 + index[2][k]);
        weight[count++] = w;
      }
  return count;
}

/* Of WIDTH points: their neighbours, point after point in steps of MOST. */
typedef struct {
  int32_t place[WIDTH * MOST];
  TYPE weight[WIDTH * MOST];
  int count[WIDTH];
} Found;

/* How many numbers of 4 bytes a thread works in. */
int64_t grid_scratch(void) { return sizeof(Found) / 4 + 16; }

INLINE Int find(const Grid *g, const TYPE *points, Int first, Int stop, Found *f)
{
  for (Int p = first; p < stop; p++)
    f->count[p - first] = neighbours(
        g, points + p * g->columns, f->place + (p - first) * MOST, f->weight + (p - first) * MOST);
  return stop - first;
}

/* y (N, C, P) of x (N, C, S); an item of the share is WIDTH points. */
void grid_sample(
    const Grid *grid, const Share *share, const TYPE *x, const TYPE *points, TYPE *y,
    float *scratch)
{
  const Grid *g = grid;
  Found *f = (Found *)scratch;
  const Int size = g->sizes[0] * g->sizes[1] * g->sizes[2];
  const Int pieces = (g->points + WIDTH - 1) / WIDTH;
  EACH_ITEM (share, part, item) {
    Int n = item / pieces, first = (item - n * pieces) * WIDTH;
    Int stop = first + WIDTH < g->points ? first + WIDTH : g->points;
    Int count = find(g, points + n * g->points * g->columns, first, stop, f);
    for (Int c = 0; c < g->channels; c++) {
      const TYPE *from = x + (n * g->channels + c) * size;
      TYPE *to = y + (n * g->channels + c) * g->points + first;
      for (Int p = 0; p < count; p++) {
        const int32_t *place = f->place + p * MOST;
        const TYPE *weight = f->weight + p * MOST;
        TYPE sum = 0;
        for (int k = 0; k < f->count[p]; k++) sum += weight[k] * from[place[k]];
        to[p] = sum;
      }
    }
  }
}
TASK(grid_sample, 3)

/* slopes (N, P, D): of the sum of values (N, C, P) times what `grid_sample` gives, by each
   coordinate. Of column d the neighbours are those of grid[d], whose factor may be 0: there are
   none. An item of the share is WIDTH points. */
void grid_slopes(
    const Grid *grid, const Share *share, const TYPE *values, const TYPE *x, const TYPE *points,
    TYPE *slopes, float *scratch)
{
  const Grid *g = grid;
  Found *f = (Found *)scratch;
  const Int size = g->sizes[0] * g->sizes[1] * g->sizes[2], columns = g->columns;
  const Int pieces = (g->points + WIDTH - 1) / WIDTH;
  EACH_ITEM (share, part, item) {
    Int n = item / pieces, first = (item - n * pieces) * WIDTH;
    Int stop = first + WIDTH < g->points ? first + WIDTH : g->points;
    for (Int d = 0; d < columns; d++) {
      TYPE sum[WIDTH] = {0};
      if (grid[d].factor != 0) {
        Int count = find(grid + d, points + n * g->points * columns, first, stop, f);
        for (Int c = 0; c < g->channels; c++) {
          const TYPE *from = x + (n * g->channels + c) * size;
          const TYPE *by = values + (n * g->channels + c) * g->points + first;
          for (Int p = 0; p < count; p++) {
            const int32_t *place = f->place + p * MOST;
            const TYPE *weight = f->weight + p * MOST;
            TYPE found = 0;
            for (int k = 0; k < f->count[p]; k++) found += weight[k] * from[place[k]];
            sum[p] += by[p] * found;
          }
        }
      }
      TYPE *to = slopes + (n * g->points + first) * columns + d;
      for (Int p = 0; p < stop - first; p++) to[p * columns] = sum[p];
    }
  }
}
TASK(grid_slopes, 4)

/* y (N, C, S), double: values (N, C, P) added where `grid_sample` would read, a point after the
   other; an item of the share is ``block`` channels of one n. */
void grid_splat(
    const Grid *grid, const Share *share, const TYPE *values, const TYPE *points, double *y,
    float *scratch)
{
  const Grid *g = grid;
  Found *f = (Found *)scratch;
  const Int size = g->sizes[0] * g->sizes[1] * g->sizes[2];
  const Int blocks = (g->channels + g->block - 1) / g->block;
  EACH_ITEM (share, part, item) {
    Int n = item / blocks, c = (item - n * blocks) * g->block;
    Int end = c + g->block < g->channels ? c + g->block : g->channels;
    memset(y + (n * g->channels + c) * size, 0, (end - c) * size * sizeof(double));
    for (Int first = 0; first < g->points; first += WIDTH) {
      Int stop = first + WIDTH < g->points ? first + WIDTH : g->points;
      Int count = find(g, points + n * g->points * g->columns, first, stop, f);
      for (Int channel = c; channel < end; channel++) {
        const TYPE *from = values + (n * g->channels + channel) * g->points + first;
        double *to = y + (n * g->channels + channel) * size;
        for (Int p = 0; p < count; p++) {
          const int32_t *place = f->place + p * MOST;
          const TYPE *weight = f->weight + p * MOST;
          for (int k = 0; k < f->count[p]; k++)
            to[place[k]] += (double)weight[k] * (double)from[p];
        }
      }
    }
  }
}
TASK(grid_splat, 3)

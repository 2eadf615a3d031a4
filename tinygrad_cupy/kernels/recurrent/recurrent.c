/* Recurrent layers on the CPU, all steps in one call. Rows of a batch do not know of each other: a
   thread takes some of them from the first step to the last, and waits for nobody. A step is the
   product of the rows' states and the weight, which was packed before, and what makes states of the
   gates. Every sum has its terms in one order, however many rows a thread has.

   Letters: T steps, N rows, H hidden features, G = gates * H. ``seen`` (T, N), or null, says which
   steps a row has. Only float32. */

typedef struct {
  Int steps, rows, size, gates, reverse, relu;
} Recurrent;

Int recurrent_width(void) { return WIDTH; }

/* Floats that a packed weight takes, and those that a row takes in a thread. */
Int recurrent_packed(const Recurrent *s)
{
  Int states = s->size, gates = s->gates * s->size;
  Int forward = states * panels(gates), backward = gates * panels(states);
  return (forward > backward ? forward : backward) * WIDTH;
}

Int recurrent_scratch(const Recurrent *s) { return (s->gates + 2) * s->size; }

/* The weight (columns, terms), or transposed (terms, columns), as panels of WIDTH columns by DEPTH
   terms, those of the first terms first; zeros behind the last column. */
static void pack(const Share *share, Int columns, Int terms, Int by_column, Int by_term,
                 const float *w, float *packed)
{
  EACH_ITEM(share, part, panel)
    for (Int first = 0; first < terms; first += DEPTH) {
      Int depth = least(DEPTH, terms - first);
      pack_panel(least(WIDTH, columns - panel * WIDTH), depth, by_column, by_term,
                 w + panel * WIDTH * by_column + first * by_term,
                 packed + (first * panels(columns) + panel * depth) * WIDTH);
    }
}

void recurrent_pack(
    const Recurrent *s, const Share *share, const float *w, float *packed, float *scratch)
{
  (void)scratch;
  pack(share, s->gates * s->size, s->size, s->size, 1, w, packed);
}
TASK(recurrent_pack, 2)

void recurrent_pack_back(
    const Recurrent *s, const Share *share, const float *w, float *packed, float *scratch)
{
  (void)scratch;
  pack(share, s->size, s->gates * s->size, 1, s->size, w, packed);
}
TASK(recurrent_pack_back, 2)

/* out (rows, columns) = a (rows, terms), its rows ``pitch`` apart, times a packed weight. */
static void product(Int rows, const float *a, Int pitch, Int terms, const float *packed,
                    Int columns, float *out)
{
  for (Int first = 0; first < terms; first += DEPTH) {
    Int depth = least(DEPTH, terms - first);
    for (Int panel = 0; panel < panels(columns); panel++, packed += depth * WIDTH)
      times_panel(rows, (Rows){a + first, pitch, 1}, depth, packed,
                  least(WIDTH, columns - panel * WIDTH), (Ahead){packed, 0, 0}, !first,
                  (Sums){out + panel * WIDTH, columns, 1});
  }
}

/* The number of the step that comes as the i-th, forward or back. */
INLINE Int time_of(const Recurrent *s, Int i, int back)
{
  return !s->reverse == !back ? i : s->steps - 1 - i;
}

/* The states (N, H) that step t began with, of y (T, N, H). */
INLINE const float *before(const Recurrent *s, Int t, const float *y, const float *first)
{
  Int earlier = s->reverse ? t + 1 : t - 1;
  return earlier < 0 || earlier == s->steps ? first : y + earlier * s->rows * s->size;
}

#define EACH_ROW(from, count) for (Int r = from; r < from + count; r++)

/* y (T, N, H). */
void rnn_forward(
    const Recurrent *s, const Share *share, const float *gates, const float *first,
    const float *packed, const uint8_t *seen, float *y, float *scratch)
{
  Int size = s->size;
  EACH_PART (share, part) {
    Int from = part * share->each, count = part_end(share, part) - from;
    for (Int i = 0; i < s->steps; i++) {
      Int t = time_of(s, i, 0), at = t * s->rows;
      const float *h = before(s, t, y, first);
      product(count, h + from * size, size, size, packed, size, scratch);
      EACH_ROW(from, count) {
        const float *restrict z = gates + (at + r) * size;
        const float *restrict own = scratch + (r - from) * size;
        float *restrict to = y + (at + r) * size;
        if (seen && !seen[at + r])
          memcpy(to, h + r * size, 4 * (size_t)size);
        else if (s->relu)
          for (Int j = 0; j < size; j++) {
            float sum = z[j] + own[j];
            to[j] = sum < 0 ? 0 : sum;
          }
        else
          for (Int j = 0; j < size; j++) to[j] = tanh_of(z[j] + own[j]);
      }
    }
  }
}
TASK(rnn_forward, 5)

/* dz (T, N, H) and dh (N, H). */
void rnn_backward(
    const Recurrent *s, const Share *share, const float *grad, const float *packed,
    const uint8_t *seen, const float *y, float *dz, float *dh, float *scratch)
{
  Int size = s->size;
  EACH_PART (share, part) {
    Int from = part * share->each, count = part_end(share, part) - from;
    float *through = scratch;
    memset(through, 0, 4 * (size_t)(count * size));
    for (Int i = 0; i < s->steps; i++) {
      Int t = time_of(s, i, 1), at = t * s->rows;
      float *stays = scratch + count * size;
      EACH_ROW(from, count) {
        Int place = (at + r) * size;
        const float *restrict g = grad + place, *restrict state = y + place;
        float *restrict d = through + (r - from) * size, *restrict z = dz + place;
        int here = !seen || seen[at + r];
        for (Int j = 0; j < size; j++) {
          float total = d[j] + g[j];
          float slope = s->relu ? (state[j] > 0 ? 1.0f : 0.0f) : 1 - state[j] * state[j];
          d[j] = total;
          z[j] = here ? total * slope : 0;
        }
      }
      if (seen) memcpy(stays, through, 4 * (size_t)(count * size));
      product(count, dz + (at + from) * size, size, size, packed, size, through);
      if (seen)
        EACH_ROW(from, count)
          if (!seen[at + r])
            memcpy(through + (r - from) * size, stays + (r - from) * size, 4 * (size_t)size);
    }
    memcpy(dh + from * size, through, 4 * (size_t)(count * size));
  }
}
TASK(rnn_backward, 6)

/* y (2, T, N, H), states and cells, and what the backward reads: i, f, g, o as ``kept``
   (T, N, 4 H). */
void lstm_forward(
    const Recurrent *s, const Share *share, const float *gates, const float *first_h,
    const float *first_c, const float *packed, const uint8_t *seen, float *y, float *kept,
    float *scratch)
{
  Int size = s->size;
  float *cells = y + s->steps * s->rows * size;
  EACH_PART (share, part) {
    Int from = part * share->each, count = part_end(share, part) - from;
    for (Int i = 0; i < s->steps; i++) {
      Int t = time_of(s, i, 0), at = t * s->rows;
      const float *h = before(s, t, y, first_h), *c = before(s, t, cells, first_c);
      product(count, h + from * size, size, size, packed, 4 * size, scratch);
      EACH_ROW(from, count) {
        const float *restrict z = gates + (at + r) * 4 * size;
        const float *restrict own = scratch + (r - from) * 4 * size, *restrict old = c + r * size;
        float *restrict to = kept + (at + r) * 4 * size, *restrict new_h = y + (at + r) * size;
        float *restrict new_c = cells + (at + r) * size;
        if (seen && !seen[at + r]) {
          memcpy(new_h, h + r * size, 4 * (size_t)size);
          memcpy(new_c, old, 4 * (size_t)size);
          memset(to, 0, 16 * (size_t)size);
          continue;
        }
        for (Int j = 0; j < 2 * size; j++) to[j] = sigmoid_of(z[j] + own[j]);
        for (Int j = 2 * size; j < 3 * size; j++) to[j] = tanh_of(z[j] + own[j]);
        for (Int j = 3 * size; j < 4 * size; j++) to[j] = sigmoid_of(z[j] + own[j]);
        for (Int j = 0; j < size; j++) {
          float cell = to[size + j] * old[j] + to[j] * to[2 * size + j];
          new_c[j] = cell;
          new_h[j] = to[3 * size + j] * tanh_of(cell);
        }
      }
    }
  }
}
TASK(lstm_forward, 7)

/* dz (T, N, 4 H), and as dh_dc (2, N, H) the gradients by the first states and cells. */
void lstm_backward(
    const Recurrent *s, const Share *share, const float *grad, const float *y, const float *kept,
    const float *first_c, const float *packed, const uint8_t *seen, float *dz, float *dh_dc,
    float *scratch)
{
  Int size = s->size, all = s->steps * s->rows * size;
  const float *cells = y + all;
  EACH_PART (share, part) {
    Int from = part * share->each, count = part_end(share, part) - from;
    float *dh = scratch, *stays = dh + count * size, *dc = dh_dc + (s->rows + from) * size;
    memset(dh, 0, 4 * (size_t)(count * size));
    memset(dc, 0, 4 * (size_t)(count * size));
    for (Int i = 0; i < s->steps; i++) {
      Int t = time_of(s, i, 1), at = t * s->rows;
      const float *c = before(s, t, cells, first_c);
      EACH_ROW(from, count) {
        Int place = (at + r) * size;
        const float *restrict gate = kept + 4 * place, *restrict old = c + r * size;
        const float *restrict by_h = grad + place, *restrict by_c = grad + all + place;
        const float *restrict cell = cells + place;
        float *restrict z = dz + 4 * place, *restrict d_h = dh + (r - from) * size;
        float *restrict d_c = dc + (r - from) * size;
        if (seen && !seen[at + r]) {
          for (Int j = 0; j < size; j++) d_h[j] += by_h[j];
          for (Int j = 0; j < size; j++) d_c[j] += by_c[j];
          memset(z, 0, 16 * (size_t)size);
          memcpy(stays + (r - from) * size, d_h, 4 * (size_t)size);
          continue;
        }
        for (Int j = 0; j < size; j++) {
          float in = gate[j], forget = gate[size + j], g = gate[2 * size + j];
          float out = gate[3 * size + j], of_c = tanh_of(cell[j]), h = d_h[j] + by_h[j];
          float total = d_c[j] + by_c[j] + h * (out * (1 - of_c * of_c));
          z[j] = total * (g * (in * (1 - in)));
          z[size + j] = total * (old[j] * (forget * (1 - forget)));
          z[2 * size + j] = total * (in * (1 - g * g));
          z[3 * size + j] = h * (of_c * (out * (1 - out)));
          d_c[j] = total * forget;
        }
      }
      product(count, dz + (at + from) * 4 * size, 4 * size, 4 * size, packed, size, dh);
      if (seen)
        EACH_ROW(from, count)
          if (!seen[at + r])
            memcpy(dh + (r - from) * size, stays + (r - from) * size, 4 * (size_t)size);
    }
    memcpy(dh_dc + from * size, dh, 4 * (size_t)(count * size));
  }
}
TASK(lstm_backward, 8)

/* y (T, N, H), and what the backward reads: r, z, n and the product's part of n as ``kept``
   (T, N, 4 H). */
void gru_forward(
    const Recurrent *s, const Share *share, const float *gates, const float *first,
    const float *packed, const float *bias, const uint8_t *seen, float *y, float *kept,
    float *scratch)
{
  Int size = s->size;
  EACH_PART (share, part) {
    Int from = part * share->each, count = part_end(share, part) - from;
    for (Int i = 0; i < s->steps; i++) {
      Int t = time_of(s, i, 0), at = t * s->rows;
      const float *h = before(s, t, y, first);
      product(count, h + from * size, size, size, packed, 3 * size, scratch);
      EACH_ROW(from, count) {
        const float *restrict x = gates + (at + r) * 3 * size, *restrict old = h + r * size;
        float *restrict own = scratch + (r - from) * 3 * size, *restrict to = y + (at + r) * size;
        float *restrict gate = kept + (at + r) * 4 * size;
        if (seen && !seen[at + r]) {
          memcpy(to, old, 4 * (size_t)size);
          memset(gate, 0, 16 * (size_t)size);
          continue;
        }
        if (bias)
          for (Int j = 0; j < 3 * size; j++) own[j] += bias[j];
        for (Int j = 0; j < 2 * size; j++) gate[j] = sigmoid_of(x[j] + own[j]);
        for (Int j = 0; j < size; j++) {
          float of_n = own[2 * size + j], n = tanh_of(x[2 * size + j] + gate[j] * of_n);
          gate[2 * size + j] = n;
          gate[3 * size + j] = of_n;
          to[j] = n + gate[size + j] * (old[j] - n);
        }
      }
    }
  }
}
TASK(gru_forward, 7)

/* dz (T, N, 3 H) by the gates, d_own (T, N, 3 H) by the product, and dh (N, H). */
void gru_backward(
    const Recurrent *s, const Share *share, const float *grad, const float *y, const float *kept,
    const float *first, const float *packed, const uint8_t *seen, float *dz, float *d_own,
    float *dh, float *scratch)
{
  Int size = s->size;
  EACH_PART (share, part) {
    Int from = part * share->each, count = part_end(share, part) - from;
    float *through = scratch, *past = through + count * size;
    memset(through, 0, 4 * (size_t)(count * size));
    for (Int i = 0; i < s->steps; i++) {
      Int t = time_of(s, i, 1), at = t * s->rows;
      const float *h = before(s, t, y, first);
      EACH_ROW(from, count) {
        Int place = (at + r) * size;
        const float *restrict gate = kept + 4 * place, *restrict old = h + r * size;
        const float *restrict g = grad + place, *restrict d = through + (r - from) * size;
        float *restrict x = dz + 3 * place, *restrict own = d_own + 3 * place;
        float *restrict beside = past + (r - from) * size;
        if (seen && !seen[at + r]) {
          for (Int j = 0; j < size; j++) beside[j] = d[j] + g[j];
          memset(x, 0, 12 * (size_t)size);
          memset(own, 0, 12 * (size_t)size);
          continue;
        }
        for (Int j = 0; j < size; j++) {
          float reset = gate[j], z = gate[size + j], n = gate[2 * size + j];
          float of_n = gate[3 * size + j], total = d[j] + g[j];
          float by_n = total * ((1 - z) * (1 - n * n));
          float by_r = by_n * (of_n * (reset * (1 - reset)));
          float by_z = total * ((old[j] - n) * (z * (1 - z)));
          x[j] = own[j] = by_r;
          x[size + j] = own[size + j] = by_z;
          x[2 * size + j] = by_n;
          own[2 * size + j] = by_n * reset;
          beside[j] = total * z;
        }
      }
      product(count, d_own + (at + from) * 3 * size, 3 * size, 3 * size, packed, size, through);
      for (Int j = 0; j < count * size; j++) through[j] += past[j];
    }
    memcpy(dh + from * size, through, 4 * (size_t)(count * size));
  }
}
TASK(gru_backward, 9)

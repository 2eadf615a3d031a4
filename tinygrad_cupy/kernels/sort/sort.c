/* Rows sorted by the digits of their elements: values and places, equal ones as they stood.

   An element becomes a key, an unsigned number in the same order, with NaN behind all others and
   -0 as 0. From the last digit of 8 bits to the first, entries of keys and places are dealt out to
   where they belong, those of one digit in the order in which they stand.

   KEY is the type of a key, NUMBER a floating-point type of its size, BITS how many it has. */

enum { FLOATS, SIGNED, UNSIGNED };
enum { DIGIT = 8, BUCKETS = 1 << DIGIT, DIGITS = BITS / DIGIT };
enum { FEW = 64, SOME = BITS * 4 }; /* entries whose places are counted, and that are merged */

typedef struct {
  Int length, kind, shift;
} Sort;

typedef struct {
  KEY key, place;
} Entry;

static const KEY TOP = (KEY)1 << (BITS - 1);

INLINE KEY key_of(KEY bits, Int kind)
{
  if (kind == UNSIGNED) return bits;
  if (kind == SIGNED) return bits ^ TOP;
  NUMBER number;
  memcpy(&number, &bits, sizeof number);
  if (number != number) return ~(KEY)0;
  if (number == 0) return TOP;
  return bits & TOP ? ~bits : bits | TOP;
}

/* What a key was made of; a NaN and a zero are looked up, for they have several forms. */
INLINE KEY bits_of(const Entry *entry, const KEY *x, Int kind)
{
  KEY key = entry->key;
  if (kind == UNSIGNED) return key;
  if (kind == SIGNED) return key ^ TOP;
  if (key == ~(KEY)0 || key == TOP) return x[entry->place];
  return key & TOP ? key ^ TOP : ~key;
}

INLINE void pack_as(const KEY *restrict x, Entry *restrict entries, Int n, Int end, Int kind)
{
  for (; n < end; n++) entries[n].key = key_of(x[n], kind), entries[n].place = (KEY)n;
}

static void pack(const KEY *x, Entry *entries, Int n, Int end, Int kind)
{
  if (kind == FLOATS) pack_as(x, entries, n, end, FLOATS);
  if (kind == SIGNED) pack_as(x, entries, n, end, SIGNED);
  if (kind == UNSIGNED) pack_as(x, entries, n, end, UNSIGNED);
}

static void unpack(
    const Entry *restrict entries, const KEY *restrict x, KEY *restrict y, Int *restrict order,
    Int n, Int end, Int kind)
{
  for (Int i = n; i < end; i++) order[i] = (Int)entries[i].place;
  if (!y) return;
  if (kind == FLOATS)
    for (; n < end; n++) y[n] = bits_of(entries + n, x, FLOATS);
  else
    for (; n < end; n++) y[n] = bits_of(entries + n, x, kind);
}

INLINE Int digit_of(const Entry *entry, Int shift)
{
  return (Int)(entry->key >> shift) & (BUCKETS - 1);
}

/* --- one row by one thread ------------------------------------------------------------------- */

/* A few: as many come before each as are less, or equal and in front of it. */
INLINE void rank_each(const Entry *restrict from, Entry *restrict to, Int count)
{
  KEY keys[FEW];
  for (Int n = 0; n < count; n++) keys[n] = from[n].key;
  for (Int n = 0; n < count; n++) {
    KEY key = keys[n], before = 0;
    for (Int m = 0; m < n; m++) before += keys[m] <= key;
    for (Int m = n; m < count; m++) before += keys[m] < key;
    to[before] = from[n];
  }
}

/* Two sorted runs as one; of equal keys that of the first comes first. */
INLINE void merge(const Entry *a, const Entry *mid, const Entry *end, Entry *to)
{
  const Entry *b = mid;
  while (a < mid && b < end) {
    int second = b->key < a->key;
    *to++ = *(second ? b : a);
    b += second;
    a += 1 - second;
  }
  while (a < mid) *to++ = *a++;
  while (b < end) *to++ = *b++;
}

static Entry *merge_each(Entry *from, Entry *to, Int count)
{
  for (Int n = 0; n < count; n += FEW)
    rank_each(from + n, to + n, count - n < FEW ? count - n : FEW);
  for (Int run = FEW; run < count; run *= 2) {
    Entry *runs = to;
    to = from, from = runs;
    for (Int n = 0; n < count; n += 2 * run) {
      Int mid = n + run < count ? n + run : count, end = mid + run < count ? mid + run : count;
      merge(from + n, from + mid, from + end, to + n);
    }
  }
  return to;
}

/* The sorted entries, in one of the two places. */
static Entry *sort_entries(Entry *from, Entry *to, Int count)
{
  Int counts[DIGITS][BUCKETS];
  if (count <= SOME) return merge_each(from, to, count);
  memset(counts, 0, sizeof counts);
  for (Int n = 0; n < count; n++)
    for (int d = 0; d < DIGITS; d++) counts[d][digit_of(from + n, d * DIGIT)]++;
  for (int d = 0; d < DIGITS; d++) {
    Int *own = counts[d], start = 0;
    if (own[digit_of(from, d * DIGIT)] == count) continue; /* all of one digit */
    for (Int bucket = 0; bucket < BUCKETS; bucket++) {
      Int here = own[bucket];
      own[bucket] = start;
      start += here;
    }
    for (Int n = 0; n < count; n++) to[own[digit_of(from + n, d * DIGIT)]++] = from[n];
    Entry *dealt = to;
    to = from, from = dealt;
  }
  return from;
}

/* Row by row of x (rows, length); scratch holds the entries twice. */
void sort_rows(
    const Sort *s, const Share *share, const KEY *x, KEY *y, Int *order, float *scratch)
{
  Entry *entries = (Entry *)scratch;
  EACH_ITEM (share, part, row) {
    const KEY *own = x + row * s->length;
    pack(own, entries, 0, s->length, s->kind);
    const Entry *sorted = sort_entries(entries, entries + s->length, s->length);
    KEY *values = y ? y + row * s->length : y;
    unpack(sorted, own, values, order + row * s->length, 0, s->length, s->kind);
  }
}
TASK(sort_rows, 3)

/* --- one long row by all threads -------------------------------------------------------------- */

void sort_pack(const Sort *s, const Share *share, const KEY *x, Entry *entries, float *scratch)
{
  (void)scratch;
  EACH_PART (share, part) pack(x, entries, part * share->each, part_end(share, part), s->kind);
}
TASK(sort_pack, 2)

/* counts (parts, BUCKETS): how many of a part's entries have each digit. */
void sort_count(
    const Sort *s, const Share *share, const Entry *entries, Int *counts, float *scratch)
{
  (void)scratch;
  EACH_PART (share, part) {
    Int *own = counts + part * BUCKETS;
    memset(own, 0, BUCKETS * sizeof(Int));
    for (Int n = part * share->each; n < part_end(share, part); n++)
      own[digit_of(entries + n, s->shift)]++;
  }
}
TASK(sort_count, 2)

/* Each at the next free place of its part among its digit: ``next`` (parts, BUCKETS). */
void sort_deal(
    const Sort *s, const Share *share, const Entry *entries, Int *next, Entry *dealt,
    float *scratch)
{
  (void)scratch;
  EACH_PART (share, part) {
    Int *own = next + part * BUCKETS;
    for (Int n = part * share->each; n < part_end(share, part); n++)
      dealt[own[digit_of(entries + n, s->shift)]++] = entries[n];
  }
}
TASK(sort_deal, 3)

void sort_unpack(
    const Sort *s, const Share *share, const Entry *entries, const KEY *x, KEY *y, Int *order,
    float *scratch)
{
  (void)scratch;
  EACH_PART (share, part)
    unpack(entries, x, y, order, part * share->each, part_end(share, part), s->kind);
}
TASK(sort_unpack, 4)

/* What every C file begins with: its numbers, and which part of the work a call does. */

#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

typedef int64_t Int;

/* ``n`` items are cut into parts of ``each``; a thread takes part ``first`` and from there on every
   ``step``th. Sums are kept by part, so that they do not depend on the number of threads. */
typedef struct {
  Int n, each, parts, first, step;
} Share;

#define EACH_PART(share, part) \
  for (Int part = (share)->first; part < (share)->parts; part += (share)->step)

/* Where a part ends; it begins at part * each. */
INLINE Int part_end(const Share *share, Int part)
{
  Int end = (part + 1) * share->each;
  return end < share->n ? end : share->n;
}

#define EACH_ITEM(share, part, n) \
  EACH_PART (share, part) \
    for (Int n = part * (share)->each; n < part_end(share, part); n++)

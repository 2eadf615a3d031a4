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

/* ``name`` as a task for threads.c, which knows arguments as pointers: ``TASK(name, 1)`` calls
   name(arguments[0], share, arguments[1], scratch). */
#define A1 a[1]
#define A2 A1, a[2]
#define A3 A2, a[3]
#define A4 A3, a[4]
#define A5 A4, a[5]
#define A6 A5, a[6]
#define A7 A6, a[7]
#define A8 A7, a[8]
#define A9 A8, a[9]
#define TASK(name, count) \
  void name##_task(void *const *a, const Share *share, float *scratch) \
  { \
    name(a[0], share, A##count, scratch); \
  }

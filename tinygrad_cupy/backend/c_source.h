/* What every C file begins with: its numbers, and which part of the work a call does. */

#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

typedef int64_t Int;

/* ``n`` items are cut into parts of ``each``; part ``first`` and from there on each ``step``th is a
   thread's own. Where threads say in ``taken`` which parts they have begun, a bit each, who is done
   with his own helps the others, whose cores may be slower: the last part first. Sums are kept by
   part, so that they depend neither on the number of threads nor on who does what. */
typedef struct {
  Int n, each, parts, first, step;
  uint64_t own, *taken;
} Share;

enum { NOTED = 64 }; /* the most parts that can be said to be taken */

/* The part to do after this one, the first one after -1; ``parts`` where none is left. */
INLINE Int part_after(const Share *share, Int part)
{
  if (!share->taken) return part < 0 ? share->first : part + share->step;
  uint64_t all = ~(uint64_t)0 >> (NOTED - share->parts);
  for (;;) {
    uint64_t left = all & ~__atomic_load_n(share->taken, __ATOMIC_RELAXED);
    uint64_t own = left & share->own;
    if (!left) return share->parts;
    Int next = own ? __builtin_ctzll(own) : NOTED - 1 - __builtin_clzll(left);
    uint64_t bit = (uint64_t)1 << next;
    if (!(__atomic_fetch_or(share->taken, bit, __ATOMIC_RELAXED) & bit)) return next;
  }
}

/* Once in a task. */
#define EACH_PART(share, part) \
  for (Int part = part_after(share, -1); part < (share)->parts; part = part_after(share, part))

/* Where a part ends; it begins at part * each. */
INLINE Int part_end(const Share *share, Int part)
{
  Int end = (part + 1) * share->each;
  return end < share->n ? end : share->n;
}

/* Whether item n is the first one of a part. */
INLINE int begins(const Share *share, Int part, Int n) { return n == part * share->each; }

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

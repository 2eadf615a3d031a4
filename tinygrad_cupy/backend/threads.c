/* Threads that do a task's shares. Between tasks a thread watches for the next one for a while
   before it sleeps: to wake a sleeping one takes longer than many a task. One caller at a time. */

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

enum { MOST = 256, WATCH = 300000 }; /* threads; nanoseconds */

typedef void Task(void *const *arguments, const Share *share, float *scratch);

typedef struct {
  pthread_mutex_t lock;
  pthread_cond_t given;
  atomic_int busy; /* from when a share is given until it is done */
  Task *task;
  void *const *arguments;
  Share share;
  float *scratch;
} Worker;

static Worker workers[MOST];
static Int started;

static Int now(void)
{
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * (Int)1000000000 + time.tv_nsec;
}

/* Whether a worker is ``busy`` (or idle) before so many nanoseconds are over. */
static int watch(Worker *worker, int busy, Int nanoseconds)
{
  Int end = now() + nanoseconds;
  do {
    for (int i = 0; i < 32; i++) {
      if (atomic_load_explicit(&worker->busy, memory_order_acquire) == busy) return 1;
#if defined(__x86_64__) || defined(__i386__)
      __builtin_ia32_pause();
#elif defined(__aarch64__)
      __asm__ volatile("yield");
#endif
    }
    sched_yield(); /* somebody else may have use for this core */
  } while (now() < end);
  return 0;
}

static void *work(void *place)
{
  Worker *self = place;
  for (;;) {
    if (!watch(self, 1, WATCH)) {
      pthread_mutex_lock(&self->lock);
      while (!atomic_load(&self->busy)) pthread_cond_wait(&self->given, &self->lock);
      pthread_mutex_unlock(&self->lock);
    }
    self->task(self->arguments, &self->share, self->scratch);
    atomic_store_explicit(&self->busy, 0, memory_order_release);
  }
  return 0;
}

/* How many of ``wanted`` workers there are, once those missing have been started. */
static Int start(Int wanted)
{
  sigset_t all, before;
  sigfillset(&all);
  while (started < wanted && started < MOST) {
    Worker *worker = workers + started;
    memset(worker, 0, sizeof *worker);
    pthread_mutex_init(&worker->lock, 0);
    pthread_cond_init(&worker->given, 0);
    pthread_t thread;
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for Python's own threads */
    int failed = pthread_create(&thread, 0, work, worker);
    pthread_sigmask(SIG_SETMASK, &before, 0);
    if (failed) break;
    pthread_detach(thread);
    started++;
  }
  return started < wanted ? started : wanted;
}

/* The parts that are a share's own, as bits, and where it is said which are taken. */
static void note_own(Share *share, uint64_t *taken)
{
  share->taken = taken;
  share->own = 0;
  for (Int part = share->first; part < share->parts; part += share->step)
    share->own |= (uint64_t)1 << part;
}

/* The task on as many threads as can be had, up to ``threads``; each has ``pitch`` floats of
   ``scratch``. */
void threads_run(
    Task *task, void *const *arguments, Share share, float *scratch, Int pitch, Int threads)
{
  Int others = start(threads - 1);
  uint64_t taken = 0;
  int noted = others && share.parts <= NOTED;
  share.step = others + 1;
  for (Int i = 0; i < others; i++) {
    Worker *worker = workers + i;
    pthread_mutex_lock(&worker->lock);
    worker->task = task;
    worker->arguments = arguments;
    worker->share = share;
    worker->share.first = i + 1;
    if (noted) note_own(&worker->share, &taken);
    worker->scratch = scratch + (i + 1) * pitch;
    atomic_store_explicit(&worker->busy, 1, memory_order_release);
    pthread_cond_signal(&worker->given);
    pthread_mutex_unlock(&worker->lock);
  }
  share.first = 0;
  if (noted) note_own(&share, &taken);
  task(arguments, &share, scratch);
  for (Int i = 0; i < others; i++)
    while (!watch(workers + i, 0, WATCH)) continue;
}

/* In a forked child, where none of the threads is. */
void threads_forget(void) { started = 0; }

/* Rows of logits: one token drawn by inverse CDF, or the log-probability of a given one. */
#include "lanes.h"

enum { BLOCK = 128 /* places whose weights are summed at once */ };

/* The sum of e^((x - top) by) over so many. */
INLINE float mass(const float *x, long n, float top, float by) {
  lane total = splat(0);
  for (long i = 0; i < n; i += LANE) {
    __mmask16 mask = first(n - i);
    lane below = _mm512_maskz_loadu_ps(mask, x + i) - splat(top);
    total = _mm512_mask_add_ps(total, mask, total, exponential(below * splat(by)));
  }
  return sum(total);
}

static double masses(const float *x, long n, float top, float by, double *block) {
  double total = 0;
  for (long at = 0; at < n; at += BLOCK)
    total += block[at / BLOCK] = mass(x + at, least(BLOCK, n - at), top, by);
  return total;
}

/* The first place whose cumulative weight exceeds the target. */
static long place(const float *x, long n, float top, float by, const double *block, double target) {
  long at = 0, last = (n - 1) / BLOCK;
  while (at < last && block[at] <= target) target -= block[at++];
  long end = least(n, (at + 1) * BLOCK) - 1, i = at * BLOCK;
  while (i < end && (target -= mass(x + i, 1, top, by)) >= 0) i++;
  return i;
}

static void drawn(const float *x, long n, double uniform, float temperature, double *block,
                  long *token, float *logprob) {
  float top = highest(x, n), by = 1.0f / temperature;
  double total = masses(x, n, top, by, block);
  *token = place(x, n, top, by, block, uniform * total);
  if (temperature != 1) total = masses(x, n, top, 1, block);
  *logprob = x[*token] - top - (float)log(total);
}

/* Zero if there was no memory for it. */
int draw(long rows, long n, const float *logits, const double *uniform, float temperature,
         long *token, float *logprob, int threads) {
  long blocks = (n + BLOCK - 1) / BLOCK;
  double *block = malloc(threads * blocks * sizeof(double));
  if (!block) return 0;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (long row = 0; row < rows; row++)
    drawn(logits + row * n, n, uniform[row], temperature, block + omp_get_thread_num() * blocks,
          token + row, logprob + row);
  free(block);
  return 1;
}

/* Turns logits (rows, n) into probabilities in place; tells the log-probability of each target. */
void soften(long rows, long n, float *logits, const long *target, float *logprob, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
  for (long row = 0; row < rows; row++) {
    float *x = logits + row * n, top = highest(x, n), chosen = x[target[row]];
    float total = exponentials(x, n, top);
    for (long i = 0; i < n; i += LANE) {
      lane share = _mm512_maskz_loadu_ps(first(n - i), x + i) * splat(1 / total);
      _mm512_mask_storeu_ps(x + i, first(n - i), share);
    }
    logprob[row] = chosen - top - logf(total);
  }
}

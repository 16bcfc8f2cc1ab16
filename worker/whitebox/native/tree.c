/* What the way forth and the way back of this attention share, and the way forth. */
#include "tree.h"

/* Scores of one head over all segments. */
long scores_of(const struct tree *t) {
  long total = 0;
  for (long s = 0; s < t->segments; s++) {
    struct part p = part_of(t, 0, s, 0);
    total += p.n * p.width;
  }
  return total;
}

float *scores_at(const struct tree *t, long head, long segment, float *scores) {
  scores += head * scores_of(t);
  for (long s = 0; s < segment; s++) {
    struct part p = part_of(t, 0, s, 0);
    scores += p.n * p.width;
  }
  return scores;
}

/* The length of a turned row: panels are read whole. */
long padded(const struct tree *t) { return t->tokens + WIDE; }

/* Keys or values of every shared head with their tokens beside one another, (size, padded). */
void turned(const struct tree *t, long first_block, float *out, int threads) {
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads)
  for (long head = 0; head < t->shared; head++)
    for (long j = 0; j < padded(t); j += LANE) {
      const float *from = of(t, least(j, t->tokens - 1), first_block + head);
      float *into = out + head * t->size * padded(t) + j;
      for (long c = 0; c < t->size; c++)
        _mm512_mask_storeu_ps(into + c * padded(t), first(padded(t) - j),
                              every(from + c, features(t), t->tokens - j));
    }
}

/* out = `by` left right', of the part's queries with prompt keys and own keys up to their panel. */
void see(const struct tree *t, const struct part *p, const float *left, long step,
         const float *turned, float by, float *out) {
  const float *right = turned + p->group * t->size * padded(t);
  struct product prompt = {p->n, p->before, t->size, left, step, 1, right, padded(t), WIDE, out,
                           p->width, WIDE, 0, 0, 0, by};
  struct product own = prompt;
  own.n = p->n, own.b = right + p->at, own.c = out + p->before;
  for (long panel = 0; panel * WIDE < prompt.n; panel++)
    strip(&prompt, 0, p->n, panel, prompt.b + panel * WIDE);
  for (long panel = 0; panel * WIDE < own.n; panel++)
    strip(&own, panel * WIDE, p->n - panel * WIDE, panel, own.b + panel * WIDE);
}

/* out (n, size) = weights (n, width) with keys or values: of the prompt, then its own. */
void gather(const struct tree *t, const struct part *p, const float *weights, long block,
            float *out, long step) {
  struct product prompt = {p->n, t->size, p->before, weights, p->width, 1,
                           of(t, 0, block), features(t), WIDE, out, step, WIDE, 0, 0, 0, 1};
  struct product own = prompt;
  own.a = weights + p->before, own.b = of(t, p->at, block);
  own.add = out, own.addm = step, own.addp = WIDE;
  for (long panel = 0; panel * WIDE < t->size; panel++) {
    strip(&prompt, 0, p->n, panel, prompt.b);
    for (long row = 0; row < p->n; row += WIDE) {
      own.k = least(p->n, row + WIDE);
      strip(&own, row, least(WIDE, p->n - row), panel, own.b);
    }
  }
}

INLINE void shared_out(float *score, long count, float by) {
  for (long j = 0; j < count; j += LANE) {
    __mmask16 mask = first(count - j);
    _mm512_mask_storeu_ps(score + j, mask, _mm512_maskz_loadu_ps(mask, score + j) * splat(by));
  }
}

/* Scores to shares, row by row; what a row does not see is 0. Returns the log-sums. */
static void to_shares(const struct part *p, float *sums) {
  for (long i = 0; i < p->n; i++) {
    float *score = p->scores + i * p->width;
    long count = p->before + i + 1;
    float top = highest(score, count), total = exponentials(score, count, top);
    shared_out(score, count, 1 / total);
    for (long j = count; j < p->width; j++) score[j] = 0;
    sums[i] = top + logf(total);
  }
}

/* out (tokens, heads size) and the log-sums (heads, tokens); zero if there was no memory. */
int tree_forward(const struct tree *t, float *out, float *sums, int threads) {
  float *keys = malloc(t->shared * t->size * padded(t) * sizeof(float));
  float *scores = malloc(t->heads * scores_of(t) * sizeof(float));
  if (keys && scores) {
    turned(t, t->heads, keys, threads);
#pragma omp parallel for collapse(2) schedule(dynamic) num_threads(threads)
    for (long segment = 0; segment < t->segments; segment++)
      for (long head = 0; head < t->heads; head++) {
        struct part p = part_of(t, head, segment, scores_at(t, head, segment, scores));
        long step = t->heads * t->size;
        see(t, &p, of(t, p.at, head), features(t), keys, t->scale, p.scores);
        to_shares(&p, sums + head * t->tokens + p.at);
        gather(t, &p, p.scores, t->heads + t->shared + p.group, out + p.at * step + head * t->size,
               step);
      }
  }
  int done = keys && scores;
  free(keys);
  free(scores);
  return done;
}

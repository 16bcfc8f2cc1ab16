/* Attention of a prompt and the responses behind it, or of texts that stand by themselves. */
#pragma once
#include "products.h"

/* Queries (token, heads), keys and values (token, shared) beside one another, `size` each. Segment
   s has the tokens from start[s] to start[s + 1] and sees itself from left to right; all but the
   first see the `prompt` tokens at the beginning too. */
struct tree {
  long tokens, heads, shared, size, segments, prompt;
  float scale;
  const long *start;
  const float *wide;
};

/* A segment for one head: scores of its n queries and of `before` prompt keys, then its own. */
struct part {
  long head, group, segment, at, n, before, width;
  float *scores;
};

INLINE long features(const struct tree *t) { return (t->heads + 2 * t->shared) * t->size; }

/* Of a feature block: queries first, then keys, then values. */
INLINE const float *of(const struct tree *t, long token, long block) {
  return t->wide + token * features(t) + block * t->size;
}

INLINE struct part part_of(const struct tree *t, long head, long segment, float *scores) {
  long n = t->start[segment + 1] - t->start[segment], before = segment ? t->prompt : 0;
  return (struct part){head, head / (t->heads / t->shared), segment, t->start[segment],
                       n, before, before + n, scores};
}

long scores_of(const struct tree *t);
float *scores_at(const struct tree *t, long head, long segment, float *scores);
long padded(const struct tree *t);
void turned(const struct tree *t, long first_block, float *out, int threads);
void see(const struct tree *t, const struct part *p, const float *left, long step,
         const float *turned, float by, float *out);
void gather(const struct tree *t, const struct part *p, const float *weights, long block,
            float *out, long step);

/* The way back of this attention: slopes of queries first, then those of keys and values. */
#include "tree.h"

struct back {
  const struct tree *t;
  const float *out, *sums, *slope;
  float *into;
  float *keys, *values, *shares, *slopes;
};

INLINE const float *slope_at(const struct back *b, long token, long head) {
  return b->slope + (token * b->t->heads + head) * b->t->size;
}

INLINE float *into_at(const struct back *b, long token, long block) {
  return b->into + token * features(b->t) + block * b->t->size;
}

/* Scores to shares by the log-sums, and the slopes of shares to those of scores. */
static void to_slopes(const struct back *b, const struct part *p, float *slopes) {
  long size = b->t->size;
  for (long i = 0; i < p->n; i++) {
    long token = p->at + i, count = p->before + i + 1;
    float *share = p->scores + i * p->width, *slope = slopes + i * p->width;
    lane less = splat(dot(slope_at(b, token, p->head),
                          b->out + (token * b->t->heads + p->head) * size, size));
    lane total = splat(b->sums[p->head * b->t->tokens + token]);
    for (long j = 0; j < p->width; j += LANE) {
      __mmask16 mask = first(p->width - j), seen = first(count - j);
      lane x = exponential(_mm512_maskz_loadu_ps(seen, share + j) - total);
      lane g = (_mm512_maskz_loadu_ps(seen, slope + j) - less) * x * splat(b->t->scale);
      _mm512_mask_storeu_ps(share + j, mask, _mm512_maskz_mov_ps(seen, x));
      _mm512_mask_storeu_ps(slope + j, mask, _mm512_maskz_mov_ps(seen, g));
    }
  }
}

static void back_to_queries(const struct back *b, long head, long segment) {
  const struct tree *t = b->t;
  struct part p = part_of(t, head, segment, scores_at(t, head, segment, b->shares));
  float *slopes = scores_at(t, head, segment, b->slopes);
  see(t, &p, of(t, p.at, head), features(t), b->keys, t->scale, p.scores);
  see(t, &p, slope_at(b, p.at, head), t->heads * t->size, b->values, 1, slopes);
  to_slopes(b, &p, slopes);
  gather(t, &p, slopes, t->heads + p.group, into_at(b, p.at, head), features(t));
}

/* into (keys, size) += weights (n, keys)' with the n rows of right; queries come after the keys
   that are their own. */
INLINE void spread(const struct back *b, const struct part *p, const float *weights, long keys,
                   const float *right, long step, float *into, int begun, int own) {
  long width = features(b->t), tall = own ? WIDE : keys;
  for (long key = 0; key < keys; key += tall) {
    long skip = own ? key : 0;
    float *out = into + key * width;
    struct product some = {least(tall, keys - key), b->t->size, p->n - skip,
                           weights + skip * p->width + key, 1, p->width, right + skip * step, step,
                           WIDE, out, width, WIDE, begun ? out : 0, width, WIDE, 1};
    for (long panel = 0; panel * WIDE < some.n; panel++)
      strip(&some, 0, some.m, panel, some.b);
  }
}

/* The slopes of a segment's keys and values by what one segment's queries saw of them. */
static void back_by(const struct back *b, long head, long owner, long segment, int begun) {
  const struct tree *t = b->t;
  struct part p = part_of(t, head, segment, scores_at(t, head, segment, b->shares));
  float *slopes = scores_at(t, head, segment, b->slopes);
  int own = segment == owner;
  long first = own ? p.before : 0, keys = own ? p.n : p.before;
  long at = t->start[owner], key = t->heads + p.group, value = key + t->shared;
  spread(b, &p, slopes + first, keys, of(t, p.at, head), features(t), into_at(b, at, key), begun,
         own);
  spread(b, &p, p.scores + first, keys, slope_at(b, p.at, head), t->heads * t->size,
         into_at(b, at, value), begun, own);
}

static void back_to_keys(const struct back *b, long group, long owner) {
  long per = b->t->heads / b->t->shared, last = owner || !b->t->prompt ? owner + 1 : b->t->segments;
  for (long segment = owner; segment < last; segment++)
    for (long g = 0; g < per; g++)
      back_by(b, group * per + g, owner, segment, segment > owner || g > 0);
}

static void back(const struct back *b, int threads) {
  const struct tree *t = b->t;
  turned(t, t->heads, b->keys, threads);
  turned(t, t->heads + t->shared, b->values, threads);
#pragma omp parallel for collapse(2) schedule(dynamic) num_threads(threads)
  for (long segment = 0; segment < t->segments; segment++)
    for (long head = 0; head < t->heads; head++) back_to_queries(b, head, segment);
#pragma omp parallel for collapse(2) schedule(dynamic) num_threads(threads)
  for (long owner = 0; owner < t->segments; owner++)
    for (long group = 0; group < t->shared; group++) back_to_keys(b, group, owner);
}

/* Slopes of queries, keys and values into `into`, which lies as they do, given that of out; zero
   if there was no memory for it. */
int tree_back(const struct tree *t, const float *out, const float *sums, const float *slope,
              float *into, int threads) {
  long half = t->shared * t->size * padded(t), scores = t->heads * scores_of(t);
  float *room = malloc(2 * (half + scores) * sizeof(float));
  if (!room) return 0;
  struct back b = {t, out, sums, slope, into, room, room + half, room + 2 * half,
                   room + 2 * half + scores};
  back(&b, threads);
  free(room);
  return 1;
}
